"""Advisory file locks (`flock`). The kernel drops them when their holder dies; nobody has to clean up."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from oxillama.errors import StoreUnavailable
from oxillama.store.disk import naming

WAIT_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 0.004


@contextlib.contextmanager
def exclusive(path: str) -> Iterator[int]:
    """Hold the only lock on an existing file or directory; yields its descriptor. Raises what `take` raises."""
    fd = take(path)
    try:
        yield fd
    finally:
        os.close(fd)


def take(path: str) -> int:
    """Take the only lock on an existing file or directory: a descriptor, which the caller closes to let go.

    Each taking opens its own descriptor, so that threads of one process exclude each other too. A lock counts only when the path still
    leads to what was locked: another process may have moved or replaced it while we waited.

    Raises:
        FileNotFoundError: the path does not exist, or no longer.
        StoreUnavailable: somebody held the lock for WAIT_SECONDS.
    """
    while True:
        with naming(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _wait_for(fd, path)
            if _leads_to(path, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


@contextlib.contextmanager
def holding(fd: int, path: str) -> Iterator[None]:
    """Hold the only lock on an open file for the few microseconds of an append."""
    _wait_for(fd, path)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def hold_for_life(fd: int, path: str) -> None:
    """Lock an open file that nobody else knows yet until this process ends; the descriptor must stay open."""
    with naming(path):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: str) -> bool:
    """Whether a living process holds the lock on a file."""
    try:
        with naming(path):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        with naming(path):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _wait_for(fd: int, path: str) -> None:
    pause = 0.0002
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            with naming(path):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreUnavailable(path, f"locked by another process for {WAIT_SECONDS:.0f} seconds") from None
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def _leads_to(path: str, fd: int) -> bool:
    with naming(path):
        at_path, locked = os.stat(path), os.fstat(fd)
    return (at_path.st_dev, at_path.st_ino) == (locked.st_dev, locked.st_ino)
