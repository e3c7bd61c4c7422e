"""A runner shows that it moves from its loop: one whose loop is blocked does not move, though its process runs."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from oxillama.runner.loop import Runner
from oxillama.store.pulses import BEAT_SECONDS
from tests.builders import open_store
from tests.process_control import wait_until


class SilentEngine:
    """Nobody asks it."""


def test_a_blocked_loop_does_not_beat(tmp_path: Path):
    store = open_store(tmp_path)
    blocked, let_go = threading.Event(), threading.Event()
    loop = asyncio.new_event_loop()
    runner = Runner(store, SilentEngine(), 1)  # type: ignore[arg-type]
    thread = threading.Thread(target=lambda: loop.run_until_complete(runner.serve()))
    thread.start()
    try:
        (runner_id,) = wait_until(store.queue.runners, 10, "it has joined")
        first = store.queue.last_beat(runner_id)
        wait_until(lambda: store.queue.last_beat(runner_id) != first, 10, "it beats")

        def block() -> None:
            blocked.set()
            let_go.wait(30)

        loop.call_soon_threadsafe(block)
        assert blocked.wait(10)
        # One that was on its way may still come.
        time.sleep(BEAT_SECONDS / 2)
        last = store.queue.last_beat(runner_id)
        time.sleep(BEAT_SECONDS * 2)
        assert store.queue.last_beat(runner_id) == last
        let_go.set()
        wait_until(lambda: store.queue.last_beat(runner_id) != last, 10, "it beats again")
    finally:
        let_go.set()
        loop.call_soon_threadsafe(runner.stop)
        thread.join(15)
        loop.close()
    assert not thread.is_alive()
