"""A hung engine is ended; one that works is not, however long it takes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from embedded_process import HELLO, EmbeddedEngine, embedded_engine

from oxillama.engine.embedded import bundled_model

#: A sampler's window of as many tokens as there are integers: filling it takes longer than anybody waits.
ENDLESS = {**HELLO, "dry_multiplier": 1, "dry_penalty_last_n": 2**31 - 1}


@pytest.fixture
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EmbeddedEngine]:
    """With a model of one's own, which may not move for two seconds, or for as many as the test says."""
    seconds = str(getattr(request, "param", 2))
    with embedded_engine(tmp_path, OXILLAMA_MODEL_PATH=str(bundled_model()), OXILLAMA_FIRST_TOKEN_SECONDS=seconds) as engine:
        yield engine


def watch_of(engine: EmbeddedEngine) -> psutil.Process:
    (watch,) = psutil.Process(engine.process.pid).children()
    return watch


def test_one_that_hangs_in_native_code_is_ended_and_says_why(engine: EmbeddedEngine):
    asking = threading.Thread(target=engine.chat, args=(ENDLESS,))
    asking.start()
    assert engine.process.wait(30) == -signal.SIGKILL
    asking.join(30)
    assert "did not move for 2 s" in engine.log.read_text()


def test_one_that_is_stopped_is_ended(engine: EmbeddedEngine):
    engine.process.send_signal(signal.SIGSTOP)
    assert engine.process.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize("engine", [8], indirect=True)
def test_one_that_is_busy_for_longer_is_left_alone(engine: EmbeddedEngine):
    until, statuses = time.monotonic() + 12, []

    def keep_busy(number: int) -> None:
        while time.monotonic() < until:
            # Nothing of it is in the cache: each is evaluated from its first word.
            text = f"{number} {time.monotonic()} " + "word and " * 200
            statuses.append(engine.chat({"messages": [{"role": "user", "content": text}], "max_tokens": 1}))

    # More than it has slots.
    asking = [threading.Thread(target=keep_busy, args=(number,)) for number in range(6)]
    for one in asking:
        one.start()
    for one in asking:
        one.join(60)
    assert len(statuses) >= 6 and {*statuses} == {200}
    assert engine.process.poll() is None


def test_the_engine_does_not_go_on_without_its_watch(engine: EmbeddedEngine):
    watch_of(engine).kill()
    assert engine.process.wait(30) == 1
    assert "nobody watches" in engine.log.read_text()


def test_the_watch_goes_with_the_engine(engine: EmbeddedEngine):
    watch = watch_of(engine)
    engine.process.kill()
    engine.process.wait()
    gone, _ = psutil.wait_procs([watch], 10)
    assert gone
