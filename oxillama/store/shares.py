"""Shares: something divided into equal parts among all processes on one data directory, such as memory.

A part is a byte of a file, and who has it holds a lock on that byte. The kernel gives the parts back of whoever dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator

from oxillama.store.disk import Disk, naming

_PAUSE_SECONDS = 0.005
#: `struct flock`: kind, whence, start, length, process. Locks of an open file and not of a process, so that threads exclude each other.
_LOCK = "hhqqi4x"


class Shares:
    """Parts that are shared.

    Args:
        disk: where the file lies.
        path: of the file; made when it is first needed.
        count: how many parts there are. All who share have to agree.
    """

    def __init__(self, disk: Disk, path: str, count: int) -> None:
        self._disk, self._path, self.count = disk, path, count

    @contextlib.contextmanager
    def holding(self, wanted: int, seconds: float) -> Iterator[bool]:
        """Hold some parts for as long as the block runs, once they are free.

        One at a time collects parts, so whoever wants many is not overtaken by those that want few. Who is next is chance.

        Args:
            wanted: how many; no more than there are.
            seconds: how long to wait for them.

        Yields:
            Whether they are held; False when they were not free in time.

        Raises:
            StoreUnavailable: the file cannot be opened.
        """
        deadline = time.monotonic() + seconds
        fd = self._disk.open(self._path, os.O_RDWR | os.O_CREAT)
        try:
            with naming(self._path):
                held = _until(lambda: _lock(fd, self.count), deadline) and self._collect(fd, wanted, deadline)
            yield held
        finally:
            os.close(fd)

    def _collect(self, fd: int, wanted: int, deadline: float) -> bool:
        """Lock parts one by one. Only who holds the byte behind them all does, so that nobody waits for parts of another who waits."""
        held: set[int] = set()

        def enough() -> bool:
            for part in range(self.count):
                if len(held) == wanted:
                    break
                if part not in held and _lock(fd, part):
                    held.add(part)
            return len(held) == wanted

        found = _until(enough, deadline)
        for byte in (*(() if found else held), self.count):
            _lock(fd, byte, fcntl.F_UNLCK)
        return found


def _until(reached: Callable[[], bool], deadline: float) -> bool:
    while not reached():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def _lock(fd: int, byte: int, kind: int = fcntl.F_WRLCK) -> bool:
    """Whether a byte of an open file is locked by now, or free if `kind` says so."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_LOCK, kind, os.SEEK_SET, byte, 1, 0))
    except (BlockingIOError, PermissionError):
        # EAGAIN or EACCES: somebody else holds it.
        return False
    return True
