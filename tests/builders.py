"""Threads, runs and processes as the suites of the store and of the lifecycle need them. All of it is real: files, locks, processes."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from oxillama import clock
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.objects import run as run_object
from oxillama.objects.assistant import new_assistant
from oxillama.objects.stream_event import frames
from oxillama.store import Store
from oxillama.store.threads import ThreadFolder
from tests.waiting import is_readable

Value = dict[str, Any]

PROJECT = "default"
RUNNER = "runner-of-this-test"
EXPIRY_SECONDS = 600
USAGE = run_object.usage(7, 3, cached_tokens=2, reasoning_tokens=1)

FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}}
CALLS = [
    {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}', "output": None}},
    {"id": "call_b", "type": "function", "function": {"name": "weather", "arguments": "{}", "output": None}},
]
#: What the engine gets back with those calls.
PRIVATE = {"call_ids": {"call_a": "D681PevKs"}, "reasoning": {"reasoning_content": "I need the weather."}}
OUTPUTS = [{"tool_call_id": "call_b", "output": "rain"}, {"tool_call_id": "call_a", "output": "sun"}]

_numbers = itertools.count()
_lives: list[int] = []


def open_store(root: Path, *, durable: bool = False) -> Store:
    """The data directory below `root`. Not durable unless asked, because a test does not cut the power."""
    return Store.open(root / "data", durable=durable)


def an_assistant(**values: Any) -> Value:
    return new_assistant({"model": "local", "instructions": "Be brief.", **values})


def a_thread(store: Store, *texts: str) -> ThreadFolder:
    """A thread with a user's message for each text."""
    messages = [{"role": "user", "content": text} for text in texts]
    thread = orjson.loads(threads.create_thread(store, PROJECT, {"messages": messages}))
    return store.thread(PROJECT, thread["id"])


def say(folder: ThreadFolder, text: str = "Hi", role: str = "user") -> Value:
    message: Value = orjson.loads(threads.create_message(folder, {"role": role, "content": text}))
    return message


def a_run(store: Store, folder: ThreadFolder, assistant: Value | None = None, *, expiry: int = EXPIRY_SECONDS, **values: Any) -> Value:
    """A queued run on a thread."""
    return runs.create_run(store, folder, assistant or an_assistant(), values, expiry)


def join(store: Store, runner_id: str | None = None) -> str:
    """A runner that lives until `end_runners`; its id."""
    runner_id = runner_id or f"{RUNNER}-{next(_numbers)}"
    _lives.append(store.queue.join(runner_id))
    return runner_id


def end_runners() -> None:
    """Let every runner that joined in this process be dead."""
    while _lives:
        os.close(_lives.pop())


def claimed(store: Store, run: Value, runner_id: str | None = None) -> Claim:
    """The run, claimed by a runner that lives."""
    claim = Claim.take(store, run["id"], runner_id or join(store))
    assert claim is not None
    return claim


def answer(claim: Claim, *fragments: str) -> None:
    """Take a claimed run to its end with a message."""
    claim.begin_message()
    for fragment in fragments:
        claim.add_text(fragment)
    claim.finish(USAGE, None)
    claim.close()


def ask_for_tools(claim: Claim) -> None:
    """Take a claimed run to `requires_action` with the calls of CALLS."""
    claim.begin_calls()
    for index, call in enumerate(CALLS):
        claim.open_call(index, {**call, "function": {**call["function"], "arguments": ""}})
        claim.add_arguments(index, call["function"]["arguments"])
    claim.require_action(CALLS, USAGE, PRIVATE)
    claim.close()


def waiting_run(store: Store, folder: ThreadFolder) -> Value:
    """A run that waits for the outputs of CALLS."""
    run = a_run(store, folder, an_assistant(tools=[FUNCTION]))
    ask_for_tools(claimed(store, run))
    return folder.load_run(run["id"])


def event_names(folder: ThreadFolder, run_id: str) -> list[str]:
    """Names of the events in a run's log, without the `thread.` that all have in common."""
    log = folder.events(run_id).read_all()
    return [name.removeprefix("thread.") for name, _, _ in frames(log)]


def events(folder: ThreadFolder, run_id: str) -> list[tuple[str, Value]]:
    log = folder.events(run_id).read_all()
    return [(name, orjson.loads(data)) for name, data, _ in frames(log)]


def listed(items: Sequence[tuple[str, bytes]]) -> list[str]:
    return [object_id for object_id, _ in items]


def later(patch: pytest.MonkeyPatch, seconds: int) -> None:
    """Let the clock go on by this much, at once."""
    now, microseconds = clock.now, clock.microseconds
    patch.setattr(clock, "now", lambda: now() + seconds)
    patch.setattr(clock, "microseconds", lambda: microseconds() + seconds * 1_000_000)


def files_below(root: Path) -> dict[str, bytes]:
    """Every file and what is in it."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


class Child:
    """A process made by fork that does one thing and then dies by SIGKILL, so that nothing of it is tidied up.

    `finish` gives its exit status: -SIGKILL when it did what it should, 1 when that raised something. One that hangs is killed, and fails
    the test.
    """

    def __init__(self, act: Callable[[], object]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            try:
                act()
                os.kill(os.getpid(), signal.SIGKILL)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(1)

    def finish(self, seconds: float = 60.0) -> int:
        life = os.pidfd_open(self.pid)
        try:
            over = is_readable(life, seconds)
            if not over:
                os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        finally:
            os.close(life)
        assert over, f"hung for {seconds} seconds"
        return os.waitstatus_to_exitcode(status)


def die_after(act: Callable[[], object]) -> None:
    """Do something in a process that is killed right after it."""
    assert Child(act).finish() == -signal.SIGKILL


def all_at_once(acts: Sequence[Callable[[], object]]) -> None:
    """Do each in a process of its own, all released by the same event; they must all succeed."""
    ready, release = os.pipe(), os.pipe()

    def waiting(act: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            os.close(release[1])
            os.write(ready[1], b".")
            os.read(release[0], 1)
            act()

        return run

    children = [Child(waiting(act)) for act in acts]
    for _ in children:
        os.read(ready[0], 1)
    os.close(release[1])
    statuses = [child.finish() for child in children]
    for fd in (*ready, release[0]):
        os.close(fd)
    assert statuses == [-signal.SIGKILL] * len(children)


def told_in(log: bytes) -> list[tuple[str, bytes]]:
    """Name and data of the events in a log."""
    return [(name, data) for name, data, _ in frames(log)]
