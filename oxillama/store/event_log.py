"""EventLog: everything a run ever streamed, in SSE framing, append only. Streaming a run is copying bytes from here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import orjson

from oxillama.errors import ClaimLost, CorruptRecord, StoreError
from oxillama.objects.stream_event import frames, message_so_far
from oxillama.store.disk import Disk, naming
from oxillama.store.event_reader import EventReader, ends_with_frame, last_frame_end
from oxillama.store.layout import RunLayout
from oxillama.store.locks import holding
from oxillama.store.records import parsed

#: The text of a message is kept when the log has grown by so much since, or by so many times its own length.
KEPT_EVERY_BYTES = 256 * 1024
_KEPT_SHARE = 4


class EventLog:
    """The log of one run. A position is the byte offset behind a frame; logs are never rewritten, so it stays true."""

    def __init__(self, disk: Disk, layout: RunLayout) -> None:
        self._disk, self.path, self._so_far_path = disk, layout.events, layout.so_far

    def append(self, frames: bytes, *, synced: bool = True) -> int:
        """Add whole frames; the offset behind them. For whoever holds the thread's lock and does not own the run.

        A frame that a power cut left torn is cut off first: no reader was given it.

        Args:
            frames: what to add.
            synced: whether to wait for the device.
        """
        fd = self._disk.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            with holding(fd, self.path):
                size = self._disk.size(fd)
                whole = size if ends_with_frame(self._disk, fd, size) else last_frame_end(self._disk.read_at(fd, size, 0))
                if whole < size:
                    self._disk.truncate(fd, whole)
                self._disk.write(fd, frames)
            # Not under the log's own lock: the run's owner must not wait for a device to stream.
            if synced:
                self._disk.sync(fd)
            return whole + len(frames)
        finally:
            os.close(fd)

    def end(self) -> int:
        """Bytes in the log; 0 when there is none."""
        try:
            with naming(self.path):
                return os.stat(self.path).st_size
        except FileNotFoundError:
            return 0

    def read_all(self) -> bytes:
        """Every whole frame."""
        try:
            log = self._disk.read(self.path)
        except FileNotFoundError:
            return b""
        return log[: last_frame_end(log)]

    def frames(self, position: int = 0) -> Iterator[tuple[str, bytes]]:
        """Name and data of every whole frame behind a position, oldest first. Of a long log only a part is in memory at a time."""
        try:
            reader = self.reader()
        except FileNotFoundError:
            return
        with contextlib.closing(reader):
            while True:
                data = reader.read(position)
                if not data and (end := reader.large_end(position)) is not None:
                    data = b"".join(reader.pieces(position, end))
                if not data:
                    return
                position += len(data)
                yield from ((name, value) for name, value, _ in frames(data))

    def message_so_far(self, message_id: str) -> dict[str, Any] | None:
        """A Message as far as the log tells it; None when it was never announced. Raises CorruptRecord."""
        begun, position = self._kept(message_id)
        try:
            return message_so_far(self.frames(position), message_id, begun)
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptRecord(self.path, f"an event of it is not what it should be: {type(error).__name__}") from None

    def keep_so_far(self, message: dict[str, Any], end: int) -> int:
        """Keep a Message as the log up to `end` tells it, so that a reader folds only what follows. A hint: the log stays the truth.

        Returns:
            The end of the log at which it should be kept again: seldom enough that keeping long texts costs less than streaming them.
        """
        content = orjson.dumps({"end": end, "message": message})
        with contextlib.suppress(StoreError, FileNotFoundError):
            # From the runner's event loop, which must not wait for a device.
            self._disk.replace(self._so_far_path, content, synced=False)
        return end + max(KEPT_EVERY_BYTES, _KEPT_SHARE * len(content))

    def _kept(self, message_id: str) -> tuple[dict[str, Any] | None, int]:
        """What was kept of a message, and the position behind it; of another one nothing, nor when a power cut took the log's end."""
        try:
            kept = parsed(self._disk.read(self._so_far_path), self._so_far_path)
            message, end = kept["message"], kept["end"]
            if message["id"] != message_id:
                return None, 0
            with contextlib.closing(self.reader()) as reader:
                return (message, end) if reader.is_position(end) else (None, 0)
        except (FileNotFoundError, CorruptRecord, KeyError, TypeError):
            return None, 0

    def reader(self) -> EventReader:
        """Follow the log from any position. FileNotFoundError when there is none."""
        return EventReader(self._disk, self._disk.open(self.path, os.O_RDONLY))

    def writer(self, run_id: str) -> EventWriter:
        """For the runner that owns the run: appends from here on, as long as nobody else does."""
        return EventWriter(self._disk, self.path, run_id)


class EventWriter:
    """The owner's way to append: one write, without waiting for the device, while the log is as this writer left it."""

    def __init__(self, disk: Disk, path: str, run_id: str) -> None:
        self._disk, self._path, self._run_id = disk, path, run_id
        self._fd = disk.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._end = self._disk.size(self._fd)

    def append(self, frames: bytes) -> None:
        """Add whole frames.

        Raises:
            ClaimLost: somebody else has written, so the run is no longer ours alone: its status must be read again.
        """
        with holding(self._fd, self._path):
            if self._disk.size(self._fd) != self._end:
                raise ClaimLost(self._run_id)
            self._disk.write(self._fd, frames)
            self._end += len(frames)

    @property
    def end(self) -> int:
        """The offset behind what was added last."""
        return self._end

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
