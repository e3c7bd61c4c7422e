"""Whatever the disk refuses, and whenever: an operation does its work wholly, or says so and leaves everything as it was.

And once the disk is well again, everything works: no run is stuck, no thread is busy for ever, and nothing is left that does not belong.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from oxillama.errors import ClaimLost, RequestRefused, StoreError, StoreFull, StoreUnavailable
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.recovery import recover
from oxillama.objects.page import PageQuery
from oxillama.store import Store, ThreadFolder
from oxillama.store.check import check
from tests.builders import (
    CALLS,
    EXPIRY_SECONDS,
    FUNCTION,
    OUTPUTS,
    PRIVATE,
    PROJECT,
    USAGE,
    a_run,
    a_thread,
    an_assistant,
    answer,
    claimed,
    join,
    later,
    open_store,
    say,
    waiting_run,
)
from tests.faults.failing_disk import FailingDisk

ALL = PageQuery(limit=100, order="asc")
MESSAGES = [{"role": "user", "content": "more"}, {"role": "user", "content": "and more"}]


@dataclass
class Situation:
    """What an operation finds: a thread, perhaps with a run and its claim."""

    store: Store
    folder: ThreadFolder
    assistant: dict[str, Any]
    message_id: str
    run: dict[str, Any] | None = None
    claim: Claim | None = None


def idle(store: Store) -> Situation:
    folder = a_thread(store, "Hi")
    answer(claimed(store, a_run(store, folder)), "Hello")
    assistant = an_assistant()
    store.assistants.insert(PROJECT, assistant)
    return Situation(store, folder, assistant, say(folder)["id"])


def queued(store: Store) -> Situation:
    found = idle(store)
    found.run = a_run(store, found.folder, tools=[FUNCTION], additional_messages=MESSAGES)
    return found


def working(store: Store) -> Situation:
    found = queued(store)
    found.claim = claimed(store, found.run or {})
    return found


def speaking(store: Store) -> Situation:
    found = working(store)
    assert found.claim is not None
    found.claim.begin_message()
    found.claim.add_text("Once ")
    return found


def calling(store: Store) -> Situation:
    found = working(store)
    assert found.claim is not None
    found.claim.begin_calls()
    return found


def waiting(store: Store) -> Situation:
    found = idle(store)
    found.run = waiting_run(store, found.folder)
    return found


def taken(found: Situation) -> None:
    found.claim = Claim.take(found.store, found.run["id"], join(found.store))
    assert found.claim is not None, "a run that was offered and not taken"


def create_run(found: Situation) -> None:
    found.run = runs.create_run(found.store, found.folder, found.assistant, {"additional_messages": MESSAGES}, EXPIRY_SECONDS)


def create_thread_and_run(found: Situation) -> None:
    values = {"thread": {"messages": MESSAGES}}
    found.run = runs.create_thread_and_run(found.store, PROJECT, found.assistant, values, EXPIRY_SECONDS)
    found.folder = found.store.thread(PROJECT, found.run["thread_id"])


#: What callers ask for: it is done, or nothing is changed.
REQUESTS: dict[str, tuple[Callable[[Store], Situation], Callable[[Situation], object]]] = {
    "create assistant": (idle, lambda s: s.store.assistants.insert(PROJECT, an_assistant())),
    "modify assistant": (idle, lambda s: s.store.assistants.update(PROJECT, s.assistant["id"], {"name": "new"})),
    "delete assistant": (idle, lambda s: s.store.assistants.delete(PROJECT, s.assistant["id"])),
    "create thread": (idle, lambda s: threads.create_thread(s.store, PROJECT, {"messages": MESSAGES})),
    "modify thread": (idle, lambda s: threads.modify_thread(s.folder, {"metadata": {"a": "b"}})),
    "delete thread": (idle, lambda s: threads.delete_thread(s.store, s.folder)),
    "create message": (idle, lambda s: threads.create_message(s.folder, {"role": "user", "content": "new"})),
    "modify message": (idle, lambda s: threads.modify_message(s.folder, s.message_id, {"metadata": {"a": "b"}})),
    "delete message": (idle, lambda s: threads.delete_message(s.folder, s.message_id)),
    "create run": (idle, create_run),
    "create thread and run": (idle, create_thread_and_run),
    "modify run": (waiting, lambda s: runs.modify_run(s.folder, s.run["id"], {"metadata": {"a": "b"}})),
    "cancel a queued run": (queued, lambda s: runs.cancel_run(s.store, s.folder, s.run["id"])),
}

#: What takes several steps to be done: where it breaks off, recovery or another try goes on from there.
STEPS: dict[str, tuple[Callable[[Store], Situation], Callable[[Situation], object]]] = {
    "take": (queued, taken),
    "begin message": (working, lambda s: s.claim.begin_message()),
    "add text": (speaking, lambda s: s.claim.add_text("upon a time")),
    "end message": (speaking, lambda s: s.claim.end_message()),
    "begin calls": (working, lambda s: s.claim.begin_calls()),
    "require action": (calling, lambda s: s.claim.require_action(CALLS, USAGE, PRIVATE)),
    "finish": (speaking, lambda s: s.claim.finish(USAGE, None)),
    "run out": (calling, lambda s: s.claim.run_out("max_completion_tokens", USAGE)),
    "fail": (speaking, lambda s: s.claim.stop("failed", last_error={"code": "server_error", "message": "x"})),
    "release": (working, lambda s: s.claim.release()),
    "cancel a run that a runner has": (speaking, lambda s: runs.cancel_run(s.store, s.folder, s.run["id"])),
    "cancel a run that waits": (waiting, lambda s: runs.cancel_run(s.store, s.folder, s.run["id"])),
    "submit outputs": (waiting, lambda s: runs.submit_tool_outputs(s.store, s.folder, s.run["id"], OUTPUTS)),
    "delete a busy thread": (speaking, lambda s: threads.delete_thread(s.store, s.folder)),
    "recover": (speaking, lambda s: recover(s.store, s.store.queue.load(s.run["id"]), abandoned=True)),
}

#: With EVERY_FAULT in the environment each error comes once and for good; it takes minutes.
FAULTS = {
    f"{errno.errorcode[error]} {'for good' if for_good else 'once'}": (error, for_good)
    for error in (errno.ENOSPC, errno.EMFILE, errno.EIO)
    for for_good in (False, True)
    if "EVERY_FAULT" in os.environ or for_good == (error == errno.ENOSPC)
}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    return FailingDisk(monkeypatch)


@pytest.fixture
def store(tmp_path: Path, failing: FailingDisk) -> Store:
    return open_store(tmp_path, durable=True)


def shape(found: Situation) -> object:
    """What callers can see of a situation, without ids and times."""
    found_assistants = [orjson.loads(one)["name"] for _, one in found.store.assistants.page(PROJECT, ALL).items]
    if not Path(found.folder._layout.meta).exists():
        return found_assistants, None
    messages = [orjson.loads(one) for _, one in found.folder.page_messages(ALL).items]
    listed = [orjson.loads(one) for _, one in found.folder.page_runs(ALL).items]
    return (
        found_assistants,
        orjson.loads(found.folder.read())["metadata"],
        [(one["role"], one["status"], one["content"], one["metadata"]) for one in messages],
        [(one["status"], one["metadata"], len(found.folder.load_steps(one["id"]))) for one in listed],
    )


def everything_goes_on(found: Situation, was_refused: bool, patch: pytest.MonkeyPatch) -> None:
    """As a runner would: every run comes to an end, and then the thread is free."""
    if found.claim is not None:
        found.claim.close()
    # An entry whose thread never came to be is kept for a minute.
    later(patch, 61)
    store = found.store
    for run_id in itertools.chain.from_iterable(store.queue.active() for _ in range(6)):
        entry = store.queue.load(run_id)
        if entry is None:
            continue
        recover(store, entry, abandoned=True)
        if store.queue.load(run_id) is None:
            continue
        folder = store.thread(entry.project, entry.thread_id)
        status = folder.load_run(run_id)["status"]
        if status == "queued":
            claim = Claim.take(store, run_id, join(store))
            if claim is not None:
                answer(claim, "Here I am again")
        elif status == "requires_action":
            runs.submit_tool_outputs(store, folder, run_id, OUTPUTS)
    assert store.queue.active() == []
    if was_refused and Path(found.folder._layout.meta).exists():
        assert found.folder.active_run() is None
        say(found.folder, "still there?")
        answer(claimed(store, a_run(store, found.folder)), "yes")


def assert_sound(root: Path) -> None:
    assert [str(one) for one in check(root / "data", patience_seconds=0) if not one.is_note] == []


def each_call(store: Store, failing: FailingDisk, fault: str, prepare, act):
    """Do an operation again and again, each time with a later call of its disk failing, until none is left to fail."""
    error, for_good = FAULTS[fault]
    for number in itertools.count():
        found = prepare(store)
        before = shape(found)
        failing.fail(error, at=number, for_good=for_good)
        refused: BaseException | None = None
        try:
            act(found)
        except (StoreError, ClaimLost, RequestRefused) as raised:
            refused = raised
        failing.heal()
        yield found, before, refused
        if not failing.failed:
            assert refused is None
            return


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_is_done_or_changes_nothing(store, failing, fault, request_, tmp_path, monkeypatch):
    error, for_good = FAULTS[fault]
    prepare, act = REQUESTS[request_]
    outcomes = []
    for found, before, refused in each_call(store, failing, fault, prepare, act):
        after = shape(found)
        # Where the device fails, a change may stand whose name cannot be synced, or which can be neither finished nor taken back.
        may_stand = error == errno.EIO and (for_good or "fsync" in failing.failed)
        outcomes.append((refused, before, after, may_stand, list(failing.failed)))
        if refused is not None:
            assert isinstance(refused, StoreFull if error == errno.ENOSPC else StoreUnavailable), failing.failed
        with monkeypatch.context() as patch:
            everything_goes_on(found, refused is not None, patch)
    done = difference(*outcomes[-1][1:3])
    for number, (refused, before, after, may_stand, failed) in enumerate(outcomes):
        told = f"call {number}: {failed}, {refused!r}"
        if refused is None:
            assert difference(before, after) == done, told
        else:
            assert after == before or may_stand, told
    assert_sound(tmp_path)


def difference(before: Any, after: Any) -> object:
    """How what can be seen has changed. Of assistants earlier rounds have left some."""
    old, new = Counter(before[0]), Counter(after[0])
    return new - old, old - new, after[1:]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_a_run_that_breaks_off_leaves_something_to_go_on_from(store, failing, fault, step, tmp_path, monkeypatch):
    prepare, act = STEPS[step]
    for found, _, refused in each_call(store, failing, fault, prepare, act):
        assert refused is None or isinstance(refused, StoreError | ClaimLost), failing.failed
        with monkeypatch.context() as patch:
            everything_goes_on(found, refused is not None, patch)
    assert_sound(tmp_path)


def test_a_run_that_is_refused_leaves_no_message_behind(store, failing):
    found = idle(store)
    failing.fail(errno.ENOSPC, at=4, for_good=True)
    with pytest.raises(StoreFull):
        create_run(found)
    failing.heal()
    assert "more" not in str(shape(found))
    create_run(found)
    assert str(shape(found)).count("more") == 2
