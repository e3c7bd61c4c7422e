"""Several runners and callers on one data directory, in any order that they may come in, against a model of what must become of each run.

Claims are kept after they are lost and go on to be used: whatever is written through one of those must be refused and change no byte.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from oxillama import clock
from oxillama.errors import ClaimLost, InvalidRequest, NotFound, RunTransitionRefused, ThreadBusy
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.ending import end_early
from oxillama.lifecycle.recovery import MOST_DEATHS, recover
from oxillama.objects import run as run_object
from oxillama.store.threads import ThreadFolder
from tests.builders import CALLS, FUNCTION, OUTPUTS, PRIVATE, PROJECT, USAGE, Value, a_thread, an_assistant, files_below, open_store, say
from tests.races import clocks
from tests.races.conftest import FACTOR, PHASES, TALLY
from tests.races.soundness import Watch, bring_home

EXPIRY = 600
OPENED = {**CALLS[0], "function": {**CALLS[0]["function"], "arguments": ""}}
FAILURE = {"code": "server_error", "message": "No."}

#: What a runner may do with a claim, by what it has begun: name -> what it does, what is begun then, and the status of the run.
MOVES: dict[str, dict[str, tuple[Callable[[Claim], object], str, str]]] = {
    "nothing": {
        "begin_message": (lambda claim: claim.begin_message(), "message", "in_progress"),
        "begin_calls": (lambda claim: claim.begin_calls(), "calls", "in_progress"),
        "run_out": (lambda claim: claim.run_out("max_prompt_tokens"), "nothing", "incomplete"),
        "release": (lambda claim: claim.release(), "nothing", "queued"),
        "fail": (lambda claim: claim.stop("failed", last_error=FAILURE), "nothing", "failed"),
        "expire": (lambda claim: claim.stop("expired"), "nothing", "expired"),
    },
    "message": {
        "add_text": (lambda claim: claim.add_text("more "), "message", "in_progress"),
        "add_refusal": (lambda claim: claim.add_refusal("no "), "message", "in_progress"),
        "end_message": (lambda claim: claim.end_message(), "a message that is over", "in_progress"),
        "finish": (lambda claim: claim.finish(USAGE, None), "message", "completed"),
        "be cut off": (lambda claim: claim.finish(USAGE, "max_tokens"), "message", "incomplete"),
        "fail": (lambda claim: claim.stop("failed", last_error=FAILURE), "message", "failed"),
        "expire": (lambda claim: claim.stop("expired"), "message", "expired"),
    },
    "a message that is over": {
        "begin_calls": (lambda claim: claim.begin_calls(), "calls", "in_progress"),
        "fail": (lambda claim: claim.stop("failed", last_error=FAILURE), "a message that is over", "failed"),
    },
    "calls": {
        "open_call": (lambda claim: claim.open_call(0, OPENED), "calls", "in_progress"),
        "add_arguments": (lambda claim: claim.add_arguments(0, "{"), "calls", "in_progress"),
        "require_action": (lambda claim: claim.require_action(CALLS, USAGE, PRIVATE), "calls", "requires_action"),
        "run_out": (lambda claim: claim.run_out("max_completion_tokens", USAGE), "calls", "incomplete"),
        "fail": (lambda claim: claim.stop("failed", last_error=FAILURE), "calls", "failed"),
    },
}


@dataclass
class Runner:
    runner_id: str
    life: int


@dataclass(eq=False)
class Held:
    """A claim as its runner sees it, also when it is lost."""

    claim: Claim
    run: Known
    runner: Runner
    begun: str = "nothing"


@dataclass(eq=False)
class Known:
    """A run as it must be."""

    run_id: str
    thread_id: str
    expires_at: int
    status: str = "queued"
    holder: Held | None = None
    deaths: int = 0
    metadata: Value = field(default_factory=dict)

    def is_active(self) -> bool:
        return self.status in run_object.ACTIVE

    def is_expired(self) -> bool:
        return self.expires_at <= clock.now()


PICK = st.integers(0, 1 << 16)


class Races(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="oxillama-races-"))
        self.store = open_store(self.root)
        self.watch = Watch(self.store)
        self.threads: list[str] = []
        self.runs: list[Known] = []
        self.held: list[Held] = []
        self.runners: list[Runner] = []
        self.offered: set[str] = set()
        self.count = 0
        self.begin_thread()
        self.join()
        TALLY["examples of the state machine"] += 1

    def teardown(self) -> None:
        for runner in self.runners:
            self._die(runner)
        for held in self.held:
            held.claim.close()
        bring_home(self.store)
        for thread_id in [*self.threads, *self.watch.deleted]:
            self.watch.check(thread_id)
        for thread_id in self.threads:
            threads.delete_thread(self.store, self._folder(thread_id))
        bring_home(self.store)
        assert self.store.queue.active() == []
        shutil.rmtree(self.root)
        clocks.reset()

    @invariant()
    def all_is_as_it_must_be(self) -> None:
        for thread_id in [*self.threads, *self.watch.deleted]:
            self.watch.check(thread_id)
        for run in self.runs:
            if run.thread_id in self.watch.deleted:
                continue
            stored = self._folder(run.thread_id).load_run(run.run_id)
            assert (stored["status"], stored["metadata"]) == (run.status, run.metadata)
        assert set(self.store.queue.offered()) == self.offered
        TALLY["steps of the state machine"] += 1

    # --- callers ---------------------------------------------------------------------------------------------------------------------

    @rule()
    @precondition(lambda self: len(self.threads) < 3)
    def begin_thread(self) -> None:
        folder = a_thread(self.store, "Hi")
        self.threads.append(folder.thread_id)
        self.watch.said[folder.thread_id] = ["Hi"]

    @rule(pick=PICK)
    @precondition(lambda self: self.threads)
    def say(self, pick: int) -> None:
        thread_id, text = self._one(self.threads, pick), self._text()
        if self._active(thread_id):
            self._refused(ThreadBusy, lambda: say(self._folder(thread_id), text))
        else:
            say(self._folder(thread_id), text)
            self.watch.said[thread_id].append(text)

    @rule(pick=PICK, messages=st.integers(0, 2))
    @precondition(lambda self: self.threads)
    def ask_another(self, pick: int, messages: int) -> None:
        """On a thread that is free, if there is one."""
        free = [number for number, thread_id in enumerate(self.threads) if not self._active(thread_id)]
        self.create_run(self._one(free or [0], pick), messages)

    @rule(pick=PICK, messages=st.integers(0, 2))
    @precondition(lambda self: self.threads)
    def create_run(self, pick: int, messages: int) -> None:
        thread_id, texts = self._one(self.threads, pick), [self._text() for _ in range(messages)]
        values = {"additional_messages": [{"role": "user", "content": text} for text in texts]}

        def create() -> Value:
            return runs.create_run(self.store, self._folder(thread_id), an_assistant(tools=[FUNCTION]), values, EXPIRY)

        if self._active(thread_id):
            self._refused(ThreadBusy, create)
        else:
            self._created(create(), texts)

    @rule()
    @precondition(lambda self: len(self.threads) < 3)
    def create_thread_and_run(self) -> None:
        text = self._text()
        values = {"thread": {"messages": [{"role": "user", "content": text}]}}
        run = runs.create_thread_and_run(self.store, PROJECT, an_assistant(), values, EXPIRY)
        self.threads.append(run["thread_id"])
        self.watch.said[run["thread_id"]] = []
        self._created(run, [text])

    @rule(pick=PICK)
    @precondition(lambda self: self.runs)
    def cancel(self, pick: int) -> None:
        run = self._one(self.runs, pick)

        def cancel() -> None:
            runs.cancel_run(self.store, self._folder(run.thread_id), run.run_id)

        if run.status == "deleted":
            self._refused(NotFound, cancel)
        elif run.status not in ("queued", "in_progress", "requires_action"):
            self._refused(RunTransitionRefused, cancel)
        else:
            cancel()
            tells = run.status == "in_progress" and run.holder is not None and run.holder.runner in self.runners
            run.status = "cancelling" if tells else "cancelled"

    @rule(pick=PICK, right=st.integers(0, 3))
    @precondition(lambda self: self.runs)
    def submit(self, pick: int, right: int) -> None:
        run = self._one([run for run in self.runs if run.status == "requires_action"] or self.runs, pick)

        def submit() -> None:
            runs.submit_tool_outputs(self.store, self._folder(run.thread_id), run.run_id, OUTPUTS if right else OUTPUTS[:1])

        if run.status == "deleted":
            self._refused(NotFound, submit)
        elif run.status == "requires_action" and run.is_expired():
            with pytest.raises(RunTransitionRefused, match="expired"):
                submit()
            run.status = "expired"
        elif run.status != "requires_action":
            self._refused(RunTransitionRefused, submit)
        elif not right:
            self._refused(InvalidRequest, submit)
        else:
            submit()
            run.status, run.holder, run.deaths = "queued", None, 0
            self.offered.add(run.run_id)

    @rule(pick=PICK)
    @precondition(lambda self: self.runs)
    def modify_run(self, pick: int) -> None:
        run, new = self._one(self.runs, pick), {"metadata": {"text": self._text()}}

        def modify() -> None:
            runs.modify_run(self._folder(run.thread_id), run.run_id, new)

        if run.status == "deleted":
            self._refused(NotFound, modify)
        elif run.status in ("in_progress", "cancelling"):
            self._refused(RunTransitionRefused, modify)
        else:
            modify()
            run.metadata = new["metadata"]

    @rule(pick=PICK)
    @precondition(lambda self: len(self.threads) > 1)
    def delete_thread(self, pick: int) -> None:
        thread_id = self._one(self.threads, pick)
        threads.delete_thread(self.store, self._folder(thread_id))
        self._refused(NotFound, lambda: threads.delete_thread(self.store, self._folder(thread_id)))
        self.threads.remove(thread_id)
        self.watch.deleted.add(thread_id)
        for run in self.runs:
            if run.thread_id == thread_id:
                run.status, run.holder = "deleted", None

    # --- runners ---------------------------------------------------------------------------------------------------------------------

    @rule()
    @precondition(lambda self: len(self.runners) < 3)
    def join(self) -> None:
        self.count += 1
        runner_id = f"runner-{self.count}"
        self.runners.append(Runner(runner_id, self.store.queue.join(runner_id)))

    @rule(pick=PICK)
    @precondition(lambda self: self.runners)
    def die(self, pick: int) -> None:
        self._die(self.runners.pop(pick % len(self.runners)))

    @rule(pick=PICK, who=PICK, what=st.lists(PICK, max_size=4))
    @precondition(lambda self: self.runs and self.runners)
    def claim(self, pick: int, who: int, what: list[int]) -> None:
        """Claim one, and do some of what is to be done."""
        run = self._one(self.runs, pick)
        runner = self._one(self.runners, who)
        claim = Claim.take(self.store, run.run_id, runner.runner_id)
        assert (claim is not None) == (run.run_id in self.offered and run.status == "queued")
        self.offered.discard(run.run_id)
        if claim is not None:
            run.status, run.holder = "in_progress", Held(claim, run, runner)
            self.held.append(run.holder)
            self._work(run.holder, what)

    @rule(pick=PICK, who=PICK, what=st.lists(PICK, max_size=4))
    @precondition(lambda self: self.offered and self.runners)
    def claim_offered(self, pick: int, who: int, what: list[int]) -> None:
        run = self._one([run for run in self.runs if run.run_id in self.offered], pick)
        self.claim(self.runs.index(run), who, what)

    @rule(pick=PICK, what=st.lists(PICK, min_size=1, max_size=6))
    @precondition(lambda self: self._counting())
    def work(self, pick: int, what: list[int]) -> None:
        self._work(self._one(self._counting(), pick), what)

    def _work(self, held: Held, what: list[int]) -> None:
        for number in what:
            if held not in self._counting():
                return
            name = self._one(sorted(MOVES[held.begun]), number)
            act, held.begun, held.run.status = MOVES[held.begun][name]
            act(held.claim)
            if held.run.status == "queued":
                held.run.holder = None
                self.offered.add(held.run.run_id)
            event(f"{name}: {held.run.status}")

    def _counting(self) -> list[Held]:
        """Claims that count."""
        return [held for held in self.held if held.run.holder is held and held.run.status == "in_progress"]

    @rule()
    @precondition(lambda self: len(self._counting()) < len(self.held))
    def work_through_lost_claims(self) -> None:
        for held in [held for held in self.held if held not in self._counting()]:
            assert not held.claim.is_wanted() or held.run.status == "in_progress"
            for act, _, _ in MOVES[held.begun].values():
                self._refused(ClaimLost, lambda act=act, held=held: act(held.claim))
                TALLY["writes refused to those who lost a claim"] += 1

    @rule(pick=PICK)
    @precondition(lambda self: self.held)
    def settle(self, pick: int) -> None:
        held = self._one([held for held in self.held if held.run.status == "cancelling"] or self.held, pick)
        if held.run.status == "cancelling" and held.run.holder is held:
            held.claim.settle()
            held.run.status = "cancelled"
        else:
            self._unchanged(held.claim.settle)

    @rule(pick=PICK, abandoned=st.integers(0, 4))
    @precondition(lambda self: self.runs)
    def recover(self, pick: int, abandoned: int) -> None:
        """By any runner, or, when abandoned, by its own; the second time nothing is left to do."""
        run = self._one(self.runs, pick)
        entry = self.store.queue.load(run.run_id)
        if entry is None:
            assert not run.is_active()
            return
        holds = run.holder is not None and run.status in ("in_progress", "cancelling")
        lives = holds and run.holder is not None and run.holder.runner in self.runners
        recover(self.store, entry, abandoned=abandoned == 0)
        if not lives or abandoned == 0:
            self._recovered(run)
        recover(self.store, entry, abandoned=abandoned == 0)

    @rule(pick=PICK, who=PICK)
    @precondition(lambda self: self._counting() and self.runners)
    def take_over(self, pick: int, who: int) -> None:
        """What is believed dead goes on, though another has claimed its run, if it was queued again."""
        run = self._one(self._counting(), pick).run
        self.recover(self.runs.index(run), 0)
        if run.status == "queued":
            self.claim(self.runs.index(run), who, [])
        self.work_through_lost_claims()

    def _recovered(self, run: Known) -> None:
        if run.status == "cancelling":
            run.status = "cancelled"
        elif run.is_expired():
            run.status = "expired"
        elif run.status == "in_progress":
            assert run.holder is not None
            fresh = run.holder.begun == "nothing" and run.deaths < MOST_DEATHS
            run.status, run.holder, run.deaths = "queued" if fresh else "failed", None, run.deaths + 1
        if run.status == "queued":
            self.offered.add(run.run_id)

    # --- and the world ---------------------------------------------------------------------------------------------------------------

    @rule(pick=PICK)
    @precondition(lambda self: self.runs)
    def offer_again(self, pick: int) -> None:
        """A marker is a hint: one too many makes nothing happen twice."""
        run = self._one(self.runs, pick)
        self.store.queue.offer(run.run_id)
        self.offered.add(run.run_id)

    @rule(pick=PICK)
    @precondition(lambda self: self.offered)
    def lose_a_marker(self, pick: int) -> None:
        run_id = self._one(sorted(self.offered), pick)
        assert self.store.queue.take(run_id)
        self.offered.discard(run_id)

    @rule(seconds=st.sampled_from([1, 60, 250, 700]))
    def wait(self, seconds: int) -> None:
        clocks.go_on(seconds)

    @rule(pick=PICK, status=st.sampled_from(["cancelled", "failed", "expired"]))
    @precondition(lambda self: any(run.status in run_object.TERMINAL for run in self.runs))
    def end_what_is_over(self, pick: int, status: str) -> None:
        """By mistake: the table of statuses does not have it."""
        run = self._one([run for run in self.runs if run.status in run_object.TERMINAL], pick)
        with self._folder(run.thread_id).locked() as thread:
            stored = thread.load_run(run.run_id)
            self._refused(RunTransitionRefused, lambda: end_early(self.store, thread, stored, status))

    # -----------------------------------------------------------------------------------------------------------------------------------

    def _folder(self, thread_id: str) -> ThreadFolder:
        return self.store.thread(PROJECT, thread_id)

    def _one(self, choice: list[Any], pick: int) -> Any:
        return choice[pick % len(choice)]

    def _text(self) -> str:
        self.count += 1
        return f"text {self.count}"

    def _active(self, thread_id: str) -> bool:
        return any(run.is_active() for run in self.runs if run.thread_id == thread_id)

    def _created(self, run: Value, texts: list[str]) -> None:
        self.runs.append(Known(run["id"], run["thread_id"], run["expires_at"]))
        self.watch.said[run["thread_id"]] += texts
        self.offered.add(run["id"])

    def _die(self, runner: Runner) -> None:
        os.close(runner.life)

    def _refused(self, error: type[Exception], act: Callable[[], object]) -> None:
        def refused() -> None:
            with pytest.raises(error):
                act()

        self._unchanged(refused)

    def _unchanged(self, act: Callable[[], object]) -> None:
        before = files_below(self.root)
        act()
        assert files_below(self.root) == before, "not a byte"


@pytest.mark.timeout(0 if FACTOR > 1 else 120)
def test_whatever_comes_in_whatever_order() -> None:
    run_state_machine_as_test(
        Races,
        settings=settings(
            max_examples=60 * FACTOR,
            stateful_step_count=40,
            derandomize=FACTOR == 1,
            phases=PHASES,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
