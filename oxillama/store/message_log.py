"""MessageLog: the Messages of one thread. The log is append only; what was modified or deleted since lies beside it, over the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import orjson

from oxillama import ids
from oxillama.objects.page import MAX_HELD_BYTES, Page, PageQuery, Sendable
from oxillama.store import legacy, line_counts
from oxillama.store.disk import Disk
from oxillama.store.layout import ThreadLayout
from oxillama.store.line_reader import LineReader
from oxillama.store.lines import Lines
from oxillama.store.paging import read_page
from oxillama.store.records import parsed, whole
from oxillama.store.stored import FilePart, Scratch, looking_at

_TOMBSTONE = b'"object":"thread.message.deleted"'


class MessageLog:
    """Reads need no lock; `append` needs the thread's.

    Args:
        disk: where it lies.
        layout: the thread's paths.
        being_written: tells the Message that a run is writing just now, which is in no file of its own: id and wire form. Given an id, only
            if it is that one.
        adopted: whether oxillama-server 0.1.3 began the log; see Lines.
    """

    def __init__(
        self, disk: Disk, layout: ThreadLayout, being_written: Callable[[str | None], tuple[str, bytes] | None], *, adopted: bool
    ) -> None:
        self._disk, self._layout, self._being_written, self._adopted = disk, layout, being_written, adopted
        self._lines = Lines(disk, layout.messages, layout.torn_messages, adopted=adopted)

    def append(self, messages: list[bytes]) -> None:
        """Add whole Messages, all or none."""
        self._lines.append(messages)

    def extend(self, make: Callable[[str | None], list[bytes]]) -> list[bytes]:
        """Add Messages that `make` makes, given the id of the newest in the log; what it made."""
        return self._lines.extend(make)

    def find(self, message_id: str) -> bytes | None:
        """The line of a Message as it was first written, or None; deleted ones included."""
        return self._lines.get(message_id)

    def get(self, message_id: str) -> bytes | None:
        """A Message in wire form, or None."""
        line = self.find(message_id)
        if line is None:
            writing = self._being_written(message_id)
            if writing is not None:
                return writing[1]
            # Race: its run may have finished it between the two looks.
            line = self.find(message_id)
        if line is None:
            return None
        resolve = self._resolver()
        return line if resolve is None else resolve(message_id, line)

    def sendable(self, message_id: str) -> Sendable | None:
        """A Message as it is sent, or None."""
        message = self.get(message_id)
        return message if message is None or len(message) <= MAX_HELD_BYTES else self.place(message_id, message)

    def place(self, message_id: str, message: bytes) -> Sendable:
        """Where a Message lies that is too large to be held: beside the log, in it, or nowhere yet as it is sent."""
        overlay = self._layout.overlay(message_id)
        if self._disk.exists(overlay):
            return FilePart(self._disk, overlay)
        with self._lines.reader() as reader:
            span = None if ids.is_legacy(message_id) else reader.span(message_id)
        return Scratch(self._disk, message) if span is None else FilePart(self._disk, self._layout.messages, span[0], len(message))

    def has_held(self, message_id: str) -> bool:
        """Whether there is such a Message, or was before it was deleted: a cursor may name it."""
        return self.find(message_id) is not None or self.get(message_id) is not None

    def has_at_least(self, count: int) -> bool:
        """Whether the log holds so many Messages, deleted ones included."""
        return line_counts.has_at_least(self._layout.messages, count)

    def last_id(self) -> str | None:
        """The id of the newest Message in the log."""
        return self._lines.last_id()

    def page(self, query: PageQuery) -> Page:
        """A part of the list, with the Message that a run is writing at its end."""
        writing = self._being_written(None)
        resolve = self._resolver()
        with self._lines.reader() as reader, looking_at(reader.size):
            if writing is None:
                return read_page(reader, query, "message", resolve, self.place)
            return read_page(_Followed(reader, writing), query, "message", resolve, self.place)

    def newest_first(self) -> Iterator[bytes]:
        """All Messages of the log, newest first, in wire form."""
        with self._lines.reader() as reader:
            for message_id, line in reader.backward(0, reader.end()):
                message = self._current(message_id, line)
                if message is not None:
                    yield message

    def ids_of_run(self, run_id: str) -> list[str]:
        """Ids of the Messages that a run wrote, found by reading the whole log, oldest first."""
        with self._lines.reader() as reader:
            lines = reader.forward(0, reader.end())
            return [message_id for message_id, line in lines if parsed(line, message_id).get("run_id") == run_id]

    def _resolver(self) -> Callable[[str, bytes], bytes | None] | None:
        """What makes a line into what is sent, if anything has to. Most threads have no later versions at all: that is looked for once."""
        if self._disk.exists(self._layout.overlays):
            return self._current
        return _wire_form if self._adopted else None

    def _current(self, message_id: str, line: bytes) -> bytes | None:
        path = self._layout.overlay(message_id)
        try:
            overlay = self._disk.read(path)
        except FileNotFoundError:
            return _wire_form(message_id, line)
        return None if _TOMBSTONE in whole(overlay, path, id=[message_id])[:128] else overlay


def _wire_form(message_id: str, line: bytes) -> bytes:
    return orjson.dumps(legacy.message(parsed(line, message_id))) if ids.is_legacy(message_id) else line


class _Followed:
    """The lines of a log and one object behind them. See `paging.Sequence`."""

    def __init__(self, lines: LineReader, last: tuple[str, bytes]) -> None:
        # Race: its run may have finished it since, so that it is in the log.
        self._lines, self._log_end, self._last = lines, lines.end(), None if lines.span(last[0]) else last

    def end(self) -> int:
        return self._log_end + (self._last is not None)

    def forward(self, low: int, high: int) -> Iterator[tuple[str, bytes]]:
        yield from self._lines.forward(low, min(high, self._log_end))
        if self._last is not None and low <= self._log_end < high:
            yield self._last

    def backward(self, low: int, high: int) -> Iterator[tuple[str, bytes]]:
        if self._last is not None and low <= self._log_end < high:
            yield self._last
        yield from self._lines.backward(low, min(high, self._log_end))

    def span(self, object_id: str) -> tuple[int, int] | None:
        if self._last is not None and object_id == self._last[0]:
            return self._log_end, self._log_end + 1
        return self._lines.span(object_id)
