"""gunicorn's threaded worker, with what it lacks: time-outs on sockets, errors in the API's envelope, and streams that end on SIGTERM."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import logging
import selectors
import socket
import struct
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import orjson
from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from oxillama.web.error_handlers import envelope
from oxillama.web.headers import api_headers

#: How long a client may take to send, or to take, the next bytes of a request or an answer.
SOCKET_SECONDS = 30
#: How slowly it may send a body, from then on when that much time was spent waiting for it: 8 MiB may take nine minutes.
LEAST_BYTES_A_SECOND = 16 * 1024
#: How long it may take to send the whole head of a request, counted from its first byte.
HEAD_SECONDS = 10
#: How many clients that have not said anything yet make room at once for others.
MAKE_ROOM = 100
#: How long to wait before looking again whether a connection can be taken.
_BREATH_SECONDS = 0.05

_TIMEOUT = struct.pack("ll", SOCKET_SECONDS, 0)


def _is_news(record: logging.LogRecord) -> bool:
    """A client that took longer than SOCKET_SECONDS is not, and gunicorn would log a traceback for each."""
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))


class _Pace:
    """How fast a body comes in. Counts only the time in which somebody waits for it.

    Args:
        chunk: waits for the next bytes.
    """

    def __init__(self, chunk: Callable[..., bytes]) -> None:
        self._chunk, self._bytes, self._waited = chunk, 0, 0.0
        self._waits_since: float | None = None

    def chunk(self, *args: Any) -> bytes:
        """The next bytes."""
        self._waits_since = began = time.monotonic()
        try:
            piece = self._chunk(*args)
            self._bytes += len(piece)
            return piece
        finally:
            self._waits_since = None
            self._waited += time.monotonic() - began

    def is_too_slow(self) -> bool:
        """Whether to wait no longer."""
        since = self._waits_since
        return since is not None and self._waited + time.monotonic() - since > SOCKET_SECONDS + self._bytes / LEAST_BYTES_A_SECOND


class Worker(ThreadWorker):
    """Serves requests on threads."""

    def init_process(self) -> None:
        """Keep the log for what is news, then serve."""
        self.log.error_log.addFilter(_is_news)
        self._reading_heads: dict[TConn, float] = {}
        self._reading_bodies: dict[TConn, _Pace] = {}
        super().init_process()

    def handle(self, conn: TConn) -> Any:
        """Serve a request that begins to arrive, in a thread of its own."""
        self._reading_heads[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            self._reading_heads.pop(conn, None)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Serve a request whose head is there."""
        self._reading_heads.pop(conn, None)
        if req.method != "POST":
            # The body of any other is not read.
            return super().handle_request(req, conn)
        unreader = conn.parser.unreader
        self._reading_bodies[conn] = pace = _Pace(unreader.chunk)
        unreader.chunk = pace.chunk
        try:
            return super().handle_request(req, conn)
        finally:
            # What the instance shadowed is the class's own.
            del unreader.chunk, self._reading_bodies[conn]

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """One round of the main loop, at least every second: hang up on clients that hold a thread with a request that hardly comes on."""
        super().wait_for_and_dispatch_events(timeout)
        latest = time.monotonic() - HEAD_SECONDS
        slow = [conn for conn, began in list(self._reading_heads.items()) if began < latest]
        slow += [conn for conn, pace in list(self._reading_bodies.items()) if pace.is_too_slow()]
        for conn in slow:
            # Unlike closing it, this wakes the thread that reads from it.
            with contextlib.suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)
        if self.nr_conns >= self.worker_connections:
            self._make_room()

    def accept(self, listener: socket.socket) -> None:
        """Take a connection. Where nothing is left to hold it, it waits until others have ended; gunicorn's worker would end itself."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._make_room()
            # It is still there to be taken, so that the next round would come at once.
            time.sleep(_BREATH_SECONDS)

    def _make_room(self) -> None:
        """Let the longest silent clients go: who comes now may have something to ask. gunicorn closes them right behind this round."""
        for conn in itertools.islice(self.pending_conns, MAKE_ROOM):
            conn.timeout = 0.0

    def enqueue_req(self, conn: TConn) -> None:
        """Serve a connection that has sent something. A new one waits for that without a thread: gunicorn's would hold one for seconds."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        # gunicorn limits how long the kernel waits for the first byte of a request only.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            conn.sock.setsockopt(socket.SOL_SOCKET, option, _TIMEOUT)
        conn.sock.setblocking(False)
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, functools.partial(self.on_pending_socket_readable, conn))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: let open streams come to an end, then stop."""
        # The signal may come before the application was loaded, and another application has no streams.
        parts = getattr(getattr(self, "wsgi", None), "extensions", {}).get("oxillama")
        if parts is not None and self.alive:
            streams = parts.streams
            streams.stop()
            self.method_queue.defer(streams.wake)
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT or SIGQUIT, which Ctrl-C makes of it: the same. A quick end would break streams off, and wait for their threads anyway."""
        self.handle_exit(sig, frame)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer a request that is not HTTP, or too large to be read, as the API would."""
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        status, reason = 400, "Bad Request"
        if isinstance(exc, LimitRequestLine):
            status, reason = 414, "URI Too Long"
        elif isinstance(exc, LimitRequestHeaders):
            status, reason = 431, "Request Header Fields Too Large"
        # Not the exception's own text: it quotes what was sent.
        body = orjson.dumps(envelope(f"The server cannot read this request: {reason.lower()}.", "invalid_request_error"))
        ours = [("Connection", "close"), ("Content-Type", "application/json"), ("Content-Length", len(body))]
        headers = [*ours, *api_headers(0, "default")]
        head = f"HTTP/1.1 {status} {reason}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
        try:
            util.write_nonblock(client, head.encode() + body)
        except OSError:
            self.log.debug("the client did not wait for its error")
