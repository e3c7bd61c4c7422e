"""How much memory the bodies of requests may take, however many send at once.

The bytes of bodies that arrive are counted in each process. What is made of them is counted in all of them together: a parsed body takes
up to 48 times its bytes (measured: arrays in arrays), so values have a few shares, and wait for them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from oxillama.errors import LimitReached
from oxillama.store.shares import Shares

#: Bodies up to this are not counted. Most are far smaller.
SMALL_BYTES = 64 * 1024
#: In how many parts the room for values is divided.
VALUE_SHARES = 32
#: How long a large body waits for others to be done with, once it is there.
_PATIENCE_SECONDS = 20


class BodyRoom:
    """Room for large bodies: for the bytes of those that arrive, and for what is made of those that are there.

    Args:
        arriving: bytes of bodies that are being read, or wait to be parsed, in this process. Beyond that they are refused.
        parsed: bytes of bodies whose values are in memory, in all processes. Beyond that they wait.
        shares: in which the second is divided.
    """

    def __init__(self, arriving: int, parsed: int, shares: Shares) -> None:
        self._lock = threading.Lock()
        self._arriving, self._share_bytes, self._shares = arriving, -(-parsed // shares.count), shares

    def arrive(self, count: int) -> None:
        """So many more bytes of a body are to be kept. Raises LimitReached."""
        with self._lock:
            if self._arriving < count:
                raise _full()
            self._arriving -= count

    def forget(self, count: int) -> None:
        """Bytes that were kept are kept no more."""
        with self._lock:
            self._arriving += count

    @contextlib.contextmanager
    def parsing(self, count: int) -> Iterator[None]:
        """Hold room for the values of so many bytes. Raises LimitReached when others do not make room in time."""
        wanted = min(-(-count // self._share_bytes), self._shares.count)
        with self._shares.holding(wanted, _PATIENCE_SECONDS) as held:
            if not held:
                raise _full()
            yield


def _full() -> LimitReached:
    return LimitReached("Too many large requests are being handled on this server. Please try again later.", retry_after_seconds=1)
