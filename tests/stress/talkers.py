"""Talkers: threads that have conversations, in every way a run can be started, followed and ended."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Set
from typing import Any

from tests.stress.calls import Caller, Received, Refused, Unanswered
from tests.stress.ledger import TERMINAL, KnownMessage, KnownRun, KnownThread, SeenStream
from tests.stress.readers import follow
from tests.stress.writers import Writer

_RUNS_A_THREAD = 6
_POLL_SECONDS = 0.15

ASSISTANT = {
    "model": "answers",
    "instructions": "Answer in one sentence.",
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            },
        }
    ],
}


class Talker(Writer):
    """Has one conversation at a time.

    Attributes:
        assistant_id: who answers.
        to_follow: where readers find runs.
    """

    assistant_id = ""
    to_follow: queue.Queue[tuple[str, str]]
    _thread: KnownThread | None = None

    def step(self) -> None:
        scenarios = {
            self._plain: 24,
            self._streamed: 18,
            self._with_tools: 18,
            self._cancelled: 14,
            self._created_with_thread: 10,
            self._with_additional: 8,
            self._left_to_expire: 4,
            self._deleted: 6,
        }
        thread = self._thread
        if thread is None or thread.may_have_others or len(thread.runs) >= _RUNS_A_THREAD:
            self._thread = thread = self.hand.create_thread()
        if not any(message.deleted is False for message in thread.messages) or self.chance.random() < 0.7:
            self.hand.create_message(thread)
        self.chance.choices(list(scenarios), list(scenarios.values()))[0](thread)

    def forget(self) -> None:
        self._thread = None

    def _plain(self, thread: KnownThread) -> None:
        model = self.chance.choices(("answers", "counts-messages", "runs-out-of-tokens", "breaks-down"), (6, 3, 1, 1))[0]
        self._wait(self._create(thread, model))

    def _with_additional(self, thread: KnownThread) -> None:
        known = self.hand.create_run(thread, self.assistant_id, "answers", additional=True)
        self._offer(known)
        self._wait(known)

    def _streamed(self, thread: KnownThread) -> None:
        body = self.hand.run_request(thread, self.assistant_id, "answers", stream=True)
        received = self.hand.stream("run created", f"/v1/threads/{thread.thread_id}/runs", body)
        self._go_on(self.hand.created_run(thread, _run_of(received)), received)

    def _with_tools(self, thread: KnownThread) -> None:
        known = self._create(thread, self.chance.choice(("calls-a-function", "calls-two-functions")))
        while (run := self._wait(known, {"requires_action"}))["status"] == "requires_action":
            outputs = self.hand.outputs_for(run)
            # After an answer that never came, and where it expires or its thread is away, the run itself says what is true.
            with contextlib.suppress(Unanswered, Refused):
                if self.chance.random() < 0.5:
                    self.hand.submit(known, outputs)
                else:
                    self._go_on(known, self.hand.stream_submit(known, outputs), from_start=False)

    def _cancelled(self, thread: KnownThread) -> None:
        known = self._create(thread, self.chance.choice(("answers", "never-finishes", "says-nothing", "calls-a-function")))
        self.over.wait(self.chance.choice((0, 0.05, 0.2, 0.5)))
        while not self.over.is_set() and self._look(known)["status"] not in TERMINAL:
            with contextlib.suppress(Unanswered, Refused):
                self.hand.cancel(known)
            self._wait(known, {"queued", "in_progress", "requires_action"})

    def _left_to_expire(self, thread: KnownThread) -> None:
        model = self.chance.choices(("calls-a-function", "never-finishes"), (4, 1))[0]
        self._create(thread, model)
        self._thread = None

    def _deleted(self, thread: KnownThread) -> None:
        self._create(thread, self.chance.choice(("answers", "never-finishes", "calls-a-function")))
        self._thread = None
        self.over.wait(self.chance.choice((0, 0.1, 0.4)))
        self.hand.delete_thread(thread)

    def _created_with_thread(self, _: KnownThread) -> None:
        token = self.hand.token()
        text, metadata = self.hand.text(token), {"token": self.hand.token()}
        body = {
            "assistant_id": self.assistant_id,
            "metadata": {"token": self.hand.token()},
            "thread": {"metadata": metadata, "messages": [{"role": "user", "content": text, "metadata": {"token": token}}]},
        }
        if streamed := self.chance.random() < 0.5:
            received = self.hand.stream("thread and run created", "/v1/threads/runs", {**body, "stream": True})
            run = _run_of(received)
        else:
            run = self.hand.write("thread and run created", "POST", "/v1/threads/runs", body)
        thread = KnownThread(run["thread_id"], [metadata])
        known = self.hand.created_run(thread, run)
        self.ledger.add_thread(thread)
        page = self.caller.read(f"/v1/threads/{thread.thread_id}/messages?order=asc&limit=1")
        thread.messages.append(KnownMessage(page["data"][0]["id"], text, [{"token": token}]))
        if streamed:
            self._go_on(known, received)
        else:
            self._wait(known)

    def _create(self, thread: KnownThread, model: str) -> KnownRun:
        known = self.hand.create_run(thread, self.assistant_id, model)
        self._offer(known)
        return known

    def _offer(self, known: KnownRun) -> None:
        with contextlib.suppress(queue.Full):
            self.to_follow.put_nowait((known.thread_id, known.run_id))

    def _go_on(self, known: KnownRun, received: Received, *, from_start: bool = True) -> None:
        """Enter what a stream gave; if it broke, read all again and go on behind it."""
        self.ledger.add_stream(SeenStream(known.thread_id, known.run_id, received.frames, from_start))
        if received.told[-1] != "done":
            follow(self.caller, self.ledger, known.thread_id, known.run_id, self.over)
        self._wait(known, {"requires_action"})

    def _look(self, known: KnownRun) -> dict[str, Any]:
        run: dict[str, Any] = self.caller.read(f"/v1/threads/{known.thread_id}/runs/{known.run_id}")
        self.ledger.see_run(known, run)
        return run

    def _wait(self, known: KnownRun, others: Set[str] = frozenset()) -> dict[str, Any]:
        """Poll until the run is over, or in one of `others`."""
        while True:
            run = self._look(known)
            if run["status"] in TERMINAL or run["status"] in others:
                return run
            if self.over.wait(_POLL_SECONDS):
                return {**run, "status": "unseen"}


def _run_of(received: Received) -> dict[str, Any]:
    """The run that a stream began with."""
    frame = next(frame for frame in received.frames if frame.startswith(b"event: thread.run."))
    run: dict[str, Any] = json.loads(frame.split(b"\n")[1].removeprefix(b"data: "))
    return run


def create_assistant(port: int) -> str:
    """The assistant of all talkers."""
    return str(Caller(port, threading.Event()).write("POST", "/v1/assistants", ASSISTANT)["id"])
