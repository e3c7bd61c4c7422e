"""Where an operation takes place, and what its caller was told: the facts that must hold whatever happens afterwards."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from oxillama import clock, ids
from oxillama.lifecycle.claim import Claim
from oxillama.objects.page import PageQuery
from oxillama.store import Store
from oxillama.store.threads import ThreadFolder
from tests.builders import PROJECT, Value, a_run, a_thread, claimed, open_store

#: Stands among the statuses of a run that began to stream: a power cut may take all of it, and then it is queued again.
STREAMED = "streamed"

ALL = PageQuery(order="asc", limit=100)

#: What a fact is about: `thread`, `message`, `assistant`, `run`, `step`, `said` or `project`, and where it is.
Key = tuple[str, str]
#: The object itself; for a run the statuses in which recovery may leave it; for `said` the beginning of a text; None when it is gone.
Facts = dict[Key, Any]


def thread(folder: ThreadFolder) -> Facts:
    return {("thread", folder.thread_id): orjson.loads(folder.read())}


def message(value: Value) -> Facts:
    return {("message", f"{value['thread_id']}/{value['id']}"): value}


def messages(folder: ThreadFolder) -> Facts:
    """All messages of a thread, as they are now."""
    return {key: fact for line in folder.messages.newest_first() for key, fact in message(orjson.loads(line)).items()}


def run(value: Value, *statuses: str) -> Facts:
    return {("run", f"{value['thread_id']}/{value['id']}"): statuses}


def steps(folder: ThreadFolder, run_id: str) -> Facts:
    """All steps of a run, as they are now."""
    return {("step", f"{folder.thread_id}/{run_id}/{step['id']}"): step for step in folder.load_steps(run_id)}


def said(claim: Claim, text: str) -> Facts:
    """What a run has streamed so far of the message that it is writing."""
    assert claim._message is not None
    return {("said", f"{claim.run['thread_id']}/{claim._message['id']}"): text}


def gone(noun: str, where: str) -> Facts:
    return {(noun, where): None}


def known(facts: list[Facts]) -> Facts:
    """What is known when all this was told, one after the other: later things replace earlier ones, and a thread takes all with it."""
    result: Facts = {}
    for key, value in itertools.chain.from_iterable(one.items() for one in facts):
        result[key] = value
        if value is None:
            result = {other: fact for other, fact in result.items() if not other[1].startswith(f"{key[1]}/")}
    return {key: value for key, value in result.items() if value is not None}


def in_flight(told: Facts) -> Facts:
    """What must be there, if anything is, of something that was not acknowledged: recovery ends what a run had begun in its own words."""
    return {
        (noun, where): value
        for (noun, where), value in told.items()
        if noun != "step" and not (value and noun == "message" and value["run_id"])
    }


@dataclass
class Site:
    """A data directory below `root`, and the thread and run that an operation is about."""

    root: Path
    durable: bool
    acknowledge: Callable[[Facts], object]
    thread_id: str = ""
    run_id: str = ""
    object_id: str = ""
    _store: Store | None = None
    _lives: list[int] = field(default_factory=list)
    _claims: list[Claim] = field(default_factory=list)

    @property
    def store(self) -> Store:
        self._store = self._store or open_store(self.root, durable=self.durable)
        return self._store

    @property
    def folder(self) -> ThreadFolder:
        return self.store.thread(PROJECT, self.thread_id)

    @property
    def run(self) -> Value:
        return self.folder.load_run(self.run_id)

    def told(self, *facts: Facts) -> None:
        """The operation has answered: from here on all this holds."""
        self.acknowledge({key: value for one in facts for key, value in one.items()})

    def use_thread(self, *texts: str) -> ThreadFolder:
        self.thread_id = a_thread(self.store, *texts).thread_id
        self.told(thread(self.folder), messages(self.folder))
        return self.folder

    def use_run(self, assistant: Value | None = None, **values: Any) -> Value:
        """A queued run on the thread."""
        made = a_run(self.store, self.folder, assistant, **values)
        self.run_id = made["id"]
        self.told(run(made, "queued"))
        return made

    def claim(self) -> Claim:
        """The run, in the hands of a runner that lives."""
        runner = f"runner-{len(self._lives)}-{os.urandom(4).hex()}"
        self._lives.append(self.store.queue.join(runner))
        self._claims.append(claimed(self.store, self.run, runner))
        return self._claims[-1]

    def runners_die(self) -> None:
        """What the kernel does when a process ends: its locks are free."""
        while self._claims:
            self._claims.pop().close()
        while self._lives:
            os.close(self._lives.pop())


@contextlib.contextmanager
def same_ids_and_times(since: int) -> Iterator[None]:
    """Ids and times as they are each time that an operation is carried out, so that its results can be compared.

    Args:
        since: microseconds at which the clock stands; each look moves it by one.
    """
    stamps, numbers = itertools.count(since), itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "microseconds", lambda: next(stamps))
        patch.setattr(clock, "now", lambda: since // 1_000_000)
        patch.setattr(ids, "_random", lambda length: f"{next(numbers):0{length}d}")
        yield
