"""Runs from the caller's side: create, modify, cancel, submit tool outputs."""

from __future__ import annotations

import errno
import itertools
import os

import orjson
import pytest

from oxillama import clock, ids
from oxillama.errors import InvalidRequest, NotFound, RunTransitionRefused, StoreFull, ThreadBusy
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.recovery import recover
from oxillama.objects import run as run_object
from oxillama.objects.page import PageQuery
from tests.builders import (
    EXPIRY_SECONDS,
    FUNCTION,
    OUTPUTS,
    PROJECT,
    USAGE,
    Child,
    a_run,
    a_thread,
    an_assistant,
    answer,
    ask_for_tools,
    claimed,
    event_names,
    events,
    join,
    later,
    listed,
    say,
    waiting_run,
)
from tests.contract.validation import check, check_event

ASCENDING = PageQuery(order="asc", limit=100)
NOTHING_TO_ANSWER = "Run creation requires a Thread with a user message or an assistant with instructions."


def texts(folder) -> list[str]:
    return [orjson.loads(item)["content"][0]["text"]["value"] for _, item in folder.page_messages(ASCENDING).items]


# --- create --------------------------------------------------------------------------------------------------------------------------


def test_a_new_run_is_queued_entered_offered_and_told_of(store):
    folder = a_thread(store, "Hi")
    run = a_run(store, folder, metadata={"a": "b"})
    check("RunObject", run)
    assert run["status"] == "queued" and run["thread_id"] == folder.thread_id
    assert orjson.loads(folder.read_run(run["id"])) == run
    assert folder.active_run() == run
    entry = store.queue.load(run["id"])
    assert (entry.project, entry.thread_id, entry.expires_at, entry.attempt, entry.runner) == (
        PROJECT,
        folder.thread_id,
        run["expires_at"],
        0,
        None,
    )
    assert store.queue.active() == store.queue.offered() == [run["id"]]
    assert events(folder, run["id"]) == [("thread.run.created", run), ("thread.run.queued", run)]


def test_a_run_keeps_its_own_copy_of_what_its_assistant_was(store):
    folder, assistant = a_thread(store, "Hi"), an_assistant(temperature=0.2, tools=[FUNCTION])
    store.assistants.insert(PROJECT, assistant)
    run = a_run(store, folder, assistant, additional_instructions="And kind.")
    store.assistants.update(PROJECT, assistant["id"], {"instructions": "Be long.", "temperature": 2.0, "tools": []})
    stored = folder.load_run(run["id"])
    assert (stored["instructions"], stored["temperature"], stored["tools"]) == ("Be brief.\nAnd kind.", 0.2, [FUNCTION])


def test_messages_that_come_with_a_run_are_added_before_it_in_their_order(store):
    folder = a_thread(store, "one")
    run = a_run(store, folder, additional_messages=[{"role": "user", "content": "two"}, {"role": "assistant", "content": "three"}])
    assert texts(folder) == ["one", "two", "three"]
    found = listed(folder.page_messages(ASCENDING).items)
    assert [ids.stamp_of(one) for one in found] == sorted(ids.stamp_of(one) for one in found)
    assert ids.stamp_of(found[-1]) < ids.stamp_of(run["id"])
    for _, item in folder.page_messages(ASCENDING).items:
        check("MessageObject", orjson.loads(item))
        assert orjson.loads(item)["run_id"] is None


@pytest.mark.parametrize("state", ["queued", "in_progress", "requires_action", "cancelling"])
def test_a_second_run_is_refused_while_one_is_active_and_nothing_is_added(store, state):
    folder = a_thread(store, "one")
    if state == "requires_action":
        run = waiting_run(store, folder)
    else:
        run = a_run(store, folder)
        if state != "queued":
            claimed(store, run)
        if state == "cancelling":
            runs.cancel_run(store, folder, run["id"])
    assert folder.load_run(run["id"])["status"] == state
    with pytest.raises(ThreadBusy) as busy:
        a_run(store, folder, additional_messages=[{"role": "user", "content": "two"}])
    assert busy.value.message == f"Thread {folder.thread_id} already has an active run {run['id']}."
    with pytest.raises(ThreadBusy, match=f"^Can't add messages to {folder.thread_id} while a run {run['id']} is active\\.$"):
        say(folder)
    assert texts(folder) == ["one"]
    assert listed(folder.page_runs(ASCENDING).items) == store.queue.active() == [run["id"]]


def test_a_run_needs_something_to_answer(store):
    silent = an_assistant(instructions=None)
    for folder in (a_thread(store), a_thread(store, "gone")):
        for message_id in listed(folder.page_messages(ASCENDING).items):
            threads.delete_message(folder, message_id)
        say(folder, "I begin", role="assistant")
        with pytest.raises(InvalidRequest) as refused:
            a_run(store, folder, silent)
        assert (refused.value.message, refused.value.param, refused.value.code) == (NOTHING_TO_ANSWER, None, "invalid_thread")
        assert folder.page_runs(ASCENDING).items == [] == store.queue.active()
    assert a_run(store, a_thread(store, "a question"), silent)
    assert a_run(store, a_thread(store), an_assistant(instructions="Greet."))
    assert a_run(store, a_thread(store), silent, instructions="Greet.")
    assert a_run(store, a_thread(store), silent, additional_instructions="Greet.")
    assert a_run(store, a_thread(store), silent, additional_messages=[{"role": "user", "content": "a question"}])


def test_a_thread_that_is_gone_takes_no_run(store):
    folder = a_thread(store, "x")
    threads.delete_thread(store, folder)
    with pytest.raises(NotFound, match="No thread found"):
        a_run(store, folder)
    assert store.queue.active() == store.queue.offered() == []


def test_a_thread_and_its_run_are_created_at_once(store):
    values = {"thread": {"messages": [{"role": "user", "content": "one"}], "metadata": {"a": "b"}}, "metadata": {"c": "d"}}
    run = runs.create_thread_and_run(store, PROJECT, an_assistant(), values, EXPIRY_SECONDS)
    folder = store.thread(PROJECT, run["thread_id"])
    assert orjson.loads(folder.read())["metadata"] == {"a": "b"}
    assert texts(folder) == ["one"]
    assert run["metadata"] == {"c": "d"} and folder.active_run() == run
    assert [name for name, _ in events(folder, run["id"])] == ["thread.created", "thread.run.created", "thread.run.queued"]
    for name, value in events(folder, run["id"]):
        check_event(name, value)
    answer(claimed(store, run), "two")
    assert texts(folder) == ["one", "two"]


def test_a_thread_without_anything_to_answer_is_not_created(store):
    with pytest.raises(InvalidRequest, match=NOTHING_TO_ANSWER):
        runs.create_thread_and_run(store, PROJECT, an_assistant(instructions=None), {}, EXPIRY_SECONDS)
    assert os.listdir(store._layout.threads(PROJECT)) == store.queue.active() == []
    assert runs.create_thread_and_run(store, PROJECT, an_assistant(), {}, EXPIRY_SECONDS)["status"] == "queued"


def test_a_run_that_does_not_fit_on_the_disk_is_dropped_and_its_thread_is_free(store, monkeypatch):
    folder = a_thread(store, "x")
    real = os.write

    def write(fd: int, content: bytes) -> int:
        if "status" in os.readlink(f"/proc/self/fd/{fd}") or b'"object":"thread.run"' in content:
            raise OSError(errno.ENOSPC, "no space")
        return real(fd, content)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StoreFull):
        a_run(store, folder)
    monkeypatch.undo()
    assert folder.page_runs(ASCENDING).items == [] and folder.active_run() is None
    (left,) = store.queue.active()
    recover(store, store.queue.load(left))
    assert store.queue.active() == []
    a_run(store, folder)


@pytest.mark.parametrize("writes", range(7))
def test_a_disk_that_is_full_after_any_write_leaves_nothing_of_a_run_to_be_seen(store, monkeypatch, writes):
    folder = a_thread(store, "x")
    real, calls = os.write, itertools.count()

    def write(fd: int, content: bytes) -> int:
        if next(calls) < writes:
            return real(fd, content)
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", write)
    values = {"additional_messages": [{"role": "user", "content": "y"}]}
    if writes == 6:
        runs.create_run(store, folder, an_assistant(), values, EXPIRY_SECONDS)
        return
    with pytest.raises(StoreFull):
        runs.create_run(store, folder, an_assistant(), values, EXPIRY_SECONDS)
    monkeypatch.undo()
    assert folder.page_runs(ASCENDING).items == [] and texts(folder) == ["x"] and store.queue.offered() == []
    for left in store.queue.active():
        recover(store, store.queue.load(left))
    assert store.queue.active() == []
    runs.create_run(store, folder, an_assistant(), values, EXPIRY_SECONDS)
    assert texts(folder) == ["x", "y"]


def test_a_run_whose_marker_does_not_fit_on_the_disk_is_there_and_offered_later(store, monkeypatch):
    folder = a_thread(store, "x")
    real = os.open

    def open_(path, flags, *args, **kwargs):
        if "waiting" in str(path):
            raise OSError(errno.ENOSPC, "no inodes")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_)
    run = a_run(store, folder)
    monkeypatch.undo()
    assert store.queue.offered() == []
    recover(store, store.queue.load(run["id"]))
    assert store.queue.offered() == [run["id"]]


@pytest.mark.parametrize("adding", ["message", "run"])
def test_a_run_that_the_queue_has_lost_is_found_when_its_thread_is_busy(store, adding):
    """As in a copy of the data that was made while the run went on."""
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    store.queue.take(run["id"])
    store.queue.remove(run["id"])
    with pytest.raises(ThreadBusy):
        say(folder) if adding == "message" else a_run(store, folder)
    recover(store, store.queue.load(run["id"]))
    answer(claimed(store, run), "y")
    assert texts(folder) == ["x", "y"]


# --- modify --------------------------------------------------------------------------------------------------------------------------


def test_metadata_of_a_run_can_be_changed_unless_a_runner_works_on_it(store):
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    changed = orjson.loads(runs.modify_run(folder, run["id"], {"metadata": {"a": "b"}}))
    assert changed == {**run, "metadata": {"a": "b"}} == folder.load_run(run["id"])
    claim = claimed(store, run)
    with pytest.raises(RunTransitionRefused, match=r"^Cannot update run with status 'in_progress'\.$"):
        runs.modify_run(folder, run["id"], {"metadata": {}})
    answer(claim, "y")
    finished = folder.load_run(run["id"])
    assert finished["metadata"] == {"a": "b"}, "the runner keeps what was changed before"
    assert orjson.loads(runs.modify_run(folder, run["id"], {"metadata": {}})) == {**finished, "metadata": {}}
    with pytest.raises(NotFound, match="No run found"):
        runs.modify_run(folder, ids.new_id("run"), {})


# --- cancel --------------------------------------------------------------------------------------------------------------------------

TAIL = ["run.cancelling", "run.cancelled"]


def assert_cancelled(store, folder, run_id, *, ends: list[str]):
    run = folder.load_run(run_id)
    check("RunObject", run)
    assert (run["status"], run["expires_at"], run["required_action"], run["last_error"]) == ("cancelled", None, None, None)
    assert run["cancelled_at"] is not None and run["usage"] is not None
    names = event_names(folder, run_id)
    assert names[-len(ends) :] == ends
    assert names.count("run.cancelling") == names.count("run.cancelled") == 1
    for name, value in events(folder, run_id):
        check_event(name, value)
    assert store.queue.active() == []
    assert folder.active_run() is None
    say(folder, "free again")


def test_a_queued_run_is_cancelled_at_once_and_never_executed(store):
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    told = runs.cancel_run(store, folder, run["id"])
    assert (told["status"], told["cancelled_at"], told["expires_at"]) == ("cancelling", None, run["expires_at"])
    check("RunObject", told)
    assert Claim.take(store, run["id"], join(store)) is None
    assert_cancelled(store, folder, run["id"], ends=["run.created", "run.queued", *TAIL])


def test_a_run_that_waits_for_outputs_is_cancelled_at_once_with_its_step(store):
    folder = a_thread(store, "x")
    run = waiting_run(store, folder)
    told = runs.cancel_run(store, folder, run["id"])
    assert (told["status"], told["required_action"]) == ("cancelling", None)
    assert_cancelled(store, folder, run["id"], ends=["run.requires_action", "run.step.cancelled", *TAIL])
    (step,) = folder.load_steps(run["id"])
    check("RunStepObject", step)
    assert (step["status"], step["usage"]) == ("cancelled", None)
    assert folder.load_run(run["id"])["usage"] == USAGE, "what was spent before is told"
    with pytest.raises(RunTransitionRefused, match=r'^Runs in status "cancelled" do not accept tool outputs\.$'):
        runs.submit_tool_outputs(store, folder, run["id"], OUTPUTS)


def test_a_run_that_a_runner_works_on_is_told_and_ended_by_its_runner(store):
    folder = a_thread(store, "x")
    claim = claimed(store, a_run(store, folder))
    claim.begin_message()
    claim.add_text("so far")
    run_id = claim.run["id"]
    told = runs.cancel_run(store, folder, run_id)
    assert told == folder.load_run(run_id)
    assert (told["status"], told["cancelled_at"]) == ("cancelling", None)
    assert not claim.is_wanted()
    with pytest.raises(ThreadBusy):
        say(folder)
    claim.settle()
    assert_cancelled(store, folder, run_id, ends=["run.cancelling", "message.incomplete", "run.step.cancelled", "run.cancelled"])
    message = orjson.loads(folder.page_messages(ASCENDING).items[1][1])
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_cancelled"})
    assert message["content"][0]["text"]["value"] == "so far"


def test_a_run_whose_runner_is_dead_is_cancelled_at_once(store):
    folder = a_thread(store, "x")
    run = a_run(store, folder)

    def work() -> None:
        claim = claimed(store, run, join(store))
        claim.begin_message()
        claim.add_text("so far")

    Child(work).finish()
    assert folder.load_run(run["id"])["status"] == "in_progress"
    runs.cancel_run(store, folder, run["id"])
    assert_cancelled(store, folder, run["id"], ends=["message.incomplete", "run.step.cancelled", *TAIL])


def test_a_cancelling_run_whose_runner_died_is_ended_by_recovery(store):
    folder = a_thread(store, "x")
    run = a_run(store, folder)

    def work() -> None:
        claimed(store, run, join(store)).begin_message()
        assert runs.cancel_run(store, folder, run["id"])["status"] == "cancelling"

    Child(work).finish()
    assert folder.load_run(run["id"])["status"] == "cancelling"
    recover(store, store.queue.load(run["id"]))
    assert_cancelled(store, folder, run["id"], ends=["run.cancelling", "message.incomplete", "run.step.cancelled", "run.cancelled"])


def test_a_run_that_is_over_or_being_cancelled_cannot_be_cancelled(store):
    folder = a_thread(store, "x")
    done = a_run(store, folder)
    answer(claimed(store, done), "y")
    cancelled = a_run(store, folder)
    runs.cancel_run(store, folder, cancelled["id"])
    cancelling = a_run(store, folder)
    claimed(store, cancelling)
    runs.cancel_run(store, folder, cancelling["id"])
    for run, status in ((done, "completed"), (cancelled, "cancelled"), (cancelling, "cancelling")):
        before = folder.events(run["id"]).read_all()
        with pytest.raises(RunTransitionRefused) as refused:
            runs.cancel_run(store, folder, run["id"])
        assert refused.value.message == f"Cannot cancel run with status '{status}'."
        assert folder.events(run["id"]).read_all() == before
    with pytest.raises(NotFound, match="No run found"):
        runs.cancel_run(store, folder, ids.new_id("run"))


# --- submit --------------------------------------------------------------------------------------------------------------------------


def test_outputs_complete_the_step_and_queue_the_run_again(store):
    folder = a_thread(store, "x")
    run = waiting_run(store, folder)
    log = folder.events(run["id"])
    end = log.end()
    queued, position = runs.submit_tool_outputs(store, folder, run["id"], OUTPUTS)
    assert position == end
    check("RunObject", queued)
    assert queued == {**run, "status": "queued", "required_action": None} == folder.load_run(run["id"])
    (step,) = folder.load_steps(run["id"])
    check("RunStepObject", step)
    assert (step["status"], step["usage"], step["expires_at"]) == ("completed", USAGE, None)
    outputs = {call["id"]: call["function"]["output"] for call in step["step_details"]["tool_calls"]}
    assert outputs == {"call_a": "sun", "call_b": "rain"}
    assert [call["id"] for call in step["step_details"]["tool_calls"]] == ["call_a", "call_b"], "in the order of the calls"
    assert [name for name, _ in events(folder, run["id"])[-2:]] == ["thread.run.step.completed", "thread.run.queued"]
    reader = log.reader()
    assert reader.read(position).startswith(b"event: thread.run.step.completed\n"), "the stream of the submit begins here"
    assert store.queue.offered() == [run["id"]]
    assert folder.active_run()["id"] == run["id"]


def test_a_second_turn_ends_the_run_with_the_usage_of_both(store):
    folder = a_thread(store, "x")
    run = waiting_run(store, folder)
    runs.submit_tool_outputs(store, folder, run["id"], OUTPUTS)
    claim = claimed(store, run)
    assert claim.run["started_at"] >= run["started_at"] and claim.run["expires_at"] == run["expires_at"]
    answer(claim, "It ", "rains.")
    done = folder.load_run(run["id"])
    check("RunObject", done)
    assert done["status"] == "completed" and done["usage"] == run_object.total_usage([USAGE, USAGE])
    assert event_names(folder, run["id"]) == [
        *("run.created", "run.queued", "run.in_progress"),
        *("run.step.created", "run.step.in_progress", *["run.step.delta"] * 4, "run.requires_action"),
        *("run.step.completed", "run.queued", "run.in_progress"),
        *("run.step.created", "run.step.in_progress", "message.created", "message.in_progress", *["message.delta"] * 2),
        *("message.completed", "run.step.completed", "run.completed"),
    ]
    first, second = (orjson.loads(step) for _, step in folder.page_steps(run["id"], ASCENDING).items)
    assert (first["type"], second["type"]) == ("tool_calls", "message_creation")
    assert first["id"] < second["id"]


def test_an_output_that_is_left_out_of_its_entry_is_empty(store):
    folder = a_thread(store, "x")
    run = waiting_run(store, folder)
    runs.submit_tool_outputs(store, folder, run["id"], [{"tool_call_id": "call_a"}, {"tool_call_id": "call_b", "output": "rain"}])
    (step,) = folder.load_steps(run["id"])
    assert step["step_details"]["tool_calls"][0]["function"]["output"] == ""


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([], "[]"),
        (OUTPUTS[:1], "['call_b']"),
        ([*OUTPUTS, {"tool_call_id": "call_c", "output": ""}], "['call_b', 'call_a', 'call_c']"),
        ([{"tool_call_id": "call_x", "output": ""}, OUTPUTS[1]], "['call_x', 'call_a']"),
        ([OUTPUTS[1], OUTPUTS[1]], "['call_a', 'call_a']"),
        ([{"output": "x"}, OUTPUTS[1]], "[None, 'call_a']"),
    ],
)
def test_outputs_must_be_those_of_the_calls_each_once(store, given, shown):
    folder = a_thread(store, "x")
    run = waiting_run(store, folder)
    before = folder.events(run["id"]).read_all()
    with pytest.raises(InvalidRequest) as refused:
        runs.submit_tool_outputs(store, folder, run["id"], given)
    assert refused.value.message == f"Expected tool outputs for call_ids ['call_a', 'call_b'], got {shown}"
    assert folder.load_run(run["id"]) == run and folder.events(run["id"]).read_all() == before


def test_outputs_are_taken_only_by_a_run_that_waits_for_them(store):
    folder = a_thread(store, "x")

    def refused(status: str) -> None:
        with pytest.raises(RunTransitionRefused) as error:
            runs.submit_tool_outputs(store, folder, run["id"], OUTPUTS)
        assert error.value.message == f'Runs in status "{status}" do not accept tool outputs.'
        assert error.value.status == status

    run = a_run(store, folder)
    refused("queued")
    claim = claimed(store, run)
    refused("in_progress")
    ask_for_tools(claim)
    runs.submit_tool_outputs(store, folder, run["id"], OUTPUTS)
    refused("queued")
    answer(claimed(store, run), "y")
    refused("completed")
    with pytest.raises(NotFound, match="No run found"):
        runs.submit_tool_outputs(store, folder, ids.new_id("run"), OUTPUTS)


def test_outputs_that_come_too_late_find_the_run_expired(store, monkeypatch):
    folder = a_thread(store, "x")
    run = waiting_run(store, folder)
    later(monkeypatch, EXPIRY_SECONDS)
    assert run["expires_at"] <= clock.now()
    with pytest.raises(RunTransitionRefused, match=r'^Runs in status "expired" do not accept tool outputs\.$'):
        runs.submit_tool_outputs(store, folder, run["id"], OUTPUTS)
    expired = folder.load_run(run["id"])
    check("RunObject", expired)
    assert (expired["status"], expired["expires_at"], expired["required_action"]) == ("expired", None, None)
    assert event_names(folder, run["id"])[-3:] == ["run.requires_action", "run.step.expired", "run.expired"]
    assert store.queue.active() == []
    say(folder)
