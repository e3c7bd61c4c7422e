"""What callers do to runs: create, modify, cancel, submit tool outputs. The other half of a run's life is in `claim`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from oxillama import clock
from oxillama.errors import InvalidRequest, LimitReached, RunTransitionRefused, StoreError
from oxillama.lifecycle.claim import queue_again
from oxillama.lifecycle.ending import begin_cancel, end_early
from oxillama.lifecycle.threads import new_messages, require_free, require_room
from oxillama.objects import run as run_object
from oxillama.objects import step as step_object
from oxillama.objects.stream_event import frame, run_event, step_event
from oxillama.objects.thread import new_thread
from oxillama.settings import MOST_MESSAGES, MOST_RUNS
from oxillama.store import LockedThread, Store, ThreadFolder
from oxillama.store.records import parsed
from oxillama.store.run_queue import ActiveRun

#: When to come back with a run for which there is no place. The SDKs wait that long and try twice.
_RUN_RETRY_SECONDS = 5


def create_run(
    store: Store,
    folder: ThreadFolder,
    assistant: dict[str, Any],
    values: dict[str, Any],
    expiry_seconds: int,
    *,
    most_messages: int = MOST_MESSAGES,
    most_runs: int = MOST_RUNS,
) -> dict[str, Any]:
    """Create a queued Run with everything it needs to be executed, and the messages that come with it. Its log begins at 0.

    Raises:
        NotFound: no such thread.
        ThreadBusy: another run is active; nothing was added.
        ThreadFull: its messages are more than the thread may hold.
        LimitReached: the project has as many unfinished runs as it may.
        StoreError: nothing was added.
        InvalidRequest: there is nothing to answer.
    """
    with folder.locked() as thread:
        require_free(thread, "run")
        require_room(thread, len(values.get("additional_messages", [])), most_messages)
        _require_place(store, folder.project, most_runs)
        last_stamp = thread.last_stamp()
        messages = new_messages(folder.thread_id, values.get("additional_messages", []), last_stamp)
        stamp = max(clock.microseconds(), last_stamp + 1) + len(messages)
        run = run_object.new_run(folder.thread_id, assistant, values, stamp=stamp, expiry_seconds=expiry_seconds)
        _require_something_to_answer(run, messages, thread)
        store.queue.save(ActiveRun(run["id"], folder.project, folder.thread_id, run["expires_at"]))
        try:
            thread.create_run(run, _first_events(run), messages)
            thread.settle_messages(run["id"])
        except StoreError:
            thread.take_back(run["id"])
            raise
    store.queue.offer(run["id"])
    return run


def create_thread_and_run(
    store: Store,
    project: str,
    assistant: dict[str, Any],
    values: dict[str, Any],
    expiry_seconds: int,
    *,
    most_messages: int = MOST_MESSAGES,
    most_runs: int = MOST_RUNS,
) -> dict[str, Any]:
    """Create a Thread, its messages and a queued Run on it, at once. Raises as `create_run` does."""
    wanted = values.get("thread", {})
    thread = new_thread(wanted)
    messages = new_messages(thread["id"], wanted.get("messages", []), 0)
    require_room(None, len(messages), most_messages)
    _require_place(store, project, most_runs)
    stamp = clock.microseconds() + len(messages)
    run = run_object.new_run(thread["id"], assistant, values, stamp=stamp, expiry_seconds=expiry_seconds)
    _require_something_to_answer(run, messages, None)

    def fill(building: LockedThread) -> None:
        if messages:
            building.messages.append([orjson.dumps(message) for message in messages])
        building.create_run(run, frame("thread.created", thread) + _first_events(run), [])

    entry = ActiveRun(run["id"], project, thread["id"], run["expires_at"])
    store.queue.save(entry)
    try:
        store.create_thread(project, thread, fill)
        with store.thread(project, thread["id"]).locked():
            # Race: recovery drops an entry whose thread does not come to be, and this machine may have been asleep in between.
            if store.queue.load(run["id"]) is None:
                store.queue.save(entry)
    except StoreError:
        # The entry is dropped by recovery, now that there is no thread for it.
        store.discard_thread(project, thread["id"])
        raise
    store.queue.offer(run["id"])
    return run


def modify_run(folder: ThreadFolder, run_id: str, changes: dict[str, Any]) -> bytes:
    """Change fields of a Run; its new wire form. Raises NotFound, and RunTransitionRefused while a runner works on it."""
    with folder.locked() as thread:
        run = thread.load_run(run_id)
        if run["status"] in ("in_progress", "cancelling"):
            raise RunTransitionRefused(f"Cannot update run with status '{run['status']}'.", run["status"])
        return thread.write_run({**run, **changes})


def cancel_run(store: Store, folder: ThreadFolder, run_id: str) -> dict[str, Any]:
    """Cancel a Run: at once when no runner works on it, else its runner is told and ends it.

    Returns:
        The run, `cancelling` in either case (behaviour.md, section 3).

    Raises:
        NotFound: no such run.
        RunTransitionRefused: it is over, or being cancelled already.
    """
    with folder.locked() as thread:
        run = thread.load_run(run_id)
        if run["status"] not in ("queued", "in_progress", "requires_action"):
            raise RunTransitionRefused(f"Cannot cancel run with status '{run['status']}'.", run["status"])
        entry = store.queue.load(run_id)
        if run["status"] == "in_progress" and entry is not None and store.queue.is_alive(entry.runner):
            return begin_cancel(thread, run)
        end_early(store, thread, run, "cancelled")
        return run_object.moved(run, "cancelling")


def submit_tool_outputs(store: Store, folder: ThreadFolder, run_id: str, outputs: list[dict[str, str]]) -> tuple[dict[str, Any], int]:
    """Take the outputs of all tool calls that a Run waits for, and queue it again.

    Returns:
        The run, and the position in its log behind which everything follows from the outputs.

    Raises:
        NotFound: no such run.
        RunTransitionRefused: it does not wait for outputs, or no longer.
        InvalidRequest: the outputs are not those of its calls, each once.
    """
    with folder.locked() as thread:
        run = thread.load_run(run_id)
        if run["status"] == "requires_action" and run["expires_at"] <= clock.now():
            run = end_early(store, thread, run, "expired")
        if run["status"] != "requires_action":
            raise RunTransitionRefused(f'Runs in status "{run["status"]}" do not accept tool outputs.', run["status"])
        expected = [call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"]]
        given = [output.get("tool_call_id") for output in outputs]
        if sorted(expected) != sorted(map(str, given)):
            raise InvalidRequest(f"Expected tool outputs for call_ids {expected}, got {given}")
        entry = store.queue.load(run_id) or ActiveRun(run_id, folder.project, folder.thread_id, run["expires_at"])
        position = thread.events(run_id).end()
        step = _with_outputs(thread, run_id, {output["tool_call_id"]: output.get("output", "") for output in outputs}, entry.turn_usage)
        thread.write_step(step)
        return queue_again(store, thread, replace(entry, deaths=0), run, step_event(step)), position


def _first_events(run: dict[str, Any]) -> bytes:
    return frame("thread.run.created", run) + run_event(run)


def _require_place(store: Store, project: str, most: int) -> None:
    if store.queue.has_at_least(project, most):
        raise LimitReached("Too many runs of this project are unfinished. Please try again later.", _RUN_RETRY_SECONDS)


def _with_outputs(thread: LockedThread, run_id: str, outputs: dict[str, str], usage: dict[str, Any] | None) -> dict[str, Any]:
    """The tool step that a run waits in, completed. It may be completed already, by a submit that died before it was acknowledged."""
    step = [one for one in thread.load_steps(run_id) if one["type"] == "tool_calls"][-1]
    calls = [{**call, "function": {**call["function"], "output": outputs[call["id"]]}} for call in step["step_details"]["tool_calls"]]
    filled = {**step, "step_details": {"type": "tool_calls", "tool_calls": calls}}
    return step_object.finish(filled, "completed", usage=usage or run_object.usage(0, 0))


def _require_something_to_answer(run: dict[str, Any], messages: list[dict[str, Any]], thread: LockedThread | None) -> None:
    """behaviour.md, section 3: preconditions."""
    if run["instructions"] or any(message["role"] == "user" for message in messages):
        return
    if thread is not None and any(parsed(message, thread.thread_id)["role"] == "user" for message in thread.messages.newest_first()):
        return
    text = "Run creation requires a Thread with a user message or an assistant with instructions."
    raise InvalidRequest(text, None, "invalid_thread")
