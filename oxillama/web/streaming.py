"""A run's event log as a streaming response: bytes of a file to a socket, from any position, until an event that ends the stream."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator

from flask import Response

from oxillama.errors import InvalidRequest, LimitReached, NotFound, StoreError
from oxillama.objects import run as run_object
from oxillama.objects.stream_event import DONE, ENDS, PAUSE, error_event, frames, run_event
from oxillama.store.event_reader import EventReader
from oxillama.store.event_tail import Watcher
from oxillama.store.threads import ThreadFolder
from oxillama.web.answers import event_stream

log = logging.getLogger(__name__)

#: How often an idle stream writes something, so that it notices when its client has gone.
KEEP_ALIVE_SECONDS = 5.0

_RUN_EVENT = re.compile(rb"^event: (thread\.run\.[a-z_]+)\ndata: [^\n]*\n\n", re.MULTILINE)


class StreamDesk:
    """Keeps count of the open streams of this process, and ends them when it stops.

    Args:
        most: open streams at once.
    """

    def __init__(self, most: int) -> None:
        self._slots = threading.BoundedSemaphore(most)
        self._watcher = Watcher()
        self._stopping = False

    def stop(self) -> None:
        """Let all streams end soon, each behind a whole event. Safe in a signal handler: it takes no lock, and wakes nobody; see `wake`."""
        self._stopping = True

    def wake(self) -> None:
        """Let all streams look at once whether they should end."""
        self._watcher.wake_all()

    @contextlib.contextmanager
    def reserve(self) -> Iterator[Slot]:
        """A place for a stream, taken before the run is created; given back unless a stream was opened in it.

        Raises:
            LimitReached: all places are taken.
        """
        if not self._slots.acquire(blocking=False):
            raise LimitReached("Too many streams are open on this server. Please try again later.", retry_after_seconds=1)
        slot = Slot(self._slots.release)
        try:
            yield slot
        finally:
            if not slot.used:
                slot.give_back()

    def hosted(self, slot: Slot, thread: ThreadFolder, run_id: str, position: int) -> Response:
        """What the hosted API streams: until the run ends or needs an action, then `done`."""
        stream = _Stream(self, slot, thread, run_id, position, ENDS | {PAUSE}, numbered=False)
        return event_stream(stream)

    def events(self, slot: Slot, thread: ThreadFolder, run_id: str, position: int) -> Response:
        """Everything a run streams, numbered, until it ends.

        Raises:
            InvalidRequest: no event ends at `position`.
        """
        stream = _Stream(self, slot, thread, run_id, position, ENDS, numbered=True)
        if not stream.can_begin():
            stream.close()
            message = f"Invalid 'after': {position}. Expected the id of an event of this run."
            raise InvalidRequest(message, "after", "invalid_value")
        return event_stream(stream)

    @property
    def stopping(self) -> bool:
        """Whether this process is about to end."""
        return self._stopping

    @property
    def watcher(self) -> Watcher:
        """Tells of changes of the logs."""
        return self._watcher


class Slot:
    """A place for one stream."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release, self.used = release, False

    def give_back(self) -> None:
        """Let another stream have it."""
        self._release()


class _Stream:
    """One response. An object rather than a bare generator: one that was never started would not give its slot back."""

    def __init__(
        self, desk: StreamDesk, slot: Slot, thread: ThreadFolder, run_id: str, position: int, ends: frozenset[str], *, numbered: bool
    ) -> None:
        self._desk, self._slot, self._thread, self._run_id = desk, slot, thread, run_id
        self._position, self._ends, self._numbered = position, ends, numbered
        self._closed = self._seen_terminal = False
        log = thread.events(run_id)
        self._path = log.path
        try:
            self._reader: EventReader | None = log.reader()
        except FileNotFoundError:
            self._reader = None
        slot.used = True
        self._pieces = self._told(self._follow() if self._reader is not None else self._end_without_log())

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        """Called by the server when the response ends, or its client has gone."""
        if self._closed:
            return
        self._closed = True
        self._pieces.close()
        if self._reader is not None:
            self._reader.close()
        self._slot.give_back()

    def can_begin(self) -> bool:
        """Whether an event begins at the position asked for."""
        return self._position == 0 if self._reader is None else self._reader.is_position(self._position)

    def _told(self, pieces: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        """The same pieces; when the log cannot be read, an event says so, for the status has been sent long ago."""
        try:
            yield from pieces
        except StoreError as error:
            log.error("the stream of %s breaks off: %s", self._run_id, error)
            yield error_event("The server cannot read the events of this run just now. List them later, or poll the run.")

    def _follow(self) -> Generator[bytes, None, None]:
        assert self._reader is not None
        if self._numbered and self._is_over():
            return
        # A comment followed by a blank line would be taken for an event by openai-python once there was an `id` line.
        keep_alive = b": keep-alive\n" if self._numbered else b": keep-alive\n\n"
        with self._desk.watcher.watch(self._path) as change:
            written = time.monotonic()
            # The headers go out with the first piece: a reader who has seen everything so far must not wait for an event to get them.
            yield b""
            while True:
                change.clear()
                data = self._reader.read(self._position)
                if data:
                    written = time.monotonic()
                    data, ended = self._until_end(data)
                    yield self._with_ids(data) if self._numbered else data
                    self._position += len(data)
                    if ended:
                        break
                elif (end := self._reader.large_end(self._position)) is not None:
                    ended = self._reader.name_at(self._position) in self._ends
                    yield from self._large(end)
                    self._position, written = end, time.monotonic()
                    if ended:
                        break
                elif self._desk.stopping:
                    yield error_event("The server is being restarted. The run goes on: list its events or poll it.", "server_restarting")
                    return
                elif not change.wait(KEEP_ALIVE_SECONDS) or time.monotonic() - written > KEEP_ALIVE_SECONDS:
                    written = time.monotonic()
                    last = self._missing_end()
                    if last is not None:
                        yield last
                        break
                    yield keep_alive
        if not self._numbered:
            yield DONE

    def _large(self, end: int) -> Iterator[bytes]:
        """The pieces of a frame that is larger than one."""
        assert self._reader is not None
        yield from self._reader.pieces(self._position, end - 1)
        yield b"id: %d\n\n" % end if self._numbered else b"\n"

    def _is_over(self) -> bool:
        """Whether the event that ends the run lies before the position. Browsers ask again behind it, and must not be told it twice."""
        assert self._reader is not None
        return self._position > 0 and self._reader.last_event_before(self._position) in ENDS

    def _end_without_log(self) -> Generator[bytes, None, None]:
        """A run of oxillama-server 0.1.3 has no log; all there is to say is how it ended."""
        yield self._missing_end() or error_event("This run has no event log.")

    def _until_end(self, data: bytes) -> tuple[bytes, bool]:
        for match in _RUN_EVENT.finditer(data):
            if match[1].decode() in self._ends:
                return data[: match.end()], True
        return data, False

    def _with_ids(self, data: bytes) -> bytes:
        numbered, start = [], 0
        for _, _, end in frames(data):
            numbered.append(data[start : end - 1] + b"id: %d\n\n" % (self._position + end))
            start = end
        return b"".join(numbered)

    def _missing_end(self) -> bytes | None:
        """How a run ended whose log does not say so and does not grow; None while that may still come.

        Whoever ends a run writes its status first and then the log, so a log that is not there yet is believed only at the second look.
        """
        try:
            _, status = self._thread.sendable_run(self._run_id)
            if status not in run_object.TERMINAL or (self._reader is not None and self._reader.has_more(self._position)):
                return None
            if self._reader is not None and not self._seen_terminal:
                self._seen_terminal = True
                return None
            return run_event(self._thread.load_run(self._run_id))
        except NotFound:
            return error_event("The thread of this run was deleted.", "thread_deleted")


def last_event_id(header: str | None, query: str | None) -> int:
    """The position behind which a caller wants to go on: SSE's `Last-Event-ID`, or `?after=`; 0 for the beginning.

    Raises:
        InvalidRequest: it is not a number.
    """
    text = header or query or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise InvalidRequest("Invalid 'after': expected the id of an event of this run.", "after", "invalid_value")
    return int(text)
