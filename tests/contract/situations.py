"""A project on a running server with an object in every situation that a request can find it in, each under a name.

Generated requests name situations instead of ids, so that a failing one can be read, and sent again to another server.
Whatever a request has used up is made anew when it is next asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.contract.validation import ValidatingHttp
from tests.scripted_engine import Call, Raw, Reply, http_error

Json = dict[str, Any]

PLAIN, INSTRUCTED, EQUIPPED, DELETED, UNKNOWN = (
    "a plain one",
    "one with instructions",
    "one with a function",
    "a deleted one",
    "an unknown one",
)
ASSISTANTS = (PLAIN, INSTRUCTED, EQUIPPED, DELETED, UNKNOWN)

EMPTY, ANSWERED, WAITING, WORKING = "an empty one", "an answered one", "one that waits for tool outputs", "one whose run works"
GONE = (DELETED, UNKNOWN)
THREADS = (EMPTY, ANSWERED, WAITING, WORKING, DELETED, UNKNOWN)
BUSY = (WAITING, WORKING)

#: A message, run or step, as seen from the thread that is named beside it.
OWN, OF_ANOTHER_THREAD = "the thread's own", "another thread's"
IN_THREADS = (OWN, OF_ANOTHER_THREAD, DELETED, UNKNOWN)

#: What a submitted output answers.
OPEN_CALL = "the open call"

#: The right form, and never made.
_UNKNOWN_IDS = {noun: f"{noun}_{'0' * 24}" for noun in ("asst", "thread", "msg", "run", "step")}
_FUNCTION = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
_SETTLED = ("requires_action", "completed", "incomplete", "failed", "cancelled", "expired")


@dataclass
class Thread:
    """A thread in a situation, with one of each of the things in it; what it has not is unknown."""

    id: str
    run_id: str = _UNKNOWN_IDS["run"]
    message_id: str = _UNKNOWN_IDS["msg"]
    deleted_message_id: str = _UNKNOWN_IDS["msg"]
    step_id: str = _UNKNOWN_IDS["step"]
    call_id: str = "call_none"


def engine_reply(request: Json) -> Reply | Raw:
    """What the engine answers: a call where it may call and has not; half an answer for the model `slow`; else a text.

    As engines do, it refuses a request without messages.
    """
    if not request["messages"]:
        return http_error(400, "[] is too short - 'messages'", "invalid_request_error")
    if request["model"] == "slow":
        return Reply(["Hel", "lo"], hang_after=1)
    functions = [tool["function"]["name"] for tool in request.get("tools", ())]
    if functions and request["messages"][-1]["role"] == "user":
        return Reply(calls=[Call(functions[0])])
    return Reply(["Hel", "lo"])


@dataclass
class Situations:
    """The objects, by situation.

    Args:
        http: a client of the server.
        headers: what it takes to be let in.
    """

    http: ValidatingHttp
    headers: dict[str, str]
    _assistants: dict[str, str] = field(default_factory=dict)
    _threads: dict[str, Thread] = field(default_factory=dict)

    def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """A request to the server; the answer is read to its end."""
        return self.http.request(method, path, **{"headers": self.headers, **options})

    def assistant(self, name: str) -> str:
        """The id of an assistant in a situation."""
        if name == UNKNOWN:
            return _UNKNOWN_IDS["asst"]
        if name not in self._assistants:
            special: dict[str, Json] = {INSTRUCTED: {"instructions": "Be brief."}, EQUIPPED: {"tools": [_FUNCTION]}}
            values = special.get(name, {})
            self._assistants[name] = self._make("/assistants", {"model": "scripted-chat", **values})["id"]
            if name == DELETED:
                self._done("DELETE", f"/assistants/{self._assistants[name]}")
        return self._assistants[name]

    def thread(self, name: str) -> Thread:
        """A thread in a situation."""
        if name == UNKNOWN:
            return Thread(_UNKNOWN_IDS["thread"])
        if name not in self._threads:
            make: dict[str, Callable[[], Thread]] = {
                EMPTY: lambda: Thread(self._make("/threads", {})["id"]),
                ANSWERED: lambda: self._with_run(PLAIN, "completed"),
                WAITING: lambda: self._with_run(EQUIPPED, "requires_action"),
                WORKING: lambda: self._with_run(PLAIN, "in_progress", model="slow"),
                DELETED: lambda: self._deleted(self._with_run(PLAIN, "completed")),
            }
            self._threads[name] = make[name]()
        return self._threads[name]

    def in_thread(self, noun: str, name: str, thread: str) -> str:
        """The id of a `message`, `run` or `step` in a situation."""
        if name == OWN:
            owner = self.thread(thread) if thread in THREADS else Thread("")
        elif name == OF_ANOTHER_THREAD:
            owner = self.thread(WAITING if thread == ANSWERED else ANSWERED)
        elif name == DELETED and noun == "message":
            return self.thread(thread).deleted_message_id if thread in THREADS else _UNKNOWN_IDS["msg"]
        else:
            owner = Thread("")
        return {"message": owner.message_id, "run": owner.run_id, "step": owner.step_id}[noun]

    @staticmethod
    def is_unknown(object_id: str) -> bool:
        """Whether nothing has this id: the thread of which it was asked has no such thing."""
        return object_id in _UNKNOWN_IDS.values()

    def use_up_assistant(self, name: str) -> None:
        """The assistant is no longer what its name says."""
        self._assistants.pop(name, None)

    def use_up_thread(self, name: str) -> None:
        """The same for a thread. A run that works on it would do so for ever, in a place that others need."""
        thread = self._threads.pop(name, None)
        if thread is not None and name == WORKING:
            self.send("DELETE", f"/threads/{thread.id}")

    def settled(self, thread_id: str, run_id: str, statuses: tuple[str, ...] = _SETTLED) -> Json:
        """A run, once it has one of some statuses."""
        deadline = time.monotonic() + 20
        while True:
            run: Json = self._done("GET", f"/threads/{thread_id}/runs/{run_id}")
            if run["status"] in statuses:
                return run
            assert time.monotonic() < deadline, f"still {run['status']}: {run}"
            time.sleep(0.01)

    def _with_run(self, assistant: str, status: str, **options: str) -> Thread:
        messages = [{"role": "user", "content": "Hi"}, {"role": "user", "content": "To be deleted"}]
        thread_id = self._make("/threads", {"messages": messages})["id"]
        deleted, asked = (message["id"] for message in self._done("GET", f"/threads/{thread_id}/messages")["data"])
        self._done("DELETE", f"/threads/{thread_id}/messages/{deleted}")
        created = self._make(f"/threads/{thread_id}/runs", {"assistant_id": self.assistant(assistant), **options})
        run = self.settled(thread_id, created["id"], (status,))
        thread = Thread(thread_id, run["id"], asked, deleted)
        steps: list[Json] = []
        while not steps:
            # A run is in progress a little before its first step is.
            steps = self._done("GET", f"/threads/{thread_id}/runs/{run['id']}/steps")["data"]
        thread.step_id = steps[0]["id"]
        if run["required_action"]:
            thread.call_id = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
        return thread

    def _deleted(self, thread: Thread) -> Thread:
        self._done("DELETE", f"/threads/{thread.id}")
        return thread

    def _make(self, path: str, body: Json) -> Json:
        return self._done("POST", path, json=body)

    def _done(self, method: str, path: str, **options: Any) -> Json:
        answer = self.send(method, path, **options)
        assert answer.status_code == 200, f"{method} {path}: {answer.text}"
        value: Json = answer.json()
        return value
