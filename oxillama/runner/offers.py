"""Offers: whose turn it is. Runs that wait are claimed in turns among projects, the oldest of a project first."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter, deque
from collections.abc import Iterable

from oxillama import ids
from oxillama.errors import StoreError
from oxillama.store.run_queue import RunQueue

#: The markers are listed again after so many times what the last listing took: a long queue must not take the processor.
_LISTING_SHARE = 20
#: Entries whose project is read at a time.
_READ_AT_ONCE = 500


class Offers:
    """What is offered, as one runner knows it. The next run is of the project of which this runner works on the fewest.

    A marker names no project: the run's entry does, and is read once for each run. Markers are hints, and so is this: claiming decides.

    Args:
        queue: where runs are offered.
    """

    def __init__(self, queue: RunQueue) -> None:
        self._queue = queue
        #: run id -> project; of a marker without a readable entry None, which claiming takes away or tells of.
        self._known: dict[str, str | None] = {}
        self._waiting: dict[str | None, set[str]] = {}
        self._unread: deque[str] = deque()
        self._at_work: dict[str, str | None] = {}
        self._counts: Counter[str | None] = Counter()
        self._turns: dict[str | None, int] = {}
        self._numbers = itertools.count(1)
        self._look_at = float("-inf")

    @property
    def has_unread(self) -> bool:
        """Whether there is more to be known at once, by calling `look` again."""
        return bool(self._unread)

    def look(self) -> None:
        """See what is offered now. Raises StoreError."""
        begun = time.monotonic()
        if begun >= self._look_at:
            offered = set(self._queue.offered())
            for run_id in self._known.keys() - offered:
                self._forget(run_id)
            self._unread = deque(sorted(offered - self._known.keys() - self._at_work.keys()))
            self._look_at = time.monotonic() + _LISTING_SHARE * (time.monotonic() - begun)
        for _ in range(min(_READ_AT_ONCE, len(self._unread))):
            self._add(self._unread.popleft())

    def found(self, names: Iterable[str]) -> None:
        """Markers that just appeared: they are known before the next look at all of them."""
        for name in names:
            if ids.is_ours(name):
                self._add(name)

    def take(self) -> str | None:
        """The run to be claimed next; it counts as worked on until `done`. None when nothing is offered."""
        if not self._waiting:
            return None
        project = min(self._waiting, key=lambda one: (self._counts[one], self._turns.get(one, 0)))
        run_id = min(self._waiting[project])
        self._forget(run_id)
        self._at_work[run_id] = project
        self._counts[project] += 1
        self._turns[project] = next(self._numbers)
        return run_id

    def done(self, run_id: str) -> None:
        """This runner does not work on a run any more; it may be offered again."""
        project = self._at_work.pop(run_id)
        self._counts[project] -= 1
        if not self._counts[project]:
            del self._counts[project]
            if project not in self._waiting:
                self._turns.pop(project, None)
        with contextlib.suppress(StoreError):
            # While it was worked on, its marker was passed over.
            if self._queue.is_offered(run_id):
                self._add(run_id)

    def _add(self, run_id: str) -> None:
        if run_id not in self._known and run_id not in self._at_work:
            project = self._queue.project_of(run_id)
            self._known[run_id] = project
            self._waiting.setdefault(project, set()).add(run_id)

    def _forget(self, run_id: str) -> None:
        project = self._known.pop(run_id)
        waiting = self._waiting[project]
        waiting.discard(run_id)
        if not waiting:
            del self._waiting[project]
            if project not in self._counts:
                self._turns.pop(project, None)
