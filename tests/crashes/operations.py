"""Everything that is done to a data directory, each with what has to be there before it. What it answers it tells its site at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from oxillama import ids
from oxillama.errors import ClaimLost, RunTransitionRefused
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.ending import end_early
from oxillama.objects import step as step_object
from oxillama.store.run_queue import ActiveRun
from tests.builders import CALLS, EXPIRY_SECONDS, FUNCTION, OUTPUTS, PRIVATE, PROJECT, USAGE, an_assistant, say
from tests.crashes import site as facts
from tests.crashes.invariants import recover_all
from tests.crashes.invariants import sweep as sweep_store
from tests.crashes.site import Site

SEED = Path(__file__).parent.parent / "store" / "seed"
LEGACY_LEFT = ("thread_0123456789abcdef0123456789abcdef", "run_deadbeefdeadbeefdeadbeefdeadbeef")
LEGACY_TORN = "thread_3f2b8c1de4a94b7f9c0d5e6f7a8b9c0d"
TWO_MESSAGES = [{"role": "user", "content": "two"}, {"role": "user", "content": "three"}]
SLOW_DOWN = {"code": "rate_limit_exceeded", "message": "slow down"}

Act = Callable[[Site], object]


@dataclass(frozen=True)
class Operation:
    """Something that is done, and what it is done to."""

    name: str
    prepare: Act
    act: Act


OPERATIONS: dict[str, Operation] = {}


def done_to(*preparations: Act) -> Callable[[Act], Act]:
    """Enter an operation in the table, once for each state that it finds."""

    def enter(act: Act) -> Act:
        for prepare in preparations:
            name = act.__name__ if len(preparations) == 1 else f"{act.__name__}-{prepare.__name__}"
            OPERATIONS[name] = Operation(name, prepare, act)
        return act

    return enter


# --- what is there before ------------------------------------------------------------------------------------------------------------


def nothing(site: Site) -> None:
    pass


def a_store(site: Site) -> None:
    assert site.store


def an_empty_thread(site: Site) -> None:
    site.use_thread()


def a_thread(site: Site) -> None:
    site.use_thread("Hi")


def a_modified_message(site: Site) -> None:
    site.use_thread("Hi", "there")
    site.object_id = orjson.loads(next(site.folder.messages.newest_first()))["id"]
    site.told(facts.message(orjson.loads(threads.modify_message(site.folder, site.object_id, {"metadata": {"a": "b"}}))))


def a_torn_message(site: Site) -> None:
    a_thread(site)
    _append(site, "messages.jsonl", b'{"id":"%b","object":"thread.mess' % ids.new_id("message").encode())


def a_message_without_newline(site: Site) -> None:
    a_thread(site)
    path = os.path.join(_folder(site), "messages.jsonl")
    fd = os.open(path, os.O_RDWR)
    os.ftruncate(fd, os.fstat(fd).st_size - 1)
    os.fsync(fd)
    os.close(fd)


def a_torn_list_of_runs(site: Site) -> None:
    a_thread(site)
    site.use_run()
    runs.cancel_run(site.store, site.folder, site.run_id)
    site.told(facts.run(site.run, "cancelled"))
    _append(site, "runs.log", b'{"id":"run_0')


def an_assistant_of_ours(site: Site) -> None:
    assistant = an_assistant()
    site.object_id = assistant["id"]
    site.store.assistants.insert(PROJECT, assistant)
    site.told({("assistant", assistant["id"]): assistant})


def a_queued_run(site: Site) -> None:
    a_thread(site)
    site.use_run(an_assistant(tools=[FUNCTION]))


def a_queued_run_with_messages(site: Site) -> None:
    a_thread(site)
    site.use_run(additional_messages=TWO_MESSAGES)
    site.told(facts.messages(site.folder))


def an_expired_run(site: Site) -> None:
    a_thread(site)
    site.use_run(expiry=0)
    site.told(facts.run(site.run, "expired"))


def a_run_without_marker(site: Site) -> None:
    a_queued_run(site)
    site.store.queue.take(site.run_id)


def _died(site: Site, work: Act, *statuses: str) -> None:
    a_queued_run(site)
    work(site)
    site.runners_die()
    site.told(facts.run(site.run, *statuses))


def a_run_that_nobody_works_on(site: Site) -> None:
    _died(site, Site.claim, "queued")


def a_run_that_killed_every_runner(site: Site) -> None:
    a_queued_run(site)
    for _ in range(3):
        recover_all(site.store)
        site.claim()
        site.runners_die()
    site.told(facts.run(site.run, "failed"))


def a_claim_half_taken(site: Site) -> None:
    """Its entry names the runner, and the run is still queued."""
    a_queued_run(site)
    entry = site.store.queue.load(site.run_id)
    assert entry is not None
    site.store.queue.save(replace(entry, attempt=1, runner="dead"))


def a_run_that_speaks(site: Site) -> None:
    _died(site, _speak, "failed", facts.STREAMED)


def an_answer_that_was_not_told(site: Site) -> None:
    def work(site: Site) -> None:
        claim = _speak(site)
        with claim.thread.locked() as thread:
            thread.write_message(claim._finished(USAGE, None)[0])

    _died(site, work, "completed")


def a_step_that_was_not_told(site: Site) -> None:
    def work(site: Site) -> None:
        run = site.claim().run
        with site.folder.locked() as thread:
            thread.write_step(step_object.tool_calls_step(run, ids.stamp_of(run["id"]) + 1))

    _died(site, work, "queued")


def a_message_before_calls(site: Site) -> None:
    _died(site, lambda site: _speak(site).end_message(), "failed")


def calls_that_begin(site: Site) -> None:
    _died(site, lambda site: site.claim().begin_calls(), "failed", facts.STREAMED)


def calls_that_nobody_was_asked_for(site: Site) -> None:
    def work(site: Site) -> None:
        _call(claim := site.claim())
        with claim.thread.locked() as thread:
            (step,) = thread.load_steps(site.run_id)
            thread.write_private(step["run_id"], {"turns": {step["id"]: PRIVATE}})
            thread.write_step({**step, "step_details": {"type": "tool_calls", "tool_calls": CALLS}})

    _died(site, work, "requires_action")


def a_run_that_is_cancelling(site: Site) -> None:
    def work(site: Site) -> None:
        claim = _speak(site)
        runs.cancel_run(site.store, claim.thread, site.run_id)

    _died(site, work, "cancelled")


def an_expired_run_that_speaks(site: Site) -> None:
    an_expired_run(site)
    _speak(site)
    site.runners_die()


def a_waiting_run(site: Site) -> None:
    a_queued_run(site)
    claim = site.claim()
    _call(claim)
    claim.require_action(CALLS, USAGE, PRIVATE)
    site.runners_die()
    site.told(facts.run(site.run, "requires_action"))


def an_expired_run_that_waits(site: Site) -> None:
    an_expired_run(site)
    claim = site.claim()
    _call(claim)
    claim.require_action(CALLS, USAGE, PRIVATE)
    site.runners_die()


def outputs_half_submitted(site: Site) -> None:
    """The step has its outputs, and the run still waits for them."""
    a_waiting_run(site)
    with site.folder.locked() as thread:
        thread.write_step(runs._with_outputs(thread, site.run_id, {call["id"]: "first" for call in CALLS}, USAGE))


def outputs_submitted(site: Site) -> None:
    a_waiting_run(site)
    _submit(site)


def an_answered_run(site: Site) -> None:
    a_queued_run(site)
    _answer(site, None, "completed")
    site.runners_die()


def a_run_that_is_over_in_the_queue(site: Site) -> None:
    a_queued_run(site)
    entry = site.store.queue.load(site.run_id)
    assert entry is not None
    _answer(site, None, "completed")
    site.store.queue.save(entry)
    site.runners_die()


def an_end_that_was_not_told(site: Site) -> None:
    a_waiting_run(site)
    entry = site.store.queue.load(site.run_id)
    assert entry is not None
    with site.folder.locked() as thread:
        log = thread.events(site.run_id)
        told = len(log.read_all())
        run = end_early(site.store, thread, site.run, "cancelled")
    site.store.queue.save(entry)
    fd = os.open(log.path, os.O_RDWR)
    os.ftruncate(fd, told)
    os.fsync(fd)
    os.close(fd)
    site.told(facts.run(run, "cancelled"))


def an_entry_without_a_run(site: Site) -> None:
    a_thread(site)
    site.store.queue.save(ActiveRun(ids.new_id("run"), PROJECT, site.thread_id, 1 << 40))


def an_entry_without_a_thread(site: Site) -> None:
    a_store(site)
    site.store.queue.save(ActiveRun(ids.new_id("run", 1), PROJECT, ids.new_id("thread"), 1 << 40))


def leftovers(site: Site) -> None:
    """A thread that was deleted, one that was being made, and a file that did not come to its place."""
    a_waiting_run(site)
    threads.delete_thread(site.store, site.folder)
    site.told(facts.gone("thread", site.thread_id))
    disk = site.store._disk
    disk.make_directory(building := disk.temporary_path())
    disk.touch(os.path.join(building, "meta.json"))
    disk.touch(disk.temporary_path())
    a_thread(site)


def an_unfinished_thread_of_0_1_3(site: Site) -> None:
    _bring(site, LEGACY_LEFT[0])
    site.told({("run", "/".join(LEGACY_LEFT)): ("in_progress", "failed")})


def a_torn_thread_of_0_1_3(site: Site) -> None:
    _bring(site, LEGACY_TORN)


# --- the store -----------------------------------------------------------------------------------------------------------------------


@done_to(nothing, a_store, a_waiting_run)
def open_store(site: Site) -> None:
    site._store = None
    assert site.store
    site.told({("project", PROJECT): True})


@done_to(a_store)
def create_project(site: Site) -> None:
    site.store.create_project("team")
    site.told({("project", "team"): True})


@done_to(a_store)
def check_writable(site: Site) -> None:
    site.store.check_writable()


@done_to(a_store, a_run_that_speaks)
def join(site: Site) -> None:
    life = site.store.queue.join("newcomer")
    site.store.queue.beat(life)
    site.store.queue.runners()


@done_to(leftovers)
def sweep(site: Site) -> None:
    sweep_store(site.store)


# --- assistants, threads, messages ---------------------------------------------------------------------------------------------------


@done_to(a_store)
def create_assistant(site: Site) -> None:
    assistant = an_assistant()
    site.store.assistants.insert(PROJECT, assistant)
    site.told({("assistant", assistant["id"]): assistant})


@done_to(an_assistant_of_ours)
def modify_assistant(site: Site) -> None:
    changed = site.store.assistants.update(PROJECT, site.object_id, {"name": "x"})
    site.told({("assistant", site.object_id): orjson.loads(changed)})


@done_to(an_assistant_of_ours)
def delete_assistant(site: Site) -> None:
    site.store.assistants.delete(PROJECT, site.object_id)
    site.told(facts.gone("assistant", site.object_id))


@done_to(a_store)
def create_thread(site: Site) -> None:
    site.use_thread()


@done_to(a_store)
def create_thread_with_messages(site: Site) -> None:
    site.use_thread("one", "two", "three")


@done_to(a_thread, an_unfinished_thread_of_0_1_3)
def modify_thread(site: Site) -> None:
    threads.modify_thread(site.folder, {"metadata": {"a": "b"}})
    site.told(facts.thread(site.folder))


@done_to(a_thread, a_queued_run, a_run_that_speaks, a_step_that_was_not_told, a_waiting_run, an_answered_run, a_torn_thread_of_0_1_3)
def delete_thread(site: Site) -> None:
    run = site.folder.active_run()
    if run is not None and site.run_id:
        # It is cancelled first; that much may have been done.
        site.told(facts.run(run, "cancelled", *("failed", "queued", "requires_action")))
    threads.delete_thread(site.store, site.folder)
    site.told(facts.gone("thread", site.thread_id))


@done_to(a_queued_run)
def delete_thread_under_its_runner(site: Site) -> None:
    claim = _speak(site)
    delete_thread(site)
    try:
        claim.finish(USAGE, None)
    except ClaimLost:
        claim.settle()


@done_to(
    an_empty_thread,
    a_thread,
    a_torn_message,
    a_message_without_newline,
    an_answered_run,
    an_unfinished_thread_of_0_1_3,
    a_torn_thread_of_0_1_3,
)
def append_message(site: Site) -> None:
    site.told(facts.message(say(site.folder, "new")))


@done_to(a_modified_message)
def modify_message(site: Site) -> None:
    site.told(facts.message(orjson.loads(threads.modify_message(site.folder, site.object_id, {"metadata": {"c": "d"}}))))


@done_to(a_thread)
def modify_first_message(site: Site) -> None:
    site.object_id = orjson.loads(next(site.folder.messages.newest_first()))["id"]
    modify_message(site)


@done_to(a_modified_message)
def delete_message(site: Site) -> None:
    threads.delete_message(site.folder, site.object_id)
    site.told(facts.gone("message", f"{site.thread_id}/{site.object_id}"))


# --- runs, from their callers' side --------------------------------------------------------------------------------------------------


@done_to(a_thread, a_torn_list_of_runs, an_answered_run, an_unfinished_thread_of_0_1_3)
def create_run(site: Site) -> None:
    site.use_run()


@done_to(a_thread, a_torn_message)
def create_run_with_messages(site: Site) -> None:
    run = runs.create_run(site.store, site.folder, an_assistant(), {"additional_messages": TWO_MESSAGES}, EXPIRY_SECONDS)
    site.told(facts.run(run, "queued"), facts.messages(site.folder))


@done_to(a_store)
def create_thread_and_run(site: Site) -> None:
    run = runs.create_thread_and_run(site.store, PROJECT, an_assistant(), {"thread": {"messages": TWO_MESSAGES}}, EXPIRY_SECONDS)
    folder = site.store.thread(PROJECT, run["thread_id"])
    site.told(facts.thread(folder), facts.messages(folder), facts.run(run, "queued"))


@done_to(a_queued_run, an_answered_run, a_waiting_run)
def modify_run(site: Site) -> None:
    runs.modify_run(site.folder, site.run_id, {"metadata": {"a": "b"}})


@done_to(
    a_queued_run,
    a_queued_run_with_messages,
    a_waiting_run,
    outputs_half_submitted,
    outputs_submitted,
    a_run_that_nobody_works_on,
    a_run_that_speaks,
    a_step_that_was_not_told,
    a_message_before_calls,
)
def cancel(site: Site) -> None:
    runs.cancel_run(site.store, site.folder, site.run_id)
    site.told(facts.run(site.run, "cancelled"))


@done_to(a_queued_run)
def cancel_under_its_runner(site: Site) -> None:
    claim = _speak(site)
    runs.cancel_run(site.store, site.folder, site.run_id)
    site.told(facts.run(site.run, "cancelled"))
    claim.settle()


@done_to(a_waiting_run, outputs_half_submitted)
def submit(site: Site) -> None:
    _submit(site)


@done_to(an_expired_run_that_waits)
def submit_too_late(site: Site) -> None:
    try:
        _submit(site)
    except RunTransitionRefused:
        site.told(facts.run(site.run, "expired"))


# --- runs, from their runners' side --------------------------------------------------------------------------------------------------


@done_to(a_queued_run, a_queued_run_with_messages, outputs_submitted)
def answer(site: Site) -> None:
    _answer(site, None, "completed")


@done_to(a_queued_run)
def answer_that_is_cut_off(site: Site) -> None:
    _answer(site, "max_tokens", "incomplete")


@done_to(a_queued_run)
def call_tools(site: Site) -> None:
    claim = site.claim()
    _call(claim)
    site.told(facts.run(site.run, "failed", facts.STREAMED))
    claim.require_action(CALLS, USAGE, PRIVATE)
    site.told(facts.run(site.run, "requires_action"))


@done_to(a_queued_run)
def speak_and_call_tools_and_answer(site: Site) -> None:
    claim = _speak(site)
    claim.end_message()
    site.told(facts.run(site.run, "failed"), facts.messages(site.folder))
    claim.begin_calls()
    claim.require_action(CALLS, USAGE, PRIVATE)
    site.told(facts.run(site.run, "requires_action"))
    _submit(site)
    _answer(site, None, "completed")


@done_to(a_queued_run)
def run_out_before_it_began(site: Site) -> None:
    site.claim().run_out("max_prompt_tokens")
    site.told(facts.run(site.run, "incomplete"))


@done_to(a_queued_run)
def run_out_in_its_calls(site: Site) -> None:
    claim = site.claim()
    _call(claim)
    site.told(facts.run(site.run, "failed", facts.STREAMED))
    claim.run_out("max_completion_tokens", USAGE)
    site.told(facts.run(site.run, "incomplete"))


@done_to(a_queued_run)
def fail(site: Site) -> None:
    claim = _speak(site)
    claim.stop("failed", last_error=SLOW_DOWN)


@done_to(a_queued_run)
def fail_before_it_began(site: Site) -> None:
    site.claim().stop("failed", last_error=SLOW_DOWN)
    site.told(facts.run(site.run, "failed"))


@done_to(a_queued_run)
def expire(site: Site) -> None:
    claim = _speak(site)
    claim.stop("expired")
    site.told(facts.run(site.run, "expired"))


@done_to(a_queued_run)
def release(site: Site) -> None:
    site.claim().release()


@done_to(
    a_run_without_marker,
    a_run_that_nobody_works_on,
    a_run_that_killed_every_runner,
    a_claim_half_taken,
    a_run_that_speaks,
    an_answer_that_was_not_told,
    a_step_that_was_not_told,
    a_message_before_calls,
    calls_that_begin,
    calls_that_nobody_was_asked_for,
    a_run_that_is_cancelling,
    an_expired_run,
    an_expired_run_that_speaks,
    an_expired_run_that_waits,
    a_run_that_is_over_in_the_queue,
    an_end_that_was_not_told,
    an_entry_without_a_run,
    an_entry_without_a_thread,
)
def recovery(site: Site) -> None:
    recover_all(site.store)


def _speak(site: Site) -> Claim:
    claim = site.claim()
    claim.begin_message()
    site.told(facts.run(site.run, "failed", "expired", facts.STREAMED))
    for fragment in ("Hel", "lo"):
        claim.add_text(fragment)
        site.told(facts.said(claim, "Hello"[: len(fragment) + 3 * (fragment == "lo")]))
    return claim


def _answer(site: Site, incomplete_reason: str | None, status: str) -> None:
    claim = _speak(site)
    claim.finish(USAGE, incomplete_reason)
    site.told(facts.run(site.run, status), facts.messages(site.folder), facts.steps(site.folder, site.run_id))


def _call(claim: Claim) -> None:
    claim.begin_calls()
    for index, call in enumerate(CALLS):
        claim.open_call(index, {**call, "function": {**call["function"], "arguments": ""}})
        claim.add_arguments(index, call["function"]["arguments"])


def _submit(site: Site) -> None:
    run, position = runs.submit_tool_outputs(site.store, site.folder, site.run_id, OUTPUTS)
    assert position <= site.folder.events(site.run_id).end()
    site.told(facts.run(run, "queued"), facts.steps(site.folder, site.run_id))


def _folder(site: Site) -> str:
    return site.store._layout.thread(PROJECT, site.thread_id).folder


def _append(site: Site, name: str, content: bytes) -> None:
    """What a crash or another program left at the end of a file."""
    fd = os.open(os.path.join(_folder(site), name), os.O_WRONLY | os.O_APPEND)
    os.write(fd, content)
    os.fsync(fd)
    os.close(fd)


def _bring(site: Site, thread_id: str) -> None:
    """A thread of oxillama-server 0.1.3, put where a project's threads live."""
    site.thread_id = thread_id
    folder = Path(_folder(site))
    for path in sorted((SEED / thread_id).rglob("*")):
        target = str(folder / path.relative_to(SEED / thread_id))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if path.is_file():
            site.store._disk.replace(target, path.read_bytes())
    for place, _, _ in os.walk(folder.parent):
        site.store._disk.sync_directory(place)
    found = {("run", f"{thread_id}/{run_id}"): (orjson.loads(run)["status"],) for run_id, run in site.folder.page_runs(facts.ALL).items}
    site.told(facts.thread(site.folder), facts.messages(site.folder), found)
