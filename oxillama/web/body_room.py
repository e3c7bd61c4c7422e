"""How much memory the bodies of requests may take in this process, however many send at once.

A parsed body takes up to 48 times its bytes (measured: arrays in arrays), and every open stream may be a request that is still being read.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from oxillama.errors import LimitReached

#: Bodies up to this are not counted. Most are far smaller.
SMALL_BYTES = 64 * 1024
#: How long a large body waits for others to be done with, once it is there.
_PATIENCE_SECONDS = 20


class BodyRoom:
    """Room for large bodies: for the bytes of those that arrive, and for what is made of those that are there.

    Args:
        arriving: bytes of bodies that are being read, or wait to be parsed. Beyond that they are refused.
        parsed: bytes of bodies whose values are in memory. Beyond that they wait.
    """

    def __init__(self, arriving: int, parsed: int) -> None:
        self._changed = threading.Condition()
        self._arriving, self._parsed = arriving, parsed

    def arrive(self, count: int) -> None:
        """So many more bytes of a body are to be kept. Raises LimitReached."""
        with self._changed:
            if self._arriving < count:
                raise _full()
            self._arriving -= count

    def forget(self, count: int) -> None:
        """Bytes that were kept are kept no more."""
        with self._changed:
            self._arriving += count

    @contextlib.contextmanager
    def parsing(self, count: int) -> Iterator[None]:
        """Hold room for the values of a body of so many bytes. Raises LimitReached when others do not make room in time."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with self._changed:
            while self._parsed < count:
                if not self._changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise _full()
            self._parsed -= count
        try:
            yield
        finally:
            with self._changed:
                self._parsed += count
                self._changed.notify_all()


def _full() -> LimitReached:
    return LimitReached("Too many large requests are being handled on this server. Please try again later.", retry_after_seconds=1)
