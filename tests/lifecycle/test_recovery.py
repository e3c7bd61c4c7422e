"""A runner is killed, anywhere between its claim and the end of the run: what becomes of the run, its thread and its stream.

In words, one death at a time; `tests/crashes` has all of them.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from oxillama import clock, ids
from oxillama.lifecycle import runs
from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.recovery import DIED, MOST_DEATHS, recover
from oxillama.store import LockedThread
from oxillama.store.run_queue import ActiveRun
from tests.builders import (
    CALLS,
    EXPIRY_SECONDS,
    OUTPUTS,
    PRIVATE,
    PROJECT,
    USAGE,
    a_run,
    a_thread,
    answer,
    ask_for_tools,
    claimed,
    die_after,
    event_names,
    files_below,
    join,
    later,
    say,
    waiting_run,
)
from tests.crashes.invariants import TERMINAL_NAMES, assert_sound, messages, recover_all, text_of


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


def test_a_runner_that_died_before_it_could_say_that_it_had_begun_counts_as_well(store, folder):
    run = a_run(store, folder)
    for death in range(1, MOST_DEATHS + 2):
        entry = store.queue.load(run["id"])
        store.queue.save(replace(entry, attempt=entry.attempt + 1, runner="dead"))
        recover_all(store)
        assert assert_sound(store, folder, run["id"])["status"] == ("queued" if death <= MOST_DEATHS else "failed")


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


def test_a_message_that_calls_were_to_follow_is_not_taken_for_the_answer(store, folder):
    def speak(claim: Claim) -> None:
        claim.begin_message()
        claim.add_text("Let me see.")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LockedThread, "write_step", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            claim.end_message()

    run = killed_while(store, folder, speak)
    assert text_of(messages(folder)[1]) == "Let me see."
    recover_all(store)
    assert assert_sound(store, folder, run["id"])["status"] == "failed"


def test_a_step_of_which_nothing_was_streamed_is_taken_back_and_the_run_is_queued_again(store, folder):
    def begin(claim: Claim) -> None:
        claim._events.append = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        claim.begin_message()

    run = killed_while(store, folder, begin)
    assert len(folder.load_steps(run["id"])) == 1
    recover_all(store)
    assert assert_sound(store, folder, run["id"])["status"] == "queued" and folder.load_steps(run["id"]) == []
    answer(claimed(store, run), "y")
    assert assert_sound(store, folder, run["id"])["status"] == "completed"


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


def call_and_die(store, run) -> None:
    claim = claimed(store, run, join(store))
    claim.begin_calls()
    with claim.thread.locked() as thread:
        (step,) = thread.load_steps(claim.run["id"])
        thread.write_private(step["run_id"], {"turns": {step["id"]: PRIVATE}})
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
