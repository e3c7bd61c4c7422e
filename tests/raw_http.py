"""Requests exactly as a test spells them, and answers exactly as they came: what a well-behaved client library would never send."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class Answer:
    """A whole answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str, str | None, str | None]:
        """Status, message, type, param and code of a refusal."""
        assert set(self.json) == {"error"}, self.json
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        return self.status, error["message"], error["type"], error["param"], error["code"]


@dataclass(frozen=True)
class Event:
    """One event of a stream; `id` where the stream has ids."""

    name: str
    data: Any
    id: str | None = None


class EventStream:
    """An open stream: iterate it for its events as they come."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self._response = response

    def __iter__(self) -> Iterator[Event]:
        fields: dict[str, str] = {}
        while line := self._response.readline():
            text = line.decode().rstrip("\n")
            if text and not text.startswith(":"):
                name, _, value = text.partition(": ")
                fields[name] = value
            elif not text and fields:
                yield _event(fields)
                fields = {}

    def until(self, name: str) -> list[Event]:
        """The events up to and with the first of this name."""
        seen = []
        for event in self:
            seen.append(event)
            if event.name == name:
                return seen
        raise AssertionError(f"the stream ended without {name}, after {[event.name for event in seen]}")


class Http:
    """A server on a port of this machine. Every request has a connection of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", target, headers=headers)

    def post(self, target: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("POST", target, body, headers)

    def delete(self, target: str) -> Answer:
        return self.request("DELETE", target)

    def request(self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """`body`: bytes as they are, an iterator in chunks, anything else as JSON; None for no body."""
        with self._sent(method, target, body, headers) as response:
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    @contextmanager
    def stream(self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Iterator[EventStream]:
        """An answer whose events are read as they come. Leaving the block hangs up."""
        with self._sent(method, target, body, headers) as response:
            yield EventStream(response)

    def exchange(self, sent: bytes) -> Answer:
        """What comes back for these very bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=_TIMEOUT_SECONDS) as connection:
            connection.sendall(sent)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    @contextmanager
    def _sent(self, method: str, target: str, body: Any, headers: Mapping[str, str] | None) -> Iterator[http.client.HTTPResponse]:
        content = body if body is None or isinstance(body, bytes | Iterator) else json.dumps(body).encode()
        given = {} if body is None else {"Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request(method, target, content, {**given, **(headers or {})})
            response = connection.getresponse()
            try:
                yield response
            finally:
                response.close()
        finally:
            connection.close()


def events_in(body: bytes) -> list[Event]:
    """The events of a whole stream."""
    frames = [line for line in body.decode().split("\n\n") if line]
    fields = [dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":")) for frame in frames]
    return [_event(one) for one in fields if one]


def _event(fields: Mapping[str, str]) -> Event:
    data = fields["data"] if fields["event"] == "done" else json.loads(fields["data"])
    return Event(fields["event"], data, fields.get("id"))
