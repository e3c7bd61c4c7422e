"""Requests to a server that is killed all the time: what was answered, what was refused, and what nobody will ever know."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from dataclasses import dataclass
from typing import Any

_TIMEOUT_SECONDS = 60
_PAUSE_SECONDS = 0.1
_HEADERS = {"Content-Type": "application/json"}


class Unanswered(Exception):
    """The request was sent and its answer never came: the write happened, or not."""


class Refused(Exception):
    """An error was answered."""

    def __init__(self, status: int, content: bytes) -> None:
        super().__init__(f"{status}: {content[:300].decode(errors='replace')}")
        self.status = status


class Over(Exception):
    """The soak ended while nobody answered."""


@dataclass(frozen=True)
class Received:
    """What came of a stream before it ended.

    Attributes:
        frames: whole events without their ids, as they are in the run's log; no `done`, no `error`, no comments.
        last_id: of the last of them; None without ids.
        told: names of all events, `done` and `error` too.
        broken: whether the connection broke.
    """

    frames: list[bytes]
    last_id: int | None
    told: list[str]
    broken: bool


class Caller:
    """One client with one connection; for one thread.

    Args:
        port: of the server.
        over: set when the soak is over, so that nobody waits for a server that is not started again.
    """

    def __init__(self, port: int, over: threading.Event) -> None:
        self.port, self._over = port, over
        self._connection: http.client.HTTPConnection | None = None

    def write(self, method: str, path: str, body: Any = None) -> Any:
        """Send once. Raises Unanswered, Refused, Over."""
        connection = self._connected()
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode(), _HEADERS)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unanswered(repr(error)) from error
        if response.status != 200:
            raise Refused(response.status, content)
        return json.loads(content)

    def read(self, path: str) -> Any:
        """Ask until there is an answer. Raises Refused, Over."""
        while True:
            with contextlib.suppress(Unanswered):
                return self.write("GET", path)
            self._pause()

    def stream(self, method: str, path: str, body: Any = None, after: int | None = None) -> Received:
        """Read a stream to its end, or until it breaks. Raises Unanswered when it did not even begin, Refused, Over."""
        self.close()
        connection, raw, broken = self._connected(), b"", False
        headers = _HEADERS if after is None else {**_HEADERS, "Last-Event-ID": str(after)}
        try:
            connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise Refused(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unanswered(repr(error)) from error
        try:
            while piece := response.read1(65536):
                raw += piece
        except (OSError, http.client.HTTPException):
            broken = True
        self.close()
        return parse(raw, broken=broken)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> http.client.HTTPConnection:
        """Waits while nobody listens: nothing was sent, so nothing is unknown."""
        while self._connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_SECONDS)
            try:
                connection.connect()
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connection = connection
            except OSError:
                connection.close()
                self._pause()
        return self._connection

    def _pause(self) -> None:
        if self._over.wait(_PAUSE_SECONDS):
            raise Over


def parse(raw: bytes, *, broken: bool = False) -> Received:
    """The whole events of a stream."""
    text = re.sub(rb"^:[^\n]*\n\n?", b"", raw, flags=re.MULTILINE)
    frames, told, last_id = [], [], None
    for frame in text.split(b"\n\n")[:-1]:
        lines = frame.split(b"\n")
        name = lines[0].removeprefix(b"event: ").decode()
        told.append(name)
        if name in ("done", "error"):
            continue
        if lines[-1].startswith(b"id: "):
            last_id = int(lines.pop()[4:])
        frames.append(b"\n".join(lines) + b"\n\n")
    return Received(frames, last_id, told, broken)
