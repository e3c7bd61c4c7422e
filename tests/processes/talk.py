"""A program's side of the conversation: threads with a question, runs, and streams that are read while the test does something else."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import openai
import psutil
from openai import OpenAI
from openai.types.beta.threads import Run

from tests.contract.validation import validating_client
from tests.process_control import ProcessTree, wait_until

TERMINAL = {"completed", "failed", "cancelled", "expired", "incomplete"}


@dataclass(frozen=True)
class Question:
    """A thread that ends in a question, and an assistant to answer it."""

    assistant_id: str
    thread_id: str
    message_id: str

    @property
    def runs_path(self) -> str:
        return f"/v1/threads/{self.thread_id}/runs"


def client_of(server: ProcessTree, **options: Any) -> OpenAI:
    """A client that checks every answer."""
    return validating_client(server.base_url, **options)


def ask(client: OpenAI, text: str = "What is the capital of France?") -> Question:
    assistant = client.beta.assistants.create(model="gpt-4o", instructions="Answer in one sentence.")
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(thread.id, role="user", content=text)
    return Question(assistant.id, thread.id, message.id)


def start_run(client: OpenAI, question: Question, **options: Any) -> Run:
    return client.beta.threads.runs.create(question.thread_id, assistant_id=question.assistant_id, **options)


def see_an_answer_begin(server: ProcessTree, client: OpenAI, question: Question) -> None:
    """Until the embedded engine has said something; then the run is cancelled, for how long an answer takes is the model's affair."""
    run = start_run(client, question)
    with StreamReader.of_events(server, run) as stream:
        stream.wait_for("thread.message.delta", timeout=60)
    with contextlib.suppress(openai.BadRequestError):
        # Unless that was all it had to say.
        client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    assert ended(client, run).status in ("cancelled", "completed")


@contextlib.contextmanager
def only_worker(pid: int, workers: list[int]) -> Iterator[None]:
    """Lets one web worker answer new connections, for the others are stopped. Those that are open already may hang meanwhile."""
    others = [psutil.Process(worker) for worker in workers if worker != pid]
    for other in others:
        other.suspend()
    try:
        for other in others:
            wait_until(lambda other=other: other.status() == psutil.STATUS_STOPPED, 15, "the other worker is stopped")
        yield
    finally:
        for other in others:
            other.resume()


def ended(client: OpenAI, run: Run, timeout: float = 15) -> Run:
    """The run, once it is in a terminal state. While the server is away, it is asked again."""

    def look() -> Run | None:
        with contextlib.suppress(openai.APIConnectionError):
            found = client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)
            return found if found.status in TERMINAL else None
        return None

    found: Run = wait_until(look, timeout, f"{run.id} has ended", pause=0.05)
    return found


def answers(client: OpenAI, question: Question) -> list[str]:
    """The texts of the thread's messages, oldest first."""
    return [message.content[0].text.value for message in client.beta.threads.messages.list(question.thread_id, order="asc")]  # type: ignore[union-attr]


class StreamReader:
    """Reads one stream in a thread of its own, to its last byte.

    Attributes:
        raw: every byte of the body so far.
        broken: whether the connection broke, rather than the answer coming to its end.
        port: this end of the connection; 0 before there is one.
    """

    def __init__(self, server: ProcessTree, method: str, path: str, body: Any = None) -> None:
        self.raw, self.broken, self.port = b"", False, 0
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._request = (method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        self._thread = threading.Thread(target=self._read, daemon=True)

    @classmethod
    def of_run(cls, server: ProcessTree, question: Question) -> StreamReader:
        """Creates a run with stream: true."""
        return cls(server, "POST", question.runs_path, {"assistant_id": question.assistant_id, "stream": True})

    @classmethod
    def of_events(cls, server: ProcessTree, run: Run, after: int = 0) -> StreamReader:
        """Everything the run streams, from some point on."""
        return cls(server, "GET", f"/v1/threads/{run.thread_id}/runs/{run.id}/events?after={after}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        sock = self._connection.sock
        with contextlib.suppress(OSError):
            if sock is not None:
                sock.shutdown(2)
        self._thread.join(10)
        self._connection.close()

    def wait_for(self, event: str, count: int = 1, timeout: float = 15) -> None:
        """Until this many events of this name have come."""
        wait_until(lambda: self.names.count(event) >= count, timeout, f"{count} times {event} in {self.raw!r}")

    def wait_end(self, timeout: float = 15) -> Self:
        """Until the stream is over, one way or the other."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"not over after {timeout} s: {self.raw[-300:]!r}"
        return self

    @property
    def frames(self) -> list[bytes]:
        """The whole frames so far, without keep-alive comments."""
        without_comments = re.sub(rb"^:[^\n]*\n\n?", b"", self.raw, flags=re.MULTILINE)
        return [frame + b"\n\n" for frame in without_comments.split(b"\n\n")[:-1]]

    @property
    def names(self) -> list[str]:
        return [frame.split(b"\n")[0].removeprefix(b"event: ").decode() for frame in self.frames]

    @property
    def last_id(self) -> int:
        """The `id` of the last whole frame."""
        found = re.search(rb"^id: (\d+)$", self.frames[-1], re.MULTILINE)
        assert found is not None, self.frames[-1]
        return int(found[1])

    @property
    def run_id(self) -> str:
        found = re.search(rb'"id":"(run_[A-Za-z0-9]+)"', self.raw)
        assert found is not None, self.raw
        return found[1].decode()

    def _read(self) -> None:
        try:
            self._connection.connect()
            self.port = self._connection.sock.getsockname()[1]
            self._connection.request(*self._request)
            response = self._connection.getresponse()
            while piece := response.read1(65536):
                self.raw += piece
        except (OSError, http.client.HTTPException):
            self.broken = True
