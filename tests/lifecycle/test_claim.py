"""A run in a runner's hands: what is stored and told at each step, and that nobody but its owner can write for it."""

from __future__ import annotations

import orjson
import pytest

from oxillama import clock, ids
from oxillama.errors import ClaimLost
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.recovery import recover
from oxillama.objects import run as run_object
from oxillama.objects.page import PageQuery
from tests.builders import (
    CALLS,
    FUNCTION,
    PRIVATE,
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
    listed,
    say,
)
from tests.contract.validation import StreamCheck, check, check_event

ASCENDING = PageQuery(order="asc", limit=100)
OPENING = ["run.created", "run.queued", "run.in_progress"]
MESSAGE_OPENING = ["run.step.created", "run.step.in_progress", "message.created", "message.in_progress"]
FAILURE = {"code": "server_error", "message": "The engine cannot be reached."}


def assert_told_well(folder, run_id) -> None:
    """Every event is what the hosted API would send, in an order that the SDKs bear."""
    log = folder.events(run_id).read_all()
    stream = StreamCheck(hosted=True)
    stream.feed(log + b"event: done\ndata: [DONE]\n\n")
    stream.end()
    assert stream.violations == []
    told = [(name, value["id"]) for name, value in events(folder, run_id) if not name.endswith(".delta")]
    steps_and_messages = [one for one in told if one[0].startswith(("thread.message.", "thread.run.step."))]
    assert len(steps_and_messages) == len(set(steps_and_messages)), "nothing is told twice"
    for name, value in events(folder, run_id):
        check_event(name, value)


def only_step(folder, run_id):
    (step,) = folder.load_steps(run_id)
    check("RunStepObject", step)
    return step


def last_message(folder):
    message = orjson.loads(folder.page_messages(PageQuery(limit=1)).items[0][1])
    check("MessageObject", message)
    return message


@pytest.fixture
def folder(store):
    return a_thread(store, "Hi")


@pytest.fixture
def claim(store, folder):
    return claimed(store, a_run(store, folder, an_assistant(tools=[FUNCTION])))


# --- the steps of a run --------------------------------------------------------------------------------------------------------------


def test_a_claimed_run_is_in_progress(store, folder, claim):
    run = folder.load_run(claim.run["id"])
    assert run == claim.run
    check("RunObject", run)
    assert (run["status"], run["usage"]) == ("in_progress", None) and run["started_at"] is not None
    entry = store.queue.load(run["id"])
    assert entry.attempt == 1 and store.queue.is_alive(entry.runner)
    assert store.queue.active() == [run["id"]] and store.queue.offered() == []
    assert event_names(folder, run["id"]) == OPENING
    assert claim.is_wanted() and not claim.has_streamed


def test_an_answer_from_claim_to_end(store, folder, claim):
    run_id = claim.run["id"]
    claim.begin_message()
    assert claim.has_streamed
    step = only_step(folder, run_id)
    assert (step["status"], step["usage"], step["expires_at"]) == ("in_progress", None, claim.run["expires_at"])
    claim.add_text("Hel")
    claim.add_text("lo")
    claim.finish(USAGE, None)
    run, step, message = folder.load_run(run_id), only_step(folder, run_id), last_message(folder)
    check("RunObject", run)
    assert (run["status"], run["expires_at"], run["usage"], run["last_error"]) == ("completed", None, USAGE, None)
    assert run["completed_at"] is not None and run["incomplete_details"] is None
    assert (step["status"], step["usage"], step["expires_at"]) == ("completed", USAGE, None)
    assert step["step_details"]["message_creation"]["message_id"] == message["id"]
    assert (message["status"], message["run_id"], message["assistant_id"]) == ("completed", run_id, run["assistant_id"])
    assert message["content"] == [{"type": "text", "text": {"value": "Hello", "annotations": []}}]
    assert event_names(folder, run_id) == [
        *OPENING,
        *MESSAGE_OPENING,
        *["message.delta"] * 2,
        *("message.completed", "run.step.completed", "run.completed"),
    ]
    told = dict(events(folder, run_id))
    assert told["thread.run.completed"] == run and told["thread.run.step.completed"] == step and told["thread.message.completed"] == message
    assert (
        told["thread.message.created"]
        == told["thread.message.in_progress"]
        == {**message, "status": "in_progress", "completed_at": None, "content": []}
    )
    assert_told_well(folder, run_id)
    assert store.queue.active() == store.queue.offered() == []
    assert listed(folder.page_messages(PageQuery(), run_id).items) == [message["id"]]
    say(folder, "free again")


@pytest.mark.parametrize(
    ("reason", "details"),
    [("max_tokens", {"reason": "max_completion_tokens"}), ("content_filter", {})],
    ids=["max_tokens", "content_filter"],
)
def test_an_answer_that_is_cut_off_ends_the_run_incomplete_and_its_step_completed(folder, claim, reason, details):
    claim.begin_message()
    claim.add_text("Hel")
    claim.finish(USAGE, reason)
    run = folder.load_run(claim.run["id"])
    check("RunObject", run)
    assert (run["status"], run["incomplete_details"], run["expires_at"], run["usage"]) == ("incomplete", details, None, USAGE)
    assert run["completed_at"] is not None
    message = last_message(folder)
    assert (message["status"], message["incomplete_details"], message["completed_at"]) == ("incomplete", {"reason": reason}, None)
    assert message["content"][0]["text"]["value"] == "Hel"
    assert only_step(folder, run["id"])["status"] == "completed"
    assert event_names(folder, run["id"])[-3:] == ["message.incomplete", "run.step.completed", "run.incomplete"]
    assert_told_well(folder, run["id"])


def test_tool_calls_leave_the_run_waiting_and_the_runner_free(store, folder, claim):
    run_id = claim.run["id"]
    ask_for_tools(claim)
    run, step = folder.load_run(run_id), only_step(folder, run_id)
    check("RunObject", run)
    assert (run["status"], run["usage"], run["expires_at"]) == ("requires_action", None, claim.run["expires_at"])
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert calls == [{**call, "function": {key: call["function"][key] for key in ("name", "arguments")}} for call in CALLS]
    assert (step["status"], step["usage"], step["step_details"]["tool_calls"]) == ("in_progress", None, CALLS)
    assert event_names(folder, run_id) == [
        *OPENING,
        "run.step.created",
        "run.step.in_progress",
        *["run.step.delta"] * 4,
        "run.requires_action",
    ]
    assert_told_well(folder, run_id)
    entry = store.queue.load(run_id)
    assert entry.runner is None and entry.turn_usage == USAGE
    assert store.queue.active() == [run_id] and store.queue.offered() == []


def test_text_before_tool_calls_is_a_message_and_a_step_of_its_own(folder, claim):
    claim.begin_message()
    claim.add_text("Let me see.")
    claim.end_message()
    ask_for_tools(claim)
    run_id = claim.run["id"]
    first, second = folder.load_steps(run_id)
    assert (first["status"], first["usage"], second["status"]) == ("completed", None, "in_progress")
    assert last_message(folder)["status"] == "completed"
    assert event_names(folder, run_id) == [
        *(*OPENING, *MESSAGE_OPENING, "message.delta", "message.completed", "run.step.completed"),
        *("run.step.created", "run.step.in_progress", *["run.step.delta"] * 4, "run.requires_action"),
    ]
    assert_told_well(folder, run_id)


def test_a_run_that_fails_keeps_what_it_had_said(store, folder, claim):
    claim.begin_message()
    claim.add_text("so ")
    claim.add_text("far")
    claim.stop("failed", last_error=FAILURE)
    run, step, message = folder.load_run(claim.run["id"]), only_step(folder, claim.run["id"]), last_message(folder)
    check("RunObject", run)
    assert (run["status"], run["last_error"], run["expires_at"], run["usage"]) == ("failed", FAILURE, None, run_object.usage(0, 0))
    assert run["failed_at"] is not None and run["completed_at"] is None
    assert (step["status"], step["last_error"], step["usage"]) == ("failed", FAILURE, None) and step["failed_at"] is not None
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_failed"})
    assert message["content"][0]["text"]["value"] == "so far"
    assert event_names(folder, run["id"])[-3:] == ["message.incomplete", "run.step.failed", "run.failed"]
    assert dict(events(folder, run["id"]))["thread.run.failed"] == run, "the run as it is after the failure, not before"
    assert_told_well(folder, run["id"])
    assert store.queue.active() == []


@pytest.mark.parametrize(
    ("code", "of_step"),
    [("server_error", "server_error"), ("rate_limit_exceeded", "rate_limit_exceeded"), ("invalid_prompt", "server_error")],
)
def test_a_step_knows_fewer_error_codes_than_its_run(folder, claim, code, of_step):
    claim.begin_calls()
    claim.stop("failed", last_error={"code": code, "message": "x"})
    assert folder.load_run(claim.run["id"])["last_error"]["code"] == code
    assert only_step(folder, claim.run["id"])["last_error"] == {"code": of_step, "message": "x"}


def test_a_run_that_fails_before_its_first_token_has_no_message(folder, claim):
    claim.stop("failed", last_error=FAILURE)
    assert event_names(folder, claim.run["id"]) == [*OPENING, "run.failed"]
    assert len(folder.page_messages(PageQuery()).items) == 1
    assert_told_well(folder, claim.run["id"])


def test_a_run_that_expires_sets_no_time_but_keeps_the_others(folder, claim):
    claim.begin_message()
    claim.add_text("so far")
    claim.stop("expired")
    run = folder.load_run(claim.run["id"])
    check("RunObject", run)
    assert (run["status"], run["expires_at"], run["started_at"]) == ("expired", None, claim.run["started_at"])
    assert (run["failed_at"], run["completed_at"], run["cancelled_at"], run["last_error"]) == (None,) * 4
    assert last_message(folder)["incomplete_details"] == {"reason": "run_expired"}
    step = only_step(folder, run["id"])
    assert step["status"] == "expired" and step["expired_at"] is not None
    assert event_names(folder, run["id"])[-3:] == ["message.incomplete", "run.step.expired", "run.expired"]
    assert_told_well(folder, run["id"])


def test_a_run_without_a_token_left_ends_incomplete(store, folder, claim):
    claim.run_out("max_prompt_tokens")
    run = folder.load_run(claim.run["id"])
    check("RunObject", run)
    assert (run["status"], run["incomplete_details"], run["usage"]) == (
        "incomplete",
        {"reason": "max_prompt_tokens"},
        run_object.usage(0, 0),
    )
    assert event_names(folder, run["id"]) == [*OPENING, "run.incomplete"]
    assert store.queue.active() == []


def test_a_run_that_runs_out_in_the_middle_of_its_calls_completes_their_step(folder, claim):
    claim.begin_calls()
    claim.run_out("max_completion_tokens", USAGE)
    run, step = folder.load_run(claim.run["id"]), only_step(folder, claim.run["id"])
    assert (run["incomplete_details"], run["usage"]) == ({"reason": "max_completion_tokens"}, USAGE)
    assert (step["status"], step["usage"]) == ("completed", USAGE)
    assert event_names(folder, run["id"])[-2:] == ["run.step.completed", "run.incomplete"]
    assert_told_well(folder, run["id"])


def test_a_run_that_is_released_is_claimed_again(store, folder, claim):
    claim.release()
    run_id = claim.run["id"]
    assert folder.load_run(run_id)["status"] == "queued"
    entry = store.queue.load(run_id)
    assert (entry.runner, entry.attempt, entry.deaths) == (None, 1, 0), "the runner did not die"
    assert store.queue.offered() == [run_id]
    again = claimed(store, claim.run)
    answer(again, "Hello")
    assert store.queue.active() == [] and folder.load_run(run_id)["status"] == "completed"
    assert event_names(folder, run_id)[:5] == [*OPENING, "run.queued", "run.in_progress"]
    assert_told_well(folder, run_id)


def test_ids_of_a_run_are_later_than_all_of_its_thread_though_the_clock_steps_back(store, folder, monkeypatch):
    run = a_run(store, folder)
    monkeypatch.setattr(clock, "microseconds", lambda: 1)
    answer(claimed(store, run), "y")
    message = last_message(folder)
    (step,) = folder.load_steps(run["id"])
    stamps = [ids.stamp_of(one) for one in (run["id"], message["id"], step["id"])]
    assert stamps == sorted(set(stamps))


def test_a_run_with_an_event_log_that_a_power_cut_emptied_begins_it_anew(store, folder, tmp_path):
    run = a_run(store, folder)
    for log in tmp_path.rglob("events.sse"):
        log.write_bytes(b"")
    answer(claimed(store, run), "y")
    assert event_names(folder, run["id"])[:3] == OPENING
    assert_told_well(folder, run["id"])


def test_a_frame_that_was_torn_is_cut_off_before_the_next(store, folder, tmp_path):
    run = a_run(store, folder)
    for log in tmp_path.rglob("events.sse"):
        with log.open("ab") as file:
            file.write(b'event: thread.message.delta\ndata: {"id":"msg_')
    assert event_names(folder, run["id"]) == OPENING[:2], "readers are not given it"
    answer(claimed(store, run), "y")
    assert event_names(folder, run["id"])[:3] == OPENING
    assert_told_well(folder, run["id"])


# --- who cannot claim ----------------------------------------------------------------------------------------------------------------


def test_a_run_that_is_taken_is_not_taken_again(store, folder, claim):
    other = join(store)
    assert Claim.take(store, claim.run["id"], other) is None
    store.queue.offer(claim.run["id"])
    assert Claim.take(store, claim.run["id"], other) is None, "a marker is only a hint"
    assert store.queue.load(claim.run["id"]).attempt == 1
    claim.begin_message()


def test_a_marker_of_nothing_is_taken_away(store):
    lost = ids.new_id("run")
    store.queue.offer(lost)
    assert Claim.take(store, lost, join(store)) is None
    assert store.queue.offered() == []


def test_a_run_whose_thread_was_deleted_is_not_claimed(store, folder):
    run = a_run(store, folder)
    entry = store.queue.load(run["id"])
    threads.delete_thread(store, folder)
    store.queue.save(entry)
    store.queue.offer(run["id"])
    assert Claim.take(store, run["id"], join(store)) is None


def test_files_with_foreign_names_in_the_queue_are_passed_over(store):
    for name in ("README", ".hidden", "run_x", "../etc"):
        with open(f"{store._layout.waiting}/{name.replace('/', '_')}", "w"):
            pass
    assert store.queue.offered() == []


# --- fencing -------------------------------------------------------------------------------------------------------------------------

#: Every way in which a runner writes for its run, from a claim that has what it needs for it.
WRITES = {
    "begin_message": (None, lambda claim: claim.begin_message()),
    "begin_calls": (None, lambda claim: claim.begin_calls()),
    "add_text": ("message", lambda claim: claim.add_text("late")),
    "end_message": ("message", lambda claim: claim.end_message()),
    "finish": ("message", lambda claim: claim.finish(USAGE, None)),
    "open_call": ("calls", lambda claim: claim.open_call(0, CALLS[0])),
    "add_arguments": ("calls", lambda claim: claim.add_arguments(0, "{}")),
    "require_action": ("calls", lambda claim: claim.require_action(CALLS, USAGE, PRIVATE)),
    "run_out": (None, lambda claim: claim.run_out("max_prompt_tokens")),
    "stop": (None, lambda claim: claim.stop("failed", last_error=FAILURE)),
    "release": (None, lambda claim: claim.release()),
}


def recovered(store, claim):
    """As when its process is believed dead."""
    recover(store, store.queue.load(claim.run["id"]), abandoned=True)


def recovered_and_claimed(store, claim):
    recovered(store, claim)
    if claim.thread.load_run(claim.run["id"])["status"] == "queued":
        claimed(store, claim.run)


def recovered_claimed_and_finished(store, claim):
    recovered(store, claim)
    if claim.thread.load_run(claim.run["id"])["status"] == "queued":
        answer(claimed(store, claim.run), "by another")


def cancelled_by_others(store, claim):
    runs.cancel_run(store, claim.thread, claim.run["id"])
    claim.settle()


def told_to_cancel(store, claim):
    runs.cancel_run(store, claim.thread, claim.run["id"])


def deleted(store, claim):
    threads.delete_thread(store, claim.thread)


LOSSES = [recovered, recovered_and_claimed, recovered_claimed_and_finished, cancelled_by_others, told_to_cancel, deleted]


def stored(claim) -> list[object]:
    folder, run_id = claim.thread, claim.run["id"]
    if not folder_exists(folder):
        return []
    return [folder.read_run(run_id), folder.load_steps(run_id), folder.events(run_id).read_all(), folder.page_messages(ASCENDING)]


def folder_exists(folder) -> bool:
    try:
        folder.require()
    except Exception:
        return False
    return True


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
@pytest.mark.parametrize("write", WRITES)
def test_whoever_has_lost_a_run_can_write_nothing_more_for_it(store, claim, write, lose):
    state, act = WRITES[write]
    if state == "message":
        claim.begin_message()
        claim.add_text("early")
    elif state == "calls":
        claim.begin_calls()
    lose(store, claim)
    before, queue = stored(claim), [store.queue.load(run_id) for run_id in store.queue.active()]
    with pytest.raises(ClaimLost):
        act(claim)
    if lose is not told_to_cancel:
        claim.settle()
        assert [store.queue.load(run_id) for run_id in store.queue.active()] == queue
    assert lose is told_to_cancel or stored(claim) == before
    assert not claim.is_wanted() or lose is recovered_and_claimed


def test_a_write_that_was_refused_is_not_half_there(store, claim):
    claim.begin_message()
    told_to_cancel(store, claim)
    before = stored(claim)
    for act in (lambda: claim.add_text("late"), lambda: claim.finish(USAGE, None)):
        with pytest.raises(ClaimLost):
            act()
    assert stored(claim) == before
    claim.settle()
    assert claim.thread.load_run(claim.run["id"])["status"] == "cancelled"


def test_settling_a_run_that_another_works_on_leaves_it_alone(store, claim):
    recovered(store, claim)
    other = claimed(store, claim.run)
    runs.cancel_run(store, claim.thread, claim.run["id"])
    claim.settle()
    assert claim.thread.load_run(claim.run["id"])["status"] == "cancelling", "its owner ends it"
    other.settle()
    assert claim.thread.load_run(claim.run["id"])["status"] == "cancelled"


def test_a_claim_of_a_dead_process_is_no_claim(store, folder):
    run = a_run(store, folder)
    Child(lambda: claimed(store, run, join(store))).finish()
    recover(store, store.queue.load(run["id"]))
    answer(claimed(store, run), "y")
    assert folder.load_run(run["id"])["status"] == "completed"
