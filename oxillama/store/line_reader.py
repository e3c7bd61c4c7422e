"""LineReader: one look at an append-only log of JSON objects. It sees what the log held when it was opened, and opens it once.

Ids sort by creation, so an object is found by binary search over the bytes, and no index file can disagree with the log. Lines of
oxillama-server 0.1.3 have ids that do not sort; they stand before all of ours and are found by reading.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import orjson

from oxillama import ids
from oxillama.errors import CorruptRecord
from oxillama.store.disk import Disk

_BLOCK = 16 * 1024
_OPENING = b'{"id":"'
_SPOILT = "a line of it is not a JSON object that begins with its id; `python -m oxillama check` tells which"
_OURS = re.compile(rb'\{"id":"([a-z]+_[0-9A-Za-z]{%d})"' % (ids.STAMP_LENGTH + ids.RANDOM_LENGTH))


class LineReader:
    """A sequence of objects (see `paging.Sequence`); positions are byte offsets.

    Args:
        disk: what to read from.
        fd: an open descriptor of the log, which `close` closes; None when there is no log.
        path: of the log, for errors.
        adopted: oxillama-server 0.1.3 began it, which wrote on behind a torn line: those are passed over, for nobody was told that they are
            stored. In a log of ours a line that is no object is an error, for it was one.
        size: of the log in bytes, if it is known: that saves reading the beginning of a long one.
    """

    def __init__(self, disk: Disk, fd: int | None, path: str, *, adopted: bool, size: int | None = None) -> None:
        self._disk, self._fd, self._path, self._adopted = disk, -1 if fd is None else fd, path, adopted
        # Nearly every question is about the end, so that is read at once and kept; of most logs it is all there is.
        self._tail_start = max(0, (size or 0) - _BLOCK)
        self._tail = b"" if fd is None or size == 0 else disk.read_at(fd, _BLOCK, self._tail_start)
        if size is None and len(self._tail) == _BLOCK:
            self._tail_start = max(0, disk.size(self._fd) - _BLOCK)
            self._tail = disk.read_at(self._fd, _BLOCK, self._tail_start)
        # Shorter than it was a moment ago where a writer has cut off a torn line since.
        self._size = self._tail_start + len(self._tail)
        self._end = self._whole_end()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def end(self) -> int:
        """The offset behind the last object. A last line without its newline counts when it is whole."""
        return self._end

    def last_id(self) -> str | None:
        """The id in the last line, or None."""
        return next((object_id for object_id, _ in self.backward(0, self._end)), None)

    def forward(self, low: int, high: int) -> Iterator[tuple[str, bytes]]:
        """Ids and objects between two offsets, oldest first."""
        return self._objects(self._split_forward(low, high))

    def backward(self, low: int, high: int) -> Iterator[tuple[str, bytes]]:
        """Ids and objects between two offsets, newest first."""
        return self._objects(self._split_backward(low, high))

    def span(self, object_id: str) -> tuple[int, int] | None:
        """Offsets of an object's line and of the line after it; None when the log does not hold it."""
        opening = _OPENING + object_id.encode() + b'"'
        # Most that are asked for are new, or the log is short.
        start = self._find(opening, self._tail_start, self._end)
        if start is None:
            last = self.last_id()
            # An id that is later than the last was never here; so a new one does not cost a search of the whole log.
            if last is None or ids.order_of(object_id) > ids.order_of(last):
                return None
            start = self._find(opening, *self._bisect(object_id))
        if start is None:
            start = self._find(opening, 0, self._end)
        if (
            start is None
            and not self._adopted
            and any(line.strip() and not (_OURS.match(line) or ids.is_legacy(_id_of(line))) for line in self._split_forward(0, self._end))
        ):
            # It may be the one that was asked for.
            raise CorruptRecord(self._path, _SPOILT)
        return None if start is None else (start, self._end_of_line(start))

    def get(self, object_id: str) -> bytes | None:
        """The object with this id, or None."""
        span = self.span(object_id)
        if span is None:
            return None
        line = self._read(span[0], span[1] - span[0]).rstrip(b"\n")
        if is_json(line):
            return line
        if self._adopted:
            return None
        raise CorruptRecord(self._path, _SPOILT)

    def last_line(self) -> bytes:
        """What stands behind the last newline, whole or torn; empty when the log ends with one."""
        if not self._tail or self._tail.endswith(b"\n"):
            return b""
        return next(self._split_backward(0, self._size))

    @property
    def size(self) -> int:
        """Bytes in the log, a torn last line included."""
        return self._size

    def _whole_end(self) -> int:
        tail = self.last_line()
        return self._size if not tail or is_json(tail) else self._size - len(tail)

    def _read(self, start: int, length: int) -> bytes:
        """At most `length` bytes from an offset on."""
        if start >= self._tail_start:
            return self._tail[start - self._tail_start :][:length]
        return self._disk.read_at(self._fd, length, start)

    def _bisect(self, object_id: str) -> tuple[int, int]:
        """Two offsets between which the line of this id begins, if the log holds it in the order of ids; one block apart at most."""
        wanted = ids.order_of(object_id)
        low, high = 0, self._end
        while high - low > _BLOCK:
            middle = (low + high) // 2
            start, found = self._first_object(middle, high)
            if found is None:
                high = middle
            elif ids.order_of(found) <= wanted:
                low = start
            else:
                high = middle
        return low, high

    def _first_object(self, offset: int, high: int) -> tuple[int, str | None]:
        """The first line that begins behind `offset` and looks like an object: where, and its id; None when there is none below `high`."""
        start = self._find(_OPENING, offset + 1, high)
        if start is None:
            return high, None
        text = self._read(start, 256)
        return start, _id_of(text)

    def _find(self, opening: bytes, low: int, high: int) -> int | None:
        """The first line that begins with `opening`, at one of two offsets or between them."""
        if low == 0 and self._read(0, len(opening)) == opening:
            return 0
        # The newline before a line is part of what is looked for. No string in JSON can hold one.
        wanted, position, length = b"\n" + opening, max(low - 1, 0), _BLOCK
        while position < high:
            text = self._read(position, length + len(opening))
            found = text.find(wanted)
            if found >= 0:
                start = position + found + 1
                return start if start <= high and start < self._end else None
            position += length
            length *= 2
        return None

    def _end_of_line(self, start: int) -> int:
        position, length = start, _BLOCK
        while block := self._read(position, length):
            found = block.find(b"\n")
            if found >= 0:
                return position + found + 1
            position += len(block)
            length *= 2
        return position + 1

    def _split_forward(self, low: int, high: int) -> Iterator[bytes]:
        """Lines that begin between two offsets, without their newlines. `low` must be where a line begins."""
        position, rest, length = low, b"", _BLOCK
        while position < high and (block := self._read(position, min(length, high - position))):
            position += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            length = _BLOCK if lines else 2 * length
        if rest:
            yield rest

    def _split_backward(self, low: int, high: int) -> Iterator[bytes]:
        """The same lines, last first. `high` must be where a line begins, or the end of the log."""
        if low >= high:
            return
        position, rest, length = high, b"", _BLOCK
        while position > low:
            start, is_end = max(low, position - length), position == high
            block = self._read(start, position - start) + rest
            position, end = start, len(block) - (is_end and block.endswith(b"\n"))
            length *= 2
            # One by one: most that ask want the last line only.
            while (newline := block.rfind(b"\n", 0, end)) >= 0:
                yield block[newline + 1 : end]
                end, length = newline, _BLOCK
            rest = block[:end]
        yield rest

    def _objects(self, lines: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
        """Objects among lines; blank ones hide nothing. Raises CorruptRecord.

        A line is not parsed for it: it has to begin with an id and to end, and to hold no zeros of a block that was never written. Parsing
        each made a list cost a quarter more. `get` does it, and so does `oxillama check`.
        """
        for line in lines:
            ours = _OURS.match(line)
            if ours is not None and line.endswith(b"}") and b"\0" not in line:
                yield ours[1].decode(), line
            elif line.startswith(_OPENING) and is_json(line):
                yield _id_of(line), line
            elif line.strip() and not self._adopted:
                raise CorruptRecord(self._path, _SPOILT)


def is_json(text: bytes) -> bool:
    """Whether a line is whole."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _id_of(line: bytes) -> str:
    return line[len(_OPENING) : line.find(b'"', len(_OPENING))].decode("ascii", "replace")
