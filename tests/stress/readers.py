"""Readers: they follow runs by their events, and come back by Last-Event-ID whenever the connection breaks."""

from __future__ import annotations

import contextlib
import queue
import threading

from tests.stress.calls import Caller, Refused, Unanswered
from tests.stress.ledger import TERMINAL, Ledger, SeenStream
from tests.stress.writers import Writer

_ENDS = {f"thread.run.{status}" for status in TERMINAL}
_PAUSE_SECONDS = 0.05


def follow(caller: Caller, ledger: Ledger, thread_id: str, run_id: str, over: threading.Event) -> None:
    """Read a run's events to their end, over as many connections as it takes; what came is entered in the ledger."""
    seen = SeenStream(thread_id, run_id, [])
    ledger.add_stream(seen)
    last_id, path = None, f"/v1/threads/{thread_id}/runs/{run_id}/events"
    while not over.is_set():
        try:
            received = caller.stream("GET", path, after=last_id)
        except Unanswered:
            over.wait(_PAUSE_SECONDS)
            continue
        except Refused as error:
            if error.status != 404:
                ledger.surprise(f"{path} after {last_id}: {error}")
            return
        seen.frames += received.frames
        last_id = received.last_id or last_id
        if _ENDS & set(received.told):
            seen.whole = True
            return
        if not received.broken and "error" not in received.told:
            ledger.surprise(f"{path} after {last_id} ended without an end: {received.told}")
            return
        seen.reconnects += 1


class Reader(Writer):
    """Follows what talkers have started."""

    to_follow: queue.Queue[tuple[str, str]]

    def step(self) -> None:
        with contextlib.suppress(queue.Empty):
            follow(self.caller, self.ledger, *self.to_follow.get(timeout=0.5), self.over)
