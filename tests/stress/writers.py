"""Writers: threads that keep the server busy, each with threads and messages of its own."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import traceback

import httpx2
from openai import APIConnectionError, APIStatusError, OpenAI

from tests.stress.calls import Caller, Over, Refused, Unanswered
from tests.stress.hand import Hand
from tests.stress.ledger import KnownMessage, KnownThread, Ledger

_MESSAGES_A_THREAD = 150
_THREADS_KEPT = 6


class Writer(threading.Thread):
    """Does one `step` after another until the soak is over.

    Args:
        name: unique.
        port: of the server that it talks to.
        ledger: where everything is entered.
        seed: of its randomness.
        over: ends it.
        pace: steps a second at most.
    """

    def __init__(self, name: str, port: int, ledger: Ledger, seed: int, over: threading.Event, pace: float) -> None:
        super().__init__(name=name, daemon=True)
        self.over, self.ledger, self.port, self._pace = over, ledger, port, pace
        self.chance = random.Random(f"{seed} {name}")
        self.caller = Caller(port, over)
        self.hand = Hand(name, self.caller, ledger, self.chance)

    def run(self) -> None:
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                self.step()
            except Over:
                break
            except Unanswered:
                self.forget()
            except Refused as error:
                self.ledger.surprise(f"{self.name}: {error}")
                self.forget()
            except Exception:
                self.ledger.surprise(f"{self.name}: {traceback.format_exc()}")
                self.forget()
            self.over.wait(max(0.0, begun + 1 / self._pace - time.monotonic()))
        self.caller.close()

    def step(self) -> None:
        raise NotImplementedError

    def forget(self) -> None:
        """Called when a step came to no end."""


class MessageWriter(Writer):
    """Creates messages, most of the time; modifies and deletes some, and threads too."""

    _thread: KnownThread | None = None

    def step(self) -> None:
        if self._thread is None or len(self._thread.messages) >= _MESSAGES_A_THREAD:
            self._threads = [*getattr(self, "_threads", [])[-_THREADS_KEPT:]]
            self._thread = self.hand.create_thread()
            self._threads.append(self._thread)
        thread = self._thread
        message = self._some_message(thread)
        act = self.chance.choices(("create", "modify", "delete", "modify thread", "delete thread"), (90, 6, 2, 2, 0.1))[0]
        if act == "create" or message is None:
            self.hand.create_message(thread)
        elif act == "modify":
            self.hand.modify_message(thread, message)
        elif act == "delete":
            self.hand.delete_message(thread, message)
        elif act == "modify thread":
            self.hand.modify_thread(thread)
        else:
            self._thread = None
            self.hand.delete_thread(self._threads.pop(0))

    def _some_message(self, thread: KnownThread) -> KnownMessage | None:
        messages = [message for message in thread.messages[-40:] if message.deleted is False]
        return self.chance.choice(messages) if messages else None


class SdkWriter(Writer):
    """The same with the official SDK, and runs that it polls. It does not retry: what it would send again is another write."""

    _thread: KnownThread | None = None
    assistant_id = ""

    def step(self) -> None:
        with OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="any", max_retries=0, timeout=60) as client:
            while not self.over.wait(1 / self._pace):
                try:
                    self._talk(client)
                except APIConnectionError as error:
                    if not isinstance(error.__cause__, httpx2.ConnectError):
                        self.ledger.count(self.ledger.unknown, "with the SDK")
                    self._thread = None
                except APIStatusError as error:
                    self._thread = None
                    self.ledger.surprise(f"{self.name}: {error}")

    def _talk(self, client: OpenAI) -> None:
        thread, ledger = self._thread, self.ledger
        if thread is None or len(thread.messages) >= _MESSAGES_A_THREAD or thread.may_have_others:
            metadata = {"token": self.hand.token()}
            created = client.beta.threads.create(metadata=metadata)
            ledger.count(ledger.acknowledged, "thread created")
            self._thread = thread = ledger.add_thread(KnownThread(created.id, [metadata]))
        token = self.hand.token()
        text, metadata = self.hand.text(token), {"token": token}
        thread.unknown.add(token)
        message = client.beta.threads.messages.create(thread.thread_id, role="user", content=text, metadata=metadata)
        ledger.count(ledger.acknowledged, "message created")
        thread.unknown.discard(token)
        thread.messages.append(KnownMessage(message.id, text, [metadata]))
        if self.chance.random() < 0.1:
            self._run(client, thread)

    def _run(self, client: OpenAI, thread: KnownThread) -> None:
        body = self.hand.run_request(thread, self.assistant_id, "answers")
        run = client.beta.threads.runs.create(
            thread.thread_id, assistant_id=self.assistant_id, model=body["model"], metadata=body["metadata"]
        )
        self.ledger.count(self.ledger.acknowledged, "run created")
        known = self.hand.created_run(thread, run.model_dump())
        while not self.over.is_set():
            with contextlib.suppress(APIConnectionError):
                run = client.beta.threads.runs.poll(run.id, thread_id=thread.thread_id, poll_interval_ms=200)
                self.ledger.see_run(known, run.model_dump())
                return
            self.over.wait(0.1)
