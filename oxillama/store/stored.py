"""What is stored, as it is sent: the bytes of an ordinary object, or where a large one lies, so that nobody holds it whole.

Every object is looked through before it is sent. A large one is for that read once, one at a time in a process, and forgotten again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from oxillama.objects.page import MAX_HELD_BYTES, Sendable
from oxillama.store.disk import Disk
from oxillama.store.records import checked

#: How much of a large object is in memory while its client takes it.
PIECE_BYTES = 64 * 1024

#: Held by whoever has one large object, or one after the other, in memory just to look at it.
ONE_LARGE = threading.Lock()


@dataclass(frozen=True)
class FilePart:
    """An object, or a line of a log, that lies in a file.

    Attributes:
        disk: what to read from.
        path: of the file.
        start: where the object begins, in bytes.
        length: how long it is; None when the whole file is the object, in whatever version it is there when it is sent.
    """

    disk: Disk
    path: str
    start: int = 0
    length: int | None = None

    def size(self) -> int:
        """How many bytes it has. Raises as `pieces` does."""
        if self.length is not None:
            return self.length
        with self.disk.opened(self.path) as fd:
            return self.disk.size(fd)

    def pieces(self) -> Iterator[bytes]:
        """It, in pieces of PIECE_BYTES. Raises FileNotFoundError when it was deleted meanwhile, and errors of the store."""
        with self.disk.opened(self.path) as fd:
            end = self.disk.size(fd) if self.length is None else self.start + self.length
            yield from _between(self.disk, fd, self.start, end)


class Scratch:
    """Bytes that are in no other file as they are to be sent, put into one that has no name. It goes with this object, or after its pieces.

    Args:
        disk: where to put them.
        content: what to send.
    """

    def __init__(self, disk: Disk, content: bytes) -> None:
        self._disk, self.length = disk, len(content)
        self._fd = -1
        path = disk.temporary_path()
        self._fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        disk.unlink(path)
        disk.write(self._fd, content)

    def pieces(self) -> Iterator[bytes]:
        """See FilePart. For once only."""
        try:
            yield from _between(self._disk, self._fd, 0, self.length)
        finally:
            self.close()

    def close(self) -> None:
        """Give the space back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    __del__ = close


def read_stored(disk: Disk, path: str, **allowed: Collection[str]) -> tuple[Sendable, dict[str, str]]:
    """The object in a file, as it is sent, and those fields of it that are checked.

    Args:
        disk: what to read from.
        path: of the file.
        allowed: see `records.parsed`.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptRecord: it is not such an object.
    """
    content = disk.read(path, MAX_HELD_BYTES)
    if len(content) <= MAX_HELD_BYTES:
        return content, checked(content, path, **allowed)
    del content
    with ONE_LARGE:
        return FilePart(disk, path), checked(disk.read(path), path, **allowed)


def _between(disk: Disk, fd: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        piece = disk.read_at(fd, min(PIECE_BYTES, end - start), start)
        if not piece:
            raise FileNotFoundError("a part of what was stored is gone")
        yield piece
        start += len(piece)


@contextlib.contextmanager
def looking_at(size: int) -> Iterator[None]:
    """Look at what is in a log of so many bytes: where large objects can be in it, one at a time in this process."""
    if size <= MAX_HELD_BYTES:
        yield
        return
    with ONE_LARGE:
        yield
