"""EventReader: one reader of an event log. However long the log is, and however slow the reader's client, it holds one piece of it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from oxillama.store.disk import Disk

#: How much of a log is in memory for one reader.
PIECE_BYTES = 64 * 1024
_FRAME_END = b"\n\n"
_NAME = b"event: "
_MAX_NAME_BYTES = 256


class EventReader:
    """One reader's descriptor; it stays good when the log is moved away with its thread. Close it."""

    def __init__(self, disk: Disk, fd: int) -> None:
        self._disk, self._fd = disk, fd
        self._met_large = False

    def read(self, position: int) -> bytes:
        """Whole frames behind `position`; empty when there are none yet, or when the next is larger than a piece: see `large_end`."""
        data = self._disk.read_at(self._fd, PIECE_BYTES, position)
        end = last_frame_end(data)
        self._met_large = end == 0 and len(data) == PIECE_BYTES
        return data[:end]

    def large_end(self, position: int) -> int | None:
        """The offset behind the frame at `position` that was too large for `read`; None while it is not there whole."""
        if not self._met_large:
            return None
        while data := self._disk.read_at(self._fd, PIECE_BYTES, position):
            found = data.find(_FRAME_END)
            if found >= 0:
                return position + found + len(_FRAME_END)
            if len(data) < len(_FRAME_END):
                return None
            # The end may have its first byte in this piece.
            position += len(data) - 1
        return None

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """What lies between two offsets."""
        while start < end and (data := self._disk.read_at(self._fd, min(PIECE_BYTES, end - start), start)):
            yield data
            start += len(data)

    def has_more(self, position: int) -> bool:
        """Whether a whole frame lies behind `position`."""
        return bool(self.read(position)) or self.large_end(position) is not None

    def name_at(self, position: int) -> str:
        """The name of the event that begins at `position`."""
        line = self._disk.read_at(self._fd, _MAX_NAME_BYTES, position).partition(b"\n")[0]
        return line.removeprefix(_NAME).decode("ascii", "replace")

    def is_position(self, position: int) -> bool:
        """Whether a frame can begin at this offset, now or later."""
        return position <= self._disk.size(self._fd) and ends_with_frame(self._disk, self._fd, position)

    def last_event_before(self, position: int) -> str | None:
        """The name of the event that ends at `position`; None at the beginning."""
        opening = _FRAME_END + _NAME
        # The two bytes before `position` end the frame that is asked for, not the one before it.
        high = position - len(_FRAME_END)
        while high > 0:
            low = max(0, high - PIECE_BYTES)
            found = self._disk.read_at(self._fd, high - low, low).rfind(opening)
            if found >= 0:
                return self.name_at(low + found + len(_FRAME_END))
            # An opening may lie across the border.
            high = low + len(opening) - 1 if low else 0
        return self.name_at(0) if position else None

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


def ends_with_frame(disk: Disk, fd: int, position: int) -> bool:
    """Whether a frame of an open log ends at this offset, or none has begun."""
    return position == 0 or disk.read_at(fd, 2, max(position - 2, 0)) == _FRAME_END


def last_frame_end(data: bytes) -> int:
    """The offset behind the last whole frame."""
    end = data.rfind(_FRAME_END)
    return 0 if end < 0 else end + len(_FRAME_END)
