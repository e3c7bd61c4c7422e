"""What must hold of a data directory whatever raced in it, told from its files alone and from what was seen of them before."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

import orjson

from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.recovery import recover
from oxillama.objects import run as run_object
from oxillama.objects.page import PageQuery
from oxillama.objects.stream_event import frames, message_so_far
from oxillama.store import Store
from oxillama.store.threads import ThreadFolder
from tests.builders import PROJECT, Value, answer, events, told_in

#: The statuses that the log of a run may tell, in order. Whatever does not fit was told twice, or by somebody who was late.
LIFE = re.compile(
    r"created queued(?: in_progress(?: requires_action)? queued)*"
    r"(?: in_progress(?: completed| incomplete)"
    r"|(?: in_progress(?: requires_action)?)?(?: failed| expired| cancelling(?: cancelled)?)?)"
)
REASONS = {"cancelled": "run_cancelled", "failed": "run_failed", "expired": "run_expired"}
ALL = PageQuery(limit=100, order="asc")


class Watch:
    """Looks at threads again and again, and remembers what may not change any more.

    Attributes:
        said: thread -> the texts of the callers' messages that were acknowledged; no two are equal.
        deleted: threads of which it was acknowledged that they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.said: dict[str, list[str]] = {}
        self.deleted: set[str] = set()
        self._logs: dict[str, bytes] = {}
        self._ended: dict[str, Value] = {}

    def check(self, thread_id: str) -> None:
        """Everything that holds of a thread while nobody is inside of an operation on it."""
        folder = self._store.thread(PROJECT, thread_id)
        entries = {run_id: self._store.queue.load(run_id) for run_id in self._store.queue.active()}
        ours = {run_id: entry for run_id, entry in entries.items() if entry is not None and entry.thread_id == thread_id}
        assert os.listdir(self._store._layout.temporary) == []
        if thread_id in self.deleted:
            assert not os.path.exists(folder._layout.folder), "deleted, and there again"
            assert ours == {}, "deleted, and still in the queue"
            return
        lines = self._check_messages(folder)
        run_ids = [run_id for run_id, _ in folder.page_runs(ALL).items]
        assert run_ids == sorted(set(run_ids))
        runs = [folder.load_run(run_id) for run_id in run_ids]
        active = [run["id"] for run in runs if run["status"] in run_object.ACTIVE]
        assert active in ([], run_ids[-1:]), "one run beside another"
        assert list(ours) == active, "in the queue is what is active, and nothing else"
        written = Counter(message["run_id"] for message in lines.values() if message["run_id"] is not None)
        for run in runs:
            assert self._check_run(folder, run, lines) == written.pop(run["id"], 0), "each message of a run has its step"
            if run["status"] in ("queued", "requires_action", "in_progress"):
                assert (ours[run["id"]].runner is not None) == (run["status"] == "in_progress")
        assert not written

    def _check_messages(self, folder: ThreadFolder) -> dict[str, Value]:
        """Messages of the log by id."""
        path = folder._layout.messages
        log = folder._disk.read(path) if os.path.exists(path) else b""
        lines = [orjson.loads(line) for line in log.splitlines()]
        found = [line["id"] for line in lines]
        assert found == sorted(set(found)), "each once, in the order of ids"
        texts = [line["content"][0]["text"]["value"] for line in lines if line["run_id"] is None]
        assert Counter(texts) == Counter(self.said.get(folder.thread_id, [])), "what was acknowledged, and nothing that was refused"
        return dict(zip(found, lines, strict=True))

    def _check_run(self, folder: ThreadFolder, run: Value, lines: dict[str, Value]) -> int:
        """The number of messages it wrote."""
        run_id = run["id"]
        log = folder._disk.read(folder._layout.run(run_id).events)
        assert log.endswith(b"\n\n") and frames(log)[-1][2] == len(log), "whole frames only"
        assert log.startswith(self._logs.get(run_id, b"")), "what was told stays told"
        if run_id in self._ended:
            assert log == self._logs[run_id], "nothing after the end"
            assert _without_metadata(run) == self._ended[run_id], "over is over"
        told = events(folder, run_id)
        statuses = [name.removeprefix("thread.run.") for name, value in told if value["object"] == "thread.run"]
        assert LIFE.fullmatch(" ".join(statuses)), statuses
        assert statuses[-1] == run["status"], (statuses, run["status"])
        steps = folder.load_steps(run_id)
        assert all(step["status"] != "in_progress" for step in steps[:-1]), "one step at a time"
        for step in steps:
            _check_step(step, told)
        messages = [step for step in steps if step["type"] == "message_creation"]
        count = sum(_check_message(step, told, log, lines) for step in messages)
        if run["status"] in run_object.TERMINAL:
            name, value = told[-1]
            assert name == f"thread.run.{run['status']}"
            assert _without_metadata(value) == _without_metadata(run)
            assert all(step["status"] in ("completed", run["status"]) for step in steps)
            self._ended[run_id] = _without_metadata(run)
        self._logs[run_id] = log
        return count


def _check_step(step: Value, told: list[tuple[str, Value]]) -> None:
    of_step = [(name.removeprefix("thread.run.step."), value) for name, value in told if value["id"] == step["id"]]
    names = [name for name, _ in of_step if name != "delta"]
    assert names == ["created", "in_progress", *([step["status"]] if step["status"] != "in_progress" else [])]
    assert step["status"] == "in_progress" or of_step[-1][1] == step, "the end that was told is the one that is stored"


def _check_message(step: Value, told: list[tuple[str, Value]], log: bytes, lines: dict[str, Value]) -> int:
    """Message, step and events agree; 1 when the message is in the thread."""
    message_id = step["step_details"]["message_creation"]["message_id"]
    names = [name.removeprefix("thread.message.") for name, value in told if value["id"] == message_id]
    ends = [name for name in names if name not in ("created", "in_progress", "delta")]
    assert names == ["created", "in_progress", *["delta"] * (len(names) - 2 - len(ends)), *ends], "and nothing is told of it after its end"
    if step["status"] == "in_progress":
        assert ends == [] and message_id not in lines
        return 0
    line = lines[message_id]
    assert ends == [line["status"]]
    assert (f"thread.message.{line['status']}", line) in told
    if step["status"] == "completed":
        assert line["status"] == "completed" or line["incomplete_details"]["reason"] in ("max_tokens", "content_filter")
    else:
        assert line["incomplete_details"] == {"reason": REASONS[step["status"]]}
    so_far = message_so_far(told_in(log), message_id)
    assert so_far is not None
    assert so_far["content"] in (line["content"], []), "every piece of it was told, and no other"
    return 1


def _without_metadata(run: Value) -> Value:
    return {**run, "metadata": None}


def bring_home(store: Store) -> None:
    """Let a living runner do all that there is to do: afterwards nothing is offered, and every active run waits for its caller."""
    life = store.queue.join("the-living-one")
    try:
        for _ in range(2):
            for run_id in store.queue.active():
                entry = store.queue.load(run_id)
                if entry is not None:
                    recover(store, entry)
            for run_id in store.queue.offered():
                claim = Claim.take(store, run_id, "the-living-one")
                if claim is not None:
                    answer(claim, "at ", "last")
    finally:
        os.close(life)
    assert store.queue.offered() == []
    for run_id in store.queue.active():
        entry: Any = store.queue.load(run_id)
        assert store.thread(entry.project, entry.thread_id).load_run(run_id)["status"] == "requires_action", "stuck"
