"""Lines: an append-only file of JSON objects, one a line, oldest first, each beginning with its id. How it is read: `line_reader.py`."""

from __future__ import annotations

import os
from collections.abc import Callable

from oxillama.store.disk import Disk
from oxillama.store.line_reader import LineReader, is_json


class Lines:
    """Reads need no lock; `append` needs the lock of the thread.

    Args:
        disk: where to write.
        path: the log; it may not exist yet.
        torn_path: where a last line that a crash cut short is kept when the next writer removes it.
        adopted: oxillama-server 0.1.3 began it; see LineReader.
    """

    def __init__(self, disk: Disk, path: str, torn_path: str, *, adopted: bool = False) -> None:
        self._disk, self._path, self._torn_path, self._adopted = disk, path, torn_path, adopted

    def reader(self) -> LineReader:
        """The log as it is now, to be closed. What others add meanwhile is not in it."""
        return LineReader(self._disk, self._disk.open_if_there(self._path), self._path, adopted=self._adopted)

    def last_id(self) -> str | None:
        """The id in the last line, or None."""
        with self.reader() as reader:
            return reader.last_id()

    def get(self, object_id: str) -> bytes | None:
        """The object with this id, or None."""
        with self.reader() as reader:
            return reader.get(object_id)

    def append(self, lines: list[bytes]) -> None:
        """Add whole objects behind the last one, in one write, and wait for the device. All are in the log then, or none.

        Raises:
            StoreFull, StoreUnavailable: nothing was added; unless what was written can be neither synced nor cut off again.
        """
        self._extend(lambda _: lines)

    def extend(self, make: Callable[[str | None], list[bytes]]) -> list[bytes]:
        """The same with objects that `make` makes, given the last id in the log: it is read and written in one opening.

        Raises:
            CorruptRecord: the last line is no object. Who has made its objects already appends them all the same.
        """
        return self._extend(lambda reader: make(reader.last_id()))

    def _extend(self, make: Callable[[LineReader], list[bytes]]) -> list[bytes]:
        fd = self._disk.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            reader = LineReader(self._disk, fd, self._path, adopted=self._adopted, size=self._disk.size(fd))
            lines = make(reader)
            size, opening = self._mend(fd, reader)
            if size == 0:
                # Before the first line, not behind it: whoever finds lines may take the log's name for durable, also if we are killed here.
                self._disk.sync_directory(os.path.dirname(self._path))
            try:
                self._disk.write(fd, opening + b"\n".join(lines) + b"\n")
                self._disk.sync(fd)
            except BaseException:
                self._disk.truncate(fd, size)
                raise
        finally:
            os.close(fd)
        return lines

    def _mend(self, fd: int, reader: LineReader) -> tuple[int, bytes]:
        """Make the end of the log fit to be appended to: its size, and what has to be written first."""
        size, tail = reader.size, reader.last_line()
        if not tail:
            return size, b""
        if is_json(tail):
            return size, b"\n"
        # A crash cut this line short, so nobody was told that it is stored. Kept all the same: it may be the only copy.
        torn = self._disk.open(self._torn_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            self._disk.write(torn, tail + b"\n")
            self._disk.sync(torn)
        finally:
            os.close(torn)
        self._disk.sync_directory(os.path.dirname(self._torn_path))
        self._disk.truncate(fd, size - len(tail))
        return size - len(tail), b""
