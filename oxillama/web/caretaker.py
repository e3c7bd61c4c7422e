"""Caretaker: a thread of each web worker that watches the runners, and ends what a frozen one leaves overdue."""

from __future__ import annotations

import logging
import threading
import time

from oxillama.errors import StoreError
from oxillama.lifecycle.overdue import settle_overdue
from oxillama.store import Store
from oxillama.store.active_entries import ActiveEntries
from oxillama.store.pulses import LOOK_SECONDS, Pulses

log = logging.getLogger(__name__)


class Caretaker:
    """Watches the runners of one data directory. Several may: what they do is decided under the thread's lock.

    Args:
        store: the data directory.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pulses = Pulses(store.queue)
        # A runner tells of an entry that cannot be read in the log.
        self._entries = ActiveEntries(store.queue, lambda run_id, error: log.debug("run %s: %s", run_id, error))

    def start(self) -> None:
        """Watch for as long as the process lives."""
        threading.Thread(target=self._watch, name="caretaker", daemon=True).start()

    @property
    def frozen(self) -> list[str]:
        """Ids of the runners that did not move up to the last look."""
        return self._pulses.frozen

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                self._pulses.look()
                settle_overdue(self._store, self._entries, self._pulses)
            except StoreError as error:
                # `/health` says so to whoever asks.
                log.debug("the runners cannot be watched: %s", error)
            except Exception:
                log.exception("the runners cannot be watched")
