"""HTTP over bare sockets: as little of a client as can be, so that what is measured is the server."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_HEAD_END = b"\r\n\r\n"


class Refused(AssertionError):
    """An answer that was not 200."""


class Connection:
    """A kept-alive connection to a server on loopback; one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.socket = self._connect()
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.socket.close()

    def ask(self, request: bytes) -> bytes:
        """The body of the answer. Raises Refused."""
        self.socket.sendall(request)
        while True:
            body = self.feed(self._receive())
            if body is not None:
                return body

    def stream(self, request: bytes) -> tuple[float, bytes]:
        """An answer that comes in pieces: when the first of its body came (time.monotonic), and all of it. Raises Refused."""
        self.socket.sendall(request)
        data, first = b"", 0.0
        while not data.endswith(b"0\r\n\r\n"):
            piece = self._receive()
            if not first and len(data.partition(_HEAD_END)[2] + piece.partition(_HEAD_END)[2]):
                first = time.monotonic()
            data += piece
        _check(data)
        return first, data

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived: the body once an answer is whole, else None. Raises Refused."""
        self._buffer += data
        head, separator, rest = self._buffer.partition(_HEAD_END)
        if not separator:
            return None
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return None
        _check(self._buffer)
        self._buffer = rest[length:]
        return rest[:length]

    def _receive(self) -> bytes:
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise Refused(f"the server hung up after {self._buffer[:200]!r}")
        return piece

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _check(answer: bytes) -> None:
    if not answer.startswith(b"HTTP/1.1 200"):
        raise Refused(answer[:600].decode(errors="replace"))


@dataclass
class Stream:
    """An answer that came in pieces.

    Attributes:
        sent: when the request was (time.monotonic).
        pieces: when each came, and its bytes.
    """

    sent: float
    pieces: list[tuple[float, bytes]] = field(default_factory=list)

    def has_ended(self) -> bool:
        """Whether the last chunk of the body is there; it may come in pieces itself."""
        return b"".join(piece for _, piece in self.pieces[-3:]).endswith(b"\r\n0\r\n\r\n")

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(piece for _, piece in self.pieces)


def follow(port: int, requests: Sequence[bytes], *, seconds: float, spread: float = 0) -> list[Stream]:
    """Send each request on a connection of its own, and take down what comes of its answer and when.

    Args:
        port: of the server.
        requests: their answers are streams.
        seconds: all must have ended by then.
        spread: seconds over which they are begun.

    Raises:
        Refused: an answer was not 200, broke off, or did not end in time.
    """
    streams: list[Stream] = []
    selector = selectors.DefaultSelector()
    began = time.monotonic()
    while len(streams) < len(requests) or selector.get_map():
        now, begun = time.monotonic(), len(streams)
        if now > began + seconds:
            raise Refused(f"{len(selector.get_map())} of {len(requests)} streams have not ended after {seconds} s")
        if begun < len(requests) and now >= began + spread * begun / len(requests):
            streams.append(_begin(port, requests[begun], selector))
        for key, _ in selector.select(0.001 if begun < len(requests) else 0.1):
            stream, connection = key.data
            piece = connection.socket.recv(1 << 18)
            stream.pieces.append((time.monotonic(), piece))
            if len(stream.pieces) == 1:
                _check(piece)
            if not piece:
                raise Refused(f"a stream broke off behind {stream.data[-1000:]!r}")
            if stream.has_ended():
                selector.unregister(connection.socket)
                connection.socket.close()
    return streams


def _begin(port: int, request: bytes, selector: selectors.BaseSelector) -> Stream:
    connection = Connection(port)
    stream = Stream(time.monotonic())
    connection.socket.sendall(request)
    selector.register(connection.socket, selectors.EVENT_READ, (stream, connection))
    return stream


def load(port: int, requests: Sequence[bytes], numbers: Sequence[int], seconds: float, each_its_own: bool) -> list[float]:
    """Keep a connection busy for each of `numbers`; the seconds that each answer took. See `load.drive`."""
    took: list[float] = []
    sent: dict[int, float] = {}
    position: dict[int, int] = {}
    selector = selectors.DefaultSelector()
    deadline = time.monotonic() + seconds

    def send(number: int, connection: Connection) -> None:
        sent[number] = time.monotonic()
        connection.socket.sendall(requests[position[number] % len(requests)])
        position[number] += 0 if each_its_own else len(numbers)

    for number in numbers:
        connection, position[number] = Connection(port), number
        selector.register(connection.socket, selectors.EVENT_READ, (number, connection))
        send(number, connection)
    while time.monotonic() < deadline:
        for key, _ in selector.select(0.1):
            number, connection = key.data
            if connection.feed(connection.socket.recv(1 << 18)) is not None:
                took.append(time.monotonic() - sent[number])
                send(number, connection)
    for key in list(selector.get_map().values()):
        key.data[1].socket.close()
    return took
