"""Pulses: which runners move. One that lives may be frozen: stopped by a signal, by a debugger, or in a call that does not return."""

from __future__ import annotations

import time

from oxillama.store.run_queue import RunQueue

#: A runner touches its file this often. See `RunQueue.beat`.
BEAT_SECONDS = 1.0
#: Whoever watches looks at least this often.
LOOK_SECONDS = 2.0
#: A runner that was seen without a beat for so long counts as frozen. Ten beats: a slow disk is no reason to take its runs away.
FROZEN_SECONDS = 10.0


class Pulses:
    """The runners as one watcher sees them.

    Times of files are compared for being equal and no more, so nobody's clock matters. What lies between two looks counts as LOOK_SECONDS
    at most: a watcher that was itself frozen has seen nothing.

    Args:
        queue: where the runners are.
    """

    def __init__(self, queue: RunQueue) -> None:
        self._queue = queue
        self._looked_at = time.monotonic()
        #: The id of a runner -> its last beat, and for how many seconds no other was seen.
        self._seen: dict[str, tuple[int | None, float]] = {}

    def look(self) -> None:
        """See who has moved since the last look. Raises StoreError."""
        now = time.monotonic()
        since, self._looked_at = min(now - self._looked_at, LOOK_SECONDS), now
        seen: dict[str, tuple[int | None, float]] = {}
        for runner_id in self._queue.runners():
            beat = self._queue.last_beat(runner_id)
            before = self._seen.get(runner_id)
            seen[runner_id] = (beat, before[1] + since if before is not None and before[0] == beat else 0.0)
        self._seen = seen

    @property
    def frozen(self) -> list[str]:
        """Ids of the runners that live and do not move."""
        return sorted(runner_id for runner_id, (_, still) in self._seen.items() if still >= FROZEN_SECONDS)

    @property
    def moving(self) -> list[str]:
        """Ids of the runners that live and move, as far as is known."""
        return sorted(runner_id for runner_id, (_, still) in self._seen.items() if still < FROZEN_SECONDS)
