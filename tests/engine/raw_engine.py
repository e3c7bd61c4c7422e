"""A server on a loopback port that answers each request with the bytes that a test scripts, one thread a connection."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.waiting import is_readable


@dataclass
class Asked:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Connection:
    """The scripted side of one request."""

    socket: socket.socket
    request: Asked
    engine: RawEngine

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def answer(self, status: int, body: object, content_type: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send(f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n")
        self.send(data)

    def begin_stream(self) -> None:
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")

    def chunk(self, **fields: Any) -> None:
        self.send(f"data: {json.dumps(fields)}\n\n")

    def delta(self, finish_reason: str | None = None, **delta: Any) -> None:
        self.chunk(choices=[{"index": 0, "delta": delta, "finish_reason": finish_reason}])

    def done(self) -> None:
        self.send("data: [DONE]\n\n")

    def hang(self) -> None:
        """Say nothing until the client hangs up, and note that it did."""
        while not self.engine.stopping.is_set():
            if is_readable(self.socket, 0.02):
                try:
                    gone = not self.socket.recv(1)
                except OSError:
                    gone = True
                if gone:
                    self.engine.hung_up.set()
                    return


Script = Callable[[Connection], None]


@dataclass
class RawEngine:
    """The server. `requests` holds what arrived, in order."""

    script: Script
    listener: socket.socket
    requests: list[Asked] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    hung_up: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[Any]:
        """Bodies of the chat requests."""
        return [asked.body for asked in self.requests if asked.path == "/v1/chat/completions"]

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(client,), daemon=True).start()

    def _handle(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as reader:
            try:
                request = _read(reader)
                if request is None:
                    return
                self.requests.append(request)
                self.arrived.set()
                self.script(Connection(client, request, self))
            except OSError:
                pass


def _read(reader: Any) -> Asked | None:
    line = reader.readline().decode().split()
    if len(line) < 2:
        return None
    headers = {}
    while (header := reader.readline().decode().strip()) != "":
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    raw = reader.read(int(headers.get("content-length", 0)))
    return Asked(line[0], line[1], headers, json.loads(raw) if raw else None)


def reserved() -> socket.socket:
    """A bound socket which does not listen: connections to its port are refused until it does."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    return listener


@contextmanager
def raw_engine(script: Script, listening: bool = True) -> Iterator[RawEngine]:
    """A running engine; with `listening=False` it refuses connections until `listener.listen()` is called."""
    with reserved() as listener:
        if listening:
            listener.listen()
            engine = RawEngine(script, listener)
            threading.Thread(target=engine.serve, daemon=True).start()
        else:
            engine = RawEngine(script, listener)
        try:
            yield engine
        finally:
            engine.stopping.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
