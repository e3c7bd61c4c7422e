"""Killer: SIGKILL to one process after another, at random, and now and then to all of them at once."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter

from tests.stress.fleet import Fleet
from tests.stress.ledger import Ledger

_KINDS = {
    "web-worker": 20,
    "runner": 10,
    "second runner": 8,
    "server in a write": 26,
    "second runner in a write": 16,
    "web-master": 8,
    "engine": 7,
    "supervisord": 2,
    "everything": 3,
}
_PAUSES = (0.1, 0.5, 1.0, 2.0, 2.5, 3.0, 3.5)
_MEASURE_SECONDS = 5


class Killer(threading.Thread):
    """Owns the fleet until it ends.

    Args:
        fleet: whose processes die.
        ledger: where it tells what does not come back.
        seed: of its randomness.
        over: ends it.
        blackout_at: seconds from its start at which everything dies, what else lasts included.
    """

    def __init__(self, fleet: Fleet, ledger: Ledger, seed: int, over: threading.Event, blackout_at: float) -> None:
        super().__init__(name="killer", daemon=True)
        self.kills: Counter[str] = Counter()
        self._fleet, self._ledger, self._over = fleet, ledger, over
        self._chance = random.Random(f"{seed} killer")
        self._blackout_at, self._measured = time.monotonic() + blackout_at, 0.0

    def run(self) -> None:
        while not self._over.wait(self._chance.choice(_PAUSES)):
            if time.monotonic() - self._measured > _MEASURE_SECONDS:
                self._measured = time.monotonic()
                self._fleet.measure()
            kind = self._chance.choices(list(_KINDS), list(_KINDS.values()))[0]
            if self._blackout_at < time.monotonic():
                kind, self._blackout_at = "blackout", float("inf")
            try:
                self.kills[kind] += self._kill(kind)
            except Exception:
                self._ledger.surprise(f"after the death of {kind}: {traceback.format_exc()}")

    def _kill(self, kind: str) -> bool:
        if kind == "supervisord":
            self._fleet.kill_manager()
        elif kind == "everything":
            self._fleet.restart("server")
        elif kind == "blackout":
            self._fleet.restart("server", "second runner", "lasting web", "lasting runner")
        elif kind == "server in a write":
            return self._fleet.kill_in_a_write("server", self._chance)
        elif kind == "second runner in a write":
            killed = self._fleet.kill_in_a_write("second runner", self._chance)
            self._fleet.restart("second runner")
            return killed
        elif kind in self._fleet.trees:
            self._fleet.restart(kind)
        else:
            return self._fleet.kill_one(kind, self._chance.choice)
        return True
