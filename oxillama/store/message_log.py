"""MessageLog: the Messages of one thread. The log is append only; what was modified or deleted since lies beside it, over the line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import orjson

from oxillama import ids
from oxillama.objects.page import Page, PageQuery
from oxillama.store import legacy
from oxillama.store.disk import Disk
from oxillama.store.layout import ThreadLayout
from oxillama.store.lines import Lines
from oxillama.store.paging import read_page
from oxillama.store.records import parsed, whole

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
        self._disk, self._layout, self._being_written = disk, layout, being_written
        self._lines = Lines(disk, layout.messages, layout.torn_messages, adopted=adopted)

    def append(self, messages: list[bytes]) -> None:
        """Add whole Messages, all or none."""
        self._lines.append(messages)

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
        return None if line is None else self._current(message_id, line)

    def has_held(self, message_id: str) -> bool:
        """Whether there is such a Message, or was before it was deleted: a cursor may name it."""
        return self.find(message_id) is not None or self.get(message_id) is not None

    def last_id(self) -> str | None:
        """The id of the newest Message in the log."""
        return self._lines.last_id()

    def page(self, query: PageQuery) -> Page:
        """A part of the list, with the Message that a run is writing at its end."""
        writing = self._being_written(None)
        return read_page(_Followed(self._lines, writing), query, "message", self._current)

    def newest_first(self) -> Iterator[bytes]:
        """All Messages of the log, newest first, in wire form."""
        for message_id, line in self._lines.backward(0, self._lines.end()):
            message = self._current(message_id, line)
            if message is not None:
                yield message

    def ids_of_run(self, run_id: str) -> list[str]:
        """Ids of the Messages that a run wrote, found by reading the whole log, oldest first."""
        lines = self._lines.forward(0, self._lines.end())
        return [message_id for message_id, line in lines if parsed(line, message_id).get("run_id") == run_id]

    def _current(self, message_id: str, line: bytes) -> bytes | None:
        path = self._layout.overlay(message_id)
        try:
            overlay = self._disk.read(path)
        except FileNotFoundError:
            return orjson.dumps(legacy.message(parsed(line, message_id))) if ids.is_legacy(message_id) else line
        return None if _TOMBSTONE in whole(overlay, path)[:128] else overlay


class _Followed:
    """The lines of a log and one object behind them. See `paging.Sequence`."""

    def __init__(self, lines: Lines, last: tuple[str, bytes] | None) -> None:
        self._lines, self._log_end, self._last = lines, lines.end(), last
        if last is not None and lines.span(last[0]) is not None:
            # Race: its run has finished it since, so it is in the log, and perhaps behind the end that we saw.
            self._log_end, self._last = lines.end(), None

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
