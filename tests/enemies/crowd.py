"""The hostile clients, in a process of their own: `python -m tests.enemies.crowd PORT SECONDS TARGETS`.

TARGETS is what `Targets.to_json` gives. Every kind is bounded in time, and by a number of its own where it leaves something behind. Prints
how often which status came.
"""

from __future__ import annotations

import collections
import contextlib
import gzip
import http.client
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

CLIENTS = 32
_JSON = {"Content-Type": "application/json", "OpenAI-Beta": "assistants=v2"}
_TIMEOUT_SECONDS = 30
#: What is stored by one client at most, in requests of 8 MB.
_MAX_STORED = 8


@dataclass(frozen=True)
class Targets:
    """What is on the server before the crowd comes.

    Attributes:
        pages: paths of large lists.
        events: paths of long event logs.
        thread: id of a thread to add to.
        assistant: id of an assistant.
        outputs: path, and ids of the calls, of runs that wait for the outputs of their tools.
    """

    pages: list[str]
    events: list[str]
    thread: str
    assistant: str
    outputs: list[tuple[str, list[str]]]

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Enemy:
    """One hostile client.

    Args:
        number: which of them; its kind follows from that.
        port: of the server.
        deadline: when to stop, by the monotonic clock.
        targets: what is there.
        seen: where to count what came back.
    """

    def __init__(self, number: int, port: int, deadline: float, targets: Targets, seen: collections.Counter[str]) -> None:
        self._port, self._deadline, self._targets, self._seen = port, deadline, targets, seen
        kinds: list[Callable[[], None]] = [
            self.large_bodies,
            self.slow_pages,
            self.slow_events,
            self.tool_outputs,
            self.additional_messages,
            self.schemas,
            self.connections,
            self.bombs,
        ]
        self._number, self._act, self._left = number, kinds[number % len(kinds)], _MAX_STORED

    def run(self) -> None:
        """Be a nuisance until the time is over."""
        while time.monotonic() < self._deadline:
            try:
                self._act()
            except (OSError, http.client.HTTPException) as error:
                self._seen[f"{self._act.__name__} {type(error).__name__}"] += 1
                time.sleep(0.2)

    def large_bodies(self) -> None:
        self._post("/v1/threads/runs", b'{"assistant_id":"x","additional_messages":[' + b"[1]," * 2_000_000 + b"1]}")

    def slow_pages(self) -> None:
        self._read_slowly(self._targets.pages[self._number // 8 % len(self._targets.pages)])

    def slow_events(self) -> None:
        self._read_slowly(self._targets.events[self._number // 8 % len(self._targets.events)])

    def tool_outputs(self) -> None:
        path, call_ids = self._targets.outputs[self._number // 8 % len(self._targets.outputs)]
        outputs = [{"tool_call_id": call_id, "output": "o" * (7_900_000 // len(call_ids))} for call_id in call_ids]
        self._post(path, json.dumps({"tool_outputs": outputs}).encode())

    def additional_messages(self) -> None:
        text = {"role": "user", "content": "m" * 250_000}
        asked = {"assistant_id": self._targets.assistant, "additional_messages": [text] * (31 if self._left > 0 else 64)}
        self._left -= 1
        self._post(f"/v1/threads/{self._targets.thread}/runs", json.dumps(asked).encode())

    def schemas(self) -> None:
        pattern = {"type": "string", "pattern": "^" + "(a|b)*" * 500 + "$"}
        deep = {"type": "array", "items": {"type": "object", "properties": {f"p{number}": pattern for number in range(50)}}}
        schema = {"name": "x", "schema": {"type": "object", "properties": {f"q{number}": deep for number in range(40)}}}
        asked = {"model": "m", "messages": [{"role": "user", "content": "a" * 100_000}], "max_tokens": 4}
        self._post(
            "/v1/chat/completions", json.dumps({**asked, "response_format": {"type": "json_schema", "json_schema": schema}}).encode()
        )

    def connections(self) -> None:
        with contextlib.ExitStack() as stack:
            for number in range(100):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_SECONDS))
                connection.sendall(b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nContent-"[: number % 60])
            self._pause(2)

    def bombs(self) -> None:
        bomb = gzip.compress(bytes(64 << 20))
        self._post("/v1/threads", bomb, {"Content-Encoding": "gzip"})
        asked = {"model": "m", "messages": [{"role": "user", "content": "word " * 1_500_000}], "max_tokens": 4}
        self._post("/v1/chat/completions", json.dumps(asked).encode())

    def _read_slowly(self, path: str) -> None:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(("127.0.0.1", self._port))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nOpenAI-Beta: assistants=v2\r\n\r\n".encode())
            begun = time.monotonic()
            self._seen[f"{self._act.__name__} {connection.recv(12)[9:].decode()}"] += 1
            while time.monotonic() < min(self._deadline, begun + 20) and connection.recv(4096):
                self._pause(0.1)

    def _post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("POST", path, body, {**_JSON, **(headers or {})})
            answer = connection.getresponse()
            answer.read(1 << 20)
            self._seen[f"{self._act.__name__} {answer.status}"] += 1
            if answer.status == 429:
                self._pause(0.2)
        finally:
            connection.close()

    def _pause(self, seconds: float) -> None:
        time.sleep(max(0.0, min(seconds, self._deadline - time.monotonic())))


def main(port: int, seconds: float, targets: Targets) -> None:
    """Let the crowd loose."""
    # It stands for other machines: the processors are the server's.
    os.nice(10)
    seen: collections.Counter[str] = collections.Counter()
    deadline = time.monotonic() + seconds
    threads = [threading.Thread(target=Enemy(number, port, deadline, targets, seen).run, daemon=True) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.1, deadline + _TIMEOUT_SECONDS - time.monotonic()))
    print(json.dumps(dict(sorted(seen.items()))))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Targets(**json.loads(sys.argv[3])))
