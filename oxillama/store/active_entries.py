"""ActiveEntries: the queue's entries for whoever looks at all of them again and again. Only what has changed is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from oxillama.errors import StoreError
from oxillama.store.run_queue import ActiveRun, EntryStamp, RunQueue

#: Of a processor, what looking may take: a tenth.
_REST = 9
_AT_ONCE = 500


class ActiveEntries:
    """Makes no promise about entries that change meanwhile: whoever acts on one loads it again under its thread's lock.

    Args:
        queue: where they are.
        on_error: told of an entry that cannot be read, with its run's id.
    """

    def __init__(self, queue: RunQueue, on_error: Callable[[str, StoreError], None]) -> None:
        self._queue, self._on_error = queue, on_error
        self._read: dict[str, tuple[EntryStamp, ActiveRun]] = {}

    def all(self) -> Iterator[ActiveRun]:
        """Every entry, oldest first. Of a long queue it pauses in between. Raises StoreError when the queue cannot be listed."""
        run_ids = self._queue.active()
        for gone in self._read.keys() - set(run_ids):
            del self._read[gone]
        begun = time.thread_time()
        for number, run_id in enumerate(run_ids, start=1):
            entry = None
            try:
                entry = self._load(run_id)
            except StoreError as error:
                self._on_error(run_id, error)
            if entry is not None:
                yield entry
            if number % _AT_ONCE == 0:
                time.sleep(_REST * (time.thread_time() - begun))
                begun = time.thread_time()

    def _load(self, run_id: str) -> ActiveRun | None:
        # Looked at before it is read: what is replaced in between is read again next time.
        stamp = self._queue.stamp(run_id)
        known = self._read.get(run_id)
        if stamp is not None and known is not None and known[0] == stamp:
            return known[1]
        entry = self._queue.load(run_id)
        if stamp is None or entry is None:
            self._read.pop(run_id, None)
        else:
            self._read[run_id] = stamp, entry
        return entry
