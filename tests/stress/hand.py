"""Hand: every kind of write, sent once and entered in the ledger."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from typing import Any

from tests.stress.calls import Caller, Received, Refused, Unanswered
from tests.stress.ledger import KnownMessage, KnownRun, KnownThread, Ledger

_FILLERS = ("", "short", "ein längerer Text mit Umlauten\nund Zeilen ", 'quotes " and \\ backslashes {} [] ', "0123456789 " * 90)


class Hand:
    """What one writer does. Every method raises Unanswered, after the ledger has been told what may have happened.

    Args:
        name: unique; begins each of its tokens.
        caller: how it reaches a server.
        ledger: where it is entered.
        chance: its randomness.
    """

    def __init__(self, name: str, caller: Caller, ledger: Ledger, chance: random.Random) -> None:
        self.caller, self.ledger, self.chance = caller, ledger, chance
        self._tokens = (f"{name}-{number}" for number in itertools.count())

    def token(self) -> str:
        return next(self._tokens)

    def text(self, token: str) -> str:
        """A text of its own: the token, and something behind it."""
        return f"{token} {self.chance.choice(_FILLERS)}"

    def write(self, kind: str, method: str, path: str, body: Any = None) -> Any:
        """Send once, and count it. A 400 is left to the caller; any other refusal is a surprise."""
        with self._counted(kind, path):
            return self.caller.write(method, path, body)

    @contextlib.contextmanager
    def _counted(self, kind: str, path: str) -> Iterator[None]:
        """Enter in the ledger what became of one write."""
        try:
            yield
        except Unanswered:
            self.ledger.count(self.ledger.unknown, kind)
            raise
        except Refused as error:
            self.refused(kind, path, error)
            raise
        self.ledger.count(self.ledger.acknowledged, kind)

    def refused(self, kind: str, path: str, error: Refused) -> None:
        self.ledger.count(self.ledger.refused, kind)
        if error.status != 400:
            self.ledger.surprise(f"{kind} {path}: {error}")

    def create_thread(self) -> KnownThread:
        metadata = {"token": self.token()}
        answer = self.write("thread created", "POST", "/v1/threads", {"metadata": metadata})
        return self.ledger.add_thread(KnownThread(answer["id"], [metadata]))

    def modify_thread(self, thread: KnownThread) -> None:
        metadata = {"token": self.token()}
        thread.metadata.append(metadata)
        self.write("thread modified", "POST", f"/v1/threads/{thread.thread_id}", {"metadata": metadata})
        thread.metadata = [metadata]

    def delete_thread(self, thread: KnownThread) -> None:
        thread.deleted = None
        self.write("thread deleted", "DELETE", f"/v1/threads/{thread.thread_id}")
        thread.deleted = True

    def create_message(self, thread: KnownThread) -> KnownMessage:
        token = self.token()
        text, metadata = self.text(token), {"token": token}
        thread.unknown.add(token)
        body = {"role": "user", "content": text, "metadata": metadata}
        answer = self.write("message created", "POST", f"/v1/threads/{thread.thread_id}/messages", body)
        thread.unknown.discard(token)
        thread.messages.append(KnownMessage(answer["id"], text, [metadata]))
        return thread.messages[-1]

    def modify_message(self, thread: KnownThread, message: KnownMessage) -> None:
        metadata = {"token": self.token()}
        message.metadata.append(metadata)
        path = f"/v1/threads/{thread.thread_id}/messages/{message.message_id}"
        self.write("message modified", "POST", path, {"metadata": metadata})
        message.metadata = [metadata]

    def delete_message(self, thread: KnownThread, message: KnownMessage) -> None:
        message.deleted = None
        self.write("message deleted", "DELETE", f"/v1/threads/{thread.thread_id}/messages/{message.message_id}")
        message.deleted = True

    def run_request(self, thread: KnownThread, assistant_id: str, model: str, **more: Any) -> dict[str, Any]:
        """The body of a run's creation, with a token that is unknown until it was answered."""
        token = self.token()
        thread.unknown.add(token)
        thread.may_have_others = True
        return {"assistant_id": assistant_id, "model": model, "metadata": {"token": token}, **more}

    def created_run(self, thread: KnownThread, run: dict[str, Any]) -> KnownRun:
        """Enter a run that was acknowledged."""
        thread.may_have_others = False
        thread.unknown.discard(run["metadata"]["token"])
        thread.runs.append(KnownRun(thread.thread_id, run["id"], run["metadata"]["token"]))
        return thread.runs[-1]

    def create_run(self, thread: KnownThread, assistant_id: str, model: str, *, additional: bool = False) -> KnownRun:
        """With `additional`, a message comes with the run."""
        body, path = self.run_request(thread, assistant_id, model), f"/v1/threads/{thread.thread_id}/runs"
        if not additional:
            return self.created_run(thread, self.write("run created", "POST", path, body))
        token = self.token()
        text, metadata = self.text(token), {"token": token}
        thread.unknown.add(token)
        body["additional_messages"] = [{"role": "user", "content": text, "metadata": metadata}]
        run = self.created_run(thread, self.write("run created", "POST", path, body))
        # Its id was not told. It is the first with this token that a list has.
        page = self.caller.read(f"/v1/threads/{thread.thread_id}/messages?limit=20")
        message_id = next((one["id"] for one in page["data"] if one["metadata"] == metadata), f"none with {token}")
        thread.unknown.discard(token)
        thread.messages.append(KnownMessage(message_id, text, [metadata]))
        return run

    def cancel(self, run: KnownRun) -> None:
        self.write("run cancelled", "POST", f"/v1/threads/{run.thread_id}/runs/{run.run_id}/cancel")
        run.cancelled = True

    def outputs_for(self, run: dict[str, Any]) -> dict[str, str]:
        """An output of its own for each call that a run waits for."""
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        return {call["id"]: self.text(self.token()) for call in calls}

    def submit(self, known: KnownRun, outputs: dict[str, str]) -> None:
        self.write("outputs submitted", "POST", f"/v1/threads/{known.thread_id}/runs/{known.run_id}/submit_tool_outputs", _body(outputs))
        known.outputs.update(outputs)

    def stream_submit(self, known: KnownRun, outputs: dict[str, str]) -> Received:
        path = f"/v1/threads/{known.thread_id}/runs/{known.run_id}/submit_tool_outputs"
        received = self.stream("outputs submitted", path, {**_body(outputs), "stream": True})
        known.outputs.update(outputs)
        return received

    def stream(self, kind: str, path: str, body: dict[str, Any]) -> Received:
        """A write that answers with a stream. It is acknowledged by its first event; before that, Unanswered."""
        with self._counted(kind, path):
            received = self.caller.stream("POST", path, body)
            if not received.frames:
                raise Unanswered("no event came")
            return received


def _body(outputs: dict[str, str]) -> dict[str, Any]:
    return {"tool_outputs": [{"tool_call_id": call_id, "output": output} for call_id, output in outputs.items()]}
