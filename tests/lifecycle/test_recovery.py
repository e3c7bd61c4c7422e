"""A runner is killed, anywhere between its claim and the end of the run: what becomes of the run, its thread and its stream.

Processes are real and die for real, right before a chosen step of their disk or half-way through a write.
"""

from __future__ import annotations

import os
from collections import Counter

import orjson
import pytest

from oxillama import clock, ids
from oxillama.errors import NotFound
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.recovery import DIED, MOST_DEATHS, recover
from oxillama.objects import run as run_object
from oxillama.objects.page import PageQuery
from oxillama.objects.stream_event import ENDS
from oxillama.store.run_queue import ActiveRun
from tests.builders import (
    CALLS,
    EXPIRY_SECONDS,
    OUTPUTS,
    PROJECT,
    USAGE,
    a_run,
    a_thread,
    an_assistant,
    answer,
    ask_for_tools,
    claimed,
    crash_at,
    die_after,
    event_names,
    events,
    files_below,
    join,
    later,
    say,
    waiting_run,
)
from tests.contract.validation import check, check_event

ASCENDING = PageQuery(order="asc", limit=100)
TERMINAL_NAMES = {name.removeprefix("thread.") for name in ENDS}


def recover_all(store) -> None:
    """What a runner does when it starts: once for each active run, and once more, as another runner may do it too."""
    for run_id in store.queue.active():
        entry = store.queue.load(run_id)
        recover(store, entry)
        recover(store, entry)


def messages(folder):
    return [orjson.loads(item) for _, item in folder.page_messages(ASCENDING).items]


def text_of(message) -> str:
    return "".join(part["text"]["value"] for part in message["content"])


def assert_sound(store, folder, run_id) -> dict:
    """What must hold of any run after recovery, whatever happened to it. The run."""
    run = folder.load_run(run_id)
    check("RunObject", run)
    log = folder.events(run_id).read_all()
    assert len(events(folder, run_id)) == log.count(b"\n\n"), "every frame parses"
    for name, value in events(folder, run_id):
        check_event(name, value)
    ends = [name for name in event_names(folder, run_id) if name in TERMINAL_NAMES]
    told = Counter(
        (name, value["id"]) for name, value in events(folder, run_id) if name.startswith(("thread.message.", "thread.run.step."))
    )
    assert all(count == 1 or name.endswith(".delta") for (name, _), count in told.items()), "nothing is told twice"
    steps = folder.load_steps(run_id)
    for step in steps:
        check("RunStepObject", step)
    for message in messages(folder):
        check("MessageObject", message)
    if run["status"] in run_object.TERMINAL:
        assert ends == [f"run.{run['status']}"] == event_names(folder, run_id)[-1:], "exactly one end, and it is the last"
        assert dict(events(folder, run_id))[f"thread.run.{run['status']}"] == run
        assert all(step["status"] != "in_progress" for step in steps)
        assert all(message["status"] != "in_progress" for message in messages(folder))
        assert store.queue.load(run_id) is None
        assert run["usage"] is not None and run["expires_at"] is None
        last = dict(events(folder, run_id))
        for step in steps:
            assert last[f"thread.run.step.{step['status']}"], "the end of the step was told"
        say(folder, "free again")
    else:
        assert ends == []
        assert store.queue.load(run_id) is not None
        assert (run_id in store.queue.offered()) == (run["status"] == "queued")
        if run["status"] == "requires_action":
            assert event_names(folder, run_id)[-1] == "run.requires_action", "or who follows the run waits for ever"
    return run


def killed_while(store, folder, act) -> dict:
    """A run whose runner did something with its claim and was then killed."""
    run = a_run(store, folder)
    die_after(lambda: act(claimed(store, run, join(store))))
    assert folder.load_run(run["id"])["status"] == "in_progress"
    return run


@pytest.fixture
def folder(store):
    return a_thread(store, "Hi")


# --- a runner died, in words ---------------------------------------------------------------------------------------------------------


def test_a_run_of_which_nothing_was_streamed_is_queued_again_and_completes(store, folder):
    run = killed_while(store, folder, lambda claim: None)
    recover_all(store)
    assert assert_sound(store, folder, run["id"])["status"] == "queued"
    entry = store.queue.load(run["id"])
    assert (entry.runner, entry.deaths, entry.attempt) == (None, 1, 1)
    answer(claimed(store, run), "Hello")
    assert assert_sound(store, folder, run["id"])["status"] == "completed"
    assert event_names(folder, run["id"])[:5] == ["run.created", "run.queued", "run.in_progress", "run.queued", "run.in_progress"]


def test_a_run_is_queued_again_twice_and_then_it_fails(store, folder):
    run = a_run(store, folder)
    for death in range(1, MOST_DEATHS + 2):
        die_after(lambda: claimed(store, run, join(store)))
        recover_all(store)
        after = folder.load_run(run["id"])
        assert after["status"] == ("queued" if death <= 2 else "failed")
    assert MOST_DEATHS == 2
    assert assert_sound(store, folder, run["id"])["last_error"] == DIED


def test_deaths_are_counted_for_each_turn(store, folder):
    run = a_run(store, folder)
    for _ in range(MOST_DEATHS):
        die_after(lambda: claimed(store, run, join(store)))
        recover_all(store)
    ask_for_tools(claimed(store, run))
    runs.submit_tool_outputs(store, folder, run["id"], OUTPUTS)
    die_after(lambda: claimed(store, run, join(store)))
    recover_all(store)
    assert folder.load_run(run["id"])["status"] == "queued"


@pytest.mark.parametrize("fragments", [[], ["so far"], ["so ", "far"]])
def test_a_run_that_had_begun_to_speak_fails_and_keeps_what_it_said(store, folder, fragments):
    def speak(claim: Claim) -> None:
        claim.begin_message()
        for fragment in fragments:
            claim.add_text(fragment)

    run = killed_while(store, folder, speak)
    recover_all(store)
    failed = assert_sound(store, folder, run["id"])
    assert (failed["status"], failed["last_error"]) == ("failed", DIED) and DIED["code"] == "server_error"
    message = messages(folder)[1]
    assert (message["status"], message["incomplete_details"], text_of(message)) == (
        "incomplete",
        {"reason": "run_failed"},
        "".join(fragments),
    )
    (step,) = folder.load_steps(run["id"])
    assert (step["status"], step["last_error"]) == ("failed", DIED)
    assert event_names(folder, run["id"])[-3:] == ["message.incomplete", "run.step.failed", "run.failed"]
    assert Claim.take(store, run["id"], join(store)) is None


def test_a_run_that_had_begun_to_call_tools_fails(store, folder):
    def call(claim: Claim) -> None:
        claim.begin_calls()
        claim.open_call(0, CALLS[0])

    run = killed_while(store, folder, call)
    recover_all(store)
    failed = assert_sound(store, folder, run["id"])
    assert (failed["status"], failed["last_error"]) == ("failed", DIED)
    assert event_names(folder, run["id"])[-2:] == ["run.step.failed", "run.failed"]


def test_a_run_that_spoke_and_was_about_to_call_tools_fails_and_keeps_the_message(store, folder):
    def speak(claim: Claim) -> None:
        claim.begin_message()
        claim.add_text("Let me see.")
        claim.end_message()

    run = killed_while(store, folder, speak)
    recover_all(store)
    assert assert_sound(store, folder, run["id"])["status"] == "failed"
    assert (messages(folder)[1]["status"], text_of(messages(folder)[1])) == ("completed", "Let me see.")


def test_a_run_whose_calls_are_whole_waits_for_their_outputs(store, folder):
    run = a_run(store, folder)
    die_after(lambda: call_and_die(store, run))
    recover_all(store)
    waiting = assert_sound(store, folder, run["id"])
    assert waiting["status"] == "requires_action"
    assert [call["id"] for call in waiting["required_action"]["submit_tool_outputs"]["tool_calls"]] == ["call_a", "call_b"]
    assert event_names(folder, run["id"])[-1] == "run.requires_action"
    runs.submit_tool_outputs(store, folder, run["id"], OUTPUTS)
    answer(claimed(store, run), "y")
    assert assert_sound(store, folder, run["id"])["status"] == "completed"


def _record_calls_and_die(store, claim: Claim) -> None:
    claim.begin_calls()
    with claim.thread.locked() as thread:
        (step,) = thread.load_steps(claim.run["id"])
        thread.write_step({**step, "step_details": {"type": "tool_calls", "tool_calls": CALLS}})


def test_an_answer_that_is_in_the_thread_is_never_asked_for_again(store, folder):
    def nearly_finish(claim: Claim) -> None:
        claim.begin_message()
        claim.add_text("Hello")
        with claim.thread.locked() as thread:
            thread.write_message(claim._finished(USAGE, None)[0])

    run = killed_while(store, folder, nearly_finish)
    recover_all(store)
    done = assert_sound(store, folder, run["id"])
    assert done["status"] == "completed"
    assert [text_of(message) for message in messages(folder)][:2] == ["Hi", "Hello"]
    assert event_names(folder, run["id"])[-3:] == ["message.completed", "run.step.completed", "run.completed"]
    assert store.queue.offered() == []


@pytest.mark.parametrize(("reason", "details"), [("max_tokens", {"reason": "max_completion_tokens"}), ("content_filter", {})])
def test_an_answer_that_was_cut_off_ends_its_run_as_it_would_have(store, folder, reason, details):
    def nearly_finish(claim: Claim) -> None:
        claim.begin_message()
        claim.add_text("Hel")
        with claim.thread.locked() as thread:
            thread.write_message(claim._finished(USAGE, reason)[0])

    run = killed_while(store, folder, nearly_finish)
    recover_all(store)
    ended = assert_sound(store, folder, run["id"])
    assert (ended["status"], ended["incomplete_details"]) == ("incomplete", details)


# --- a runner died, at every step of its disk ----------------------------------------------------------------------------------------


def speak_and_finish(store, run) -> None:
    claim = claimed(store, run, join(store))
    claim.begin_message()
    claim.add_text("Hel")
    claim.add_text("lo")
    claim.finish(USAGE, None)


def speak_and_call(store, run) -> None:
    claim = claimed(store, run, join(store))
    claim.begin_message()
    claim.add_text("Let me see.")
    claim.end_message()
    ask_for_tools(claim)


def fail(store, run) -> None:
    claim = claimed(store, run, join(store))
    claim.begin_message()
    claim.add_text("so far")
    claim.stop("failed", last_error={"code": "rate_limit_exceeded", "message": "slow down"})


def be_cancelled(store, run) -> None:
    claim = claimed(store, run, join(store))
    claim.begin_message()
    claim.add_text("so far")
    runs.cancel_run(store, claim.thread, run["id"])
    claim.settle()


def let_go(store, run) -> None:
    claimed(store, run, join(store)).release()


def run_out(store, run) -> None:
    claim = claimed(store, run, join(store))
    claim.begin_calls()
    claim.run_out("max_completion_tokens", USAGE)


#: What a runner does, and the statuses in which recovery may leave the run.
LIVES = {
    speak_and_finish: {"queued", "failed", "completed"},
    speak_and_call: {"queued", "failed", "completed", "requires_action"},
    fail: {"queued", "failed"},
    be_cancelled: {"queued", "failed", "cancelled"},
    let_go: {"queued"},
    run_out: {"queued", "failed", "incomplete"},
}


@pytest.mark.parametrize("live", LIVES, ids=lambda live: live.__name__)
def test_a_runner_may_die_at_any_step(store, live):
    outcomes: Counter[str] = Counter()
    step = 0
    while True:
        folder = a_thread(store, "Hi")
        run = a_run(store, folder)
        crashed = crash_at(step, lambda run=run: live(store, run))
        had_answer = any(message["status"] == "completed" and message["run_id"] for message in messages(folder))
        recover_all(store)
        try:
            after = assert_sound(store, folder, run["id"])
        except AssertionError as error:
            raise AssertionError(f"{live.__name__} crashed at {step}: {error}") from error
        outcomes[after["status"]] += 1
        if live is speak_and_finish and had_answer:
            assert after["status"] == "completed", f"crashed at {step}"
        if after["status"] == "queued":
            answer(claimed(store, run), "second")
        elif after["status"] == "requires_action":
            runs.submit_tool_outputs(store, folder, run["id"], OUTPUTS)
            answer(claimed(store, run), "second")
        last = folder.load_run(run["id"])
        assert last["status"] in run_object.TERMINAL
        if after["status"] in ("queued", "requires_action"):
            assert_sound(store, folder, run["id"])
        answers = [text_of(message) for message in messages(folder) if message["run_id"]]
        assert answers.count("Hello") + answers.count("second") <= 1, "never answered twice"
        assert len(answers) == len(set(answers))
        if not crashed:
            break
        step += 1
    assert set(outcomes) == LIVES[live], outcomes
    assert step > 20


def speak_and_die(store, run) -> None:
    claim = claimed(store, run, join(store))
    claim.begin_message()
    claim.add_text("so far")


def answer_and_die(store, run) -> None:
    claim = claimed(store, run, join(store))
    claim.begin_message()
    claim.add_text("Hello")
    with claim.thread.locked() as thread:
        thread.write_message(claim._finished(USAGE, None)[0])


def call_and_die(store, run) -> None:
    _record_calls_and_die(store, claimed(store, run, join(store)))


def do_nothing_and_die(store, run) -> None:
    claimed(store, run, join(store))


@pytest.mark.parametrize(
    ("live", "status"),
    [
        (speak_and_die, "failed"),
        (answer_and_die, "completed"),
        (call_and_die, "requires_action"),
        (do_nothing_and_die, "queued"),
    ],
)
def test_recovery_itself_may_die_at_any_step(store, live, status):
    step = 0
    while True:
        folder = a_thread(store, "Hi")
        run = a_run(store, folder)
        die_after(lambda run=run: live(store, run))
        crashed = crash_at(step, lambda: recover_all(store))
        recover_all(store)
        assert assert_sound(store, folder, run["id"])["status"] == status, f"crashed at {step}"
        if folder.active_run() is not None:
            runs.cancel_run(store, folder, run["id"])
            store.queue.take(run["id"])
        if not crashed:
            break
        step += 1
    assert step > 8


def test_a_cancel_may_die_at_any_step(store):
    step = 0
    while True:
        folder = a_thread(store, "Hi")
        run = waiting_run(store, folder)
        crashed = crash_at(step, lambda folder=folder, run=run: runs.cancel_run(store, folder, run["id"]))
        recover_all(store)
        if folder.load_run(run["id"])["status"] not in run_object.TERMINAL:
            runs.cancel_run(store, folder, run["id"])
        assert assert_sound(store, folder, run["id"])["status"] == "cancelled", f"crashed at {step}"
        if not crashed:
            break
        step += 1
    assert step > 10


def test_deleting_a_thread_may_die_at_any_step(store):
    step = 0
    while True:
        folder = a_thread(store, "Hi")
        run = a_run(store, folder)
        crashed = crash_at(step, lambda folder=folder: threads.delete_thread(store, folder))
        recover_all(store)
        try:
            folder.require()
        except NotFound:
            assert store.queue.load(run["id"]) is None, f"crashed at {step}"
        else:
            if folder.active_run() is None:
                assert_sound(store, folder, run["id"])
            threads.delete_thread(store, folder)
        assert store.queue.active() == []
        if not crashed:
            break
        step += 1
    assert step > 10


def test_creating_a_thread_and_run_may_die_at_any_step(store, monkeypatch):
    values = {"thread": {"messages": [{"role": "user", "content": "Hi"}]}}
    step = 0
    while crash_at(step, lambda: runs.create_thread_and_run(store, PROJECT, an_assistant(), values, EXPIRY_SECONDS)):
        step += 1
    assert step > 20
    left = store.queue.active()
    recover_all(store)
    assert store.queue.active() == left, "what is young may still be on its way"
    whole = os.listdir(store._layout.threads(PROJECT))
    later(monkeypatch, 120)
    recover_all(store)
    assert 0 < len(whole) < len(left)
    for thread_id in whole:
        folder = store.thread(PROJECT, thread_id)
        run = folder.active_run()
        assert assert_sound(store, folder, run["id"])["status"] == "queued"
        answer(claimed(store, run), "y")
    assert store.queue.active() == []


# --- what recovery leaves alone, and what it picks up --------------------------------------------------------------------------------


def test_a_run_that_a_living_runner_works_on_is_left_alone(store, folder, tmp_path):
    claim = claimed(store, a_run(store, folder))
    claim.begin_message()
    before = files_below(tmp_path)
    recover(store, store.queue.load(claim.run["id"]))
    assert files_below(tmp_path) == before
    claim.finish(USAGE, None)


def test_a_run_that_waits_for_outputs_is_left_alone(store, folder, tmp_path):
    run = waiting_run(store, folder)
    before = files_below(tmp_path)
    recover(store, store.queue.load(run["id"]))
    assert files_below(tmp_path) == before


def test_recovery_of_what_was_recovered_changes_nothing(store, folder, tmp_path):
    entry = None

    def speak(claim: Claim) -> None:
        claim.begin_message()
        claim.add_text("so far")

    run = killed_while(store, folder, speak)
    entry = store.queue.load(run["id"])
    recover(store, entry)
    before = files_below(tmp_path)
    recover(store, entry)
    recover(store, entry, abandoned=True)
    assert files_below(tmp_path) == before


def test_a_queued_run_whose_marker_was_lost_is_offered_again(store, folder):
    run = a_run(store, folder)
    assert store.queue.take(run["id"])
    recover(store, store.queue.load(run["id"]))
    assert store.queue.offered() == [run["id"]]
    assert event_names(folder, run["id"]) == ["run.created", "run.queued"]


@pytest.mark.parametrize("state", ["queued", "in_progress", "writing", "requires_action"])
def test_a_run_whose_time_is_over_expires(store, folder, monkeypatch, state):
    if state == "requires_action":
        run = waiting_run(store, folder)
    else:
        run = a_run(store, folder)

        def work() -> None:
            claim = claimed(store, run, join(store))
            if state == "writing":
                claim.begin_message()
                claim.add_text("so far")

        if state != "queued":
            die_after(work)
    later(monkeypatch, EXPIRY_SECONDS)
    recover_all(store)
    expired = assert_sound(store, folder, run["id"])
    assert expired["status"] == "expired"
    tail = {"requires_action": ["run.step.expired"], "writing": ["message.incomplete", "run.step.expired"]}.get(state, [])
    assert event_names(folder, run["id"])[-len(tail) - 1 :] == [*tail, "run.expired"]
    if state == "writing":
        assert messages(folder)[1]["incomplete_details"] == {"reason": "run_expired"}
        assert text_of(messages(folder)[1]) == "so far"


def test_an_entry_without_a_run_is_dropped_under_the_lock_of_its_thread(store, folder):
    entry = ActiveRun(ids.new_id("run"), PROJECT, folder.thread_id, clock.now() + 600)
    store.queue.save(entry)
    recover(store, entry)
    assert store.queue.active() == []
    say(folder)


def test_an_entry_without_a_thread_is_dropped_when_it_is_old_enough(store):
    """Its creator writes it before the thread: a young one may belong to a thread that is about to appear."""
    young, old = ids.new_id("run"), ids.new_id("run", clock.microseconds() - 3_600_000_000)
    for run_id in (young, old):
        entry = ActiveRun(run_id, PROJECT, ids.new_id("thread"), clock.now() + 600)
        store.queue.save(entry)
        recover(store, entry)
    assert store.queue.active() == [young]


def test_what_was_modified_after_a_run_ended_is_not_told_as_a_second_end(store, folder):
    run = a_run(store, folder)
    entry = store.queue.load(run["id"])
    answer(claimed(store, run), "y")
    runs.modify_run(folder, run["id"], {"metadata": {"a": "b"}})
    store.queue.save(entry)
    recover(store, entry)
    assert [name for name in event_names(folder, run["id"]) if name in TERMINAL_NAMES] == ["run.completed"]
    assert store.queue.active() == []


def test_runs_wait_and_are_recovered_without_a_look_at_other_threads(store, folder, monkeypatch):
    """Start-up does not depend on the amount of data: no folder of threads or runs is listed."""
    run = killed_while(store, folder, lambda claim: None)
    listed: list[str] = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path=".": listed.append(str(path)) or real(path))
    recover_all(store)
    monkeypatch.undo()
    assert folder.load_run(run["id"])["status"] == "queued"
    assert not [path for path in listed if path.endswith(("/threads", "/runs"))]
