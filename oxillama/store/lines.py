"""Lines: an append-only file of JSON objects, one a line, oldest first, each beginning with its id.

Ids sort by creation, so an object is found by binary search over the bytes, and no index file can disagree with the log. Lines of
oxillama-server 0.1.3 have ids that do not sort; they stand before all of ours and are found by reading.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import orjson

from oxillama import ids
from oxillama.errors import CorruptRecord
from oxillama.store.disk import Disk, naming

_BLOCK = 16 * 1024
_OPENING = b'{"id":"'


class Lines:
    """Reads need no lock; `append` needs the lock of the thread.

    Args:
        disk: where to write.
        path: the log; it may not exist yet.
        torn_path: where a last line that a crash cut short is kept when the next writer removes it.
        adopted: oxillama-server 0.1.3 began it, which wrote on behind a torn line: those are passed over, for nobody was told that they are
            stored. In a log of ours a line that is no object is an error, for it was one.
    """

    def __init__(self, disk: Disk, path: str, torn_path: str, *, adopted: bool = False) -> None:
        self._disk, self._path, self._torn_path, self._adopted = disk, path, torn_path, adopted

    def append(self, lines: list[bytes]) -> None:
        """Add whole objects behind the last one, in one write, and wait for the device. All are in the log then, or none.

        Raises:
            StoreFull, StoreUnavailable: nothing was added; unless what was written can be neither synced nor cut off again.
        """
        fd = self._disk.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            size, opening = self._mend(fd)
            try:
                self._disk.write(fd, opening + b"\n".join(lines) + b"\n")
                self._disk.sync(fd)
                if size == 0:
                    self._disk.sync_directory(os.path.dirname(self._path))
            except BaseException:
                self._disk.truncate(fd, size)
                raise
        finally:
            os.close(fd)

    def end(self) -> int:
        """The offset behind the last object; 0 when there is no log. A last line without its newline counts when it is whole."""
        try:
            fd = self._open()
        except FileNotFoundError:
            return 0
        try:
            size = self._disk.size(fd)
            if size == 0 or self._disk.read_at(fd, 1, size - 1) == b"\n":
                return size
        finally:
            os.close(fd)
        tail = next(self._split_backward(0, size))
        return size if _is_json(tail) else size - len(tail)

    def last_id(self) -> str | None:
        """The id in the last line, or None."""
        return next((object_id for object_id, _ in self.backward(0, self.end())), None)

    def forward(self, low: int, high: int) -> Iterator[tuple[str, bytes]]:
        """Ids and objects between two offsets, oldest first."""
        return self._objects(self._split_forward(low, high))

    def backward(self, low: int, high: int) -> Iterator[tuple[str, bytes]]:
        """Ids and objects between two offsets, newest first."""
        return self._objects(self._split_backward(low, high))

    def span(self, object_id: str) -> tuple[int, int] | None:
        """Offsets of an object's line and of the line after it; None when the log does not hold it."""
        end = self.end()
        last = next(self.backward(0, end), None)
        # An id that is later than the last was never here; so a new one does not cost a search of the whole log.
        if last is None or ids.stamp_of(object_id) > ids.stamp_of(last[0]):
            return None
        start = self._bisect(object_id, end)
        opening = _OPENING + object_id.encode() + b'"'
        line = next(self._split_forward(start, end), b"")
        if not line.startswith(opening):
            start = self._search(opening)
            if not 0 <= start < end:
                return None
            line = next(self._split_forward(start, end), b"")
        return start, start + len(line) + 1

    def get(self, object_id: str) -> bytes | None:
        """The object with this id, or None."""
        span = self.span(object_id)
        if span is None:
            return None
        return next((line for found, line in self.forward(*span) if found == object_id), None)

    def _mend(self, fd: int) -> tuple[int, bytes]:
        """Make the end of the log fit to be appended to: its size, and what has to be written first."""
        size = self._disk.size(fd)
        if size == 0 or self._disk.read_at(fd, 1, size - 1) == b"\n":
            return size, b""
        tail = next(self._split_backward(0, size))
        if _is_json(tail):
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

    def _bisect(self, object_id: str, size: int) -> int:
        """The offset at which the line of this id begins, if the log holds it in the order of ids."""
        wanted = _order(object_id)
        low, high = 0, size
        fd = self._open()
        try:
            while high - low > _BLOCK:
                middle = (low + high) // 2
                start, found = self._first_object(fd, middle, high)
                if found is None:
                    high = middle
                elif _order(found) <= wanted:
                    low = start
                else:
                    high = middle
        finally:
            os.close(fd)
        start = low
        for line in self._split_forward(low, size):
            if line.startswith(_OPENING) and _order(_id_of(line)) >= wanted:
                break
            start += len(line) + 1
        return start

    def _first_object(self, fd: int, offset: int, high: int) -> tuple[int, str | None]:
        """The first line that begins behind `offset` and looks like an object: where, and its id; None when there is none below `high`."""
        position, length = offset, _BLOCK
        text = b""
        while position < high:
            block = self._disk.read_at(fd, length, position)
            if not block:
                break
            text += block
            position += len(block)
            length *= 2
            found = text.find(b"\n" + _OPENING)
            end = text.find(b'"', found + 1 + len(_OPENING))
            if found >= 0 and end >= 0:
                start = offset + found + 1
                return (start, text[found + 1 + len(_OPENING) : end].decode("ascii", "replace")) if start < high else (start, None)
        return position, None

    def _search(self, opening: bytes) -> int:
        """Where the line with this opening begins, found by reading; -1 when there is none. Raises CorruptRecord when it may be spoilt."""
        position, spoilt = 0, False
        for line in self._split_forward(0, self.end()):
            if line.startswith(opening):
                return position
            spoilt = spoilt or not (self._adopted or not line.strip() or ids.is_ours(_id_of(line)) or ids.is_legacy(_id_of(line)))
            position += len(line) + 1
        if spoilt:
            raise CorruptRecord(self._path, "a line of it is not a JSON object that begins with its id")
        return -1

    def _open(self) -> int:
        with naming(self._path):
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def _split_forward(self, low: int, high: int) -> Iterator[bytes]:
        """Lines that begin between two offsets, without their newlines. `low` must be where a line begins."""
        if low >= high:
            return
        fd = self._open()
        try:
            position, rest, length = low, b"", _BLOCK
            while position < high and (block := self._disk.read_at(fd, min(length, high - position), position)):
                position += len(block)
                *lines, rest = (rest + block).split(b"\n")
                yield from lines
                length = _BLOCK if lines else 2 * length
            if rest:
                yield rest
        finally:
            os.close(fd)

    def _split_backward(self, low: int, high: int) -> Iterator[bytes]:
        """The same lines, last first. `high` must be where a line begins, or the end of the log."""
        if low >= high:
            return
        fd = self._open()
        try:
            position, rest, length = high, b"", _BLOCK
            while position > low:
                # Shorter than asked for where a writer has cut off a torn line since.
                start, is_end = max(low, position - length), position == high
                rest, *lines = (self._disk.read_at(fd, position - start, start) + rest).split(b"\n")
                position = start
                if is_end and lines and not lines[-1]:
                    lines.pop()
                yield from reversed(lines)
                length = _BLOCK if lines else 2 * length
            yield rest
        finally:
            os.close(fd)

    def _objects(self, lines: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
        """Objects among lines. Raises CorruptRecord at one that is none; blank ones hide nothing."""
        for line in lines:
            if _is_object(line):
                yield _id_of(line), line
            elif line.strip() and not self._adopted:
                raise CorruptRecord(self._path, "a line of it is not a JSON object that begins with its id")


def _id_of(line: bytes) -> str:
    return line[len(_OPENING) :].partition(b'"')[0].decode("ascii", "replace")


def _order(object_id: str) -> tuple[int, str]:
    return ids.stamp_of(object_id), object_id


def _is_object(line: bytes) -> bool:
    return line.startswith(_OPENING) and line.endswith(b"}") and _is_json(line)


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
