"""gunicorn's threaded worker, with what it lacks: time-outs on sockets, errors in the API's envelope, and streams that end on SIGTERM."""

from __future__ import annotations

import socket
import struct
from types import FrameType
from typing import Any

import orjson
from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from oxillama.web.error_handlers import envelope

#: How long a client may take to send, or to take, the next bytes of a request or an answer.
SOCKET_SECONDS = 30

_TIMEOUT = struct.pack("ll", SOCKET_SECONDS, 0)


class Worker(ThreadWorker):
    """Serves requests on threads."""

    def enqueue_req(self, conn: TConn) -> None:
        """Limit how long the kernel waits on the connection: gunicorn does so for the first byte of a request only."""
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            conn.sock.setsockopt(socket.SOL_SOCKET, option, _TIMEOUT)
        super().enqueue_req(conn)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: let open streams come to an end, then stop."""
        # The signal may come before the application was loaded.
        application = getattr(self, "wsgi", None)
        if application is not None:
            application.extensions["oxillama"].streams.stop()
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
        head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            util.write_nonblock(client, head.encode() + body)
        except OSError:
            self.log.debug("the client did not wait for its error")
