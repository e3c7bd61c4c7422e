"""Whether the data directory can be written, for whoever asks after the server's health."""

from __future__ import annotations

import logging
import threading
import time

from oxillama.errors import StoreError
from oxillama.store import Store

log = logging.getLogger(__name__)

#: How long it is remembered whether the data directory can be written: anybody may ask, and each try costs a file and a sync.
_REMEMBERED_SECONDS = 2.0


class Writability:
    """Whether a data directory can be written, tried now and then.

    Args:
        store: the data directory.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._trying = threading.Lock()
        self._tried_at = float("-inf")
        self._problem: str | None = None

    def problem(self) -> str | None:
        """What is wrong, or None. Of several that ask at once, one tries and the others wait for it."""
        with self._trying:
            if time.monotonic() >= self._tried_at + _REMEMBERED_SECONDS:
                self._problem = self._try()
                self._tried_at = time.monotonic()
            return self._problem

    def _try(self) -> str | None:
        try:
            self._store.check_writable()
        except (StoreError, FileNotFoundError) as error:
            return told("the data directory cannot be written", error)
        return None


def told(problem: str, error: StoreError | FileNotFoundError) -> str:
    """The problem and its reason, for whoever asks; the file is for the log alone."""
    log.error("%s: %s", problem, error)
    return f"{problem}: {error.reason if isinstance(error, StoreError) else 'a part of it is missing'}"
