"""Recovery: what becomes of a run that nobody works on, because its runner died or its time is over.

It looks only at active runs, so its cost does not depend on the amount of data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from oxillama import clock
from oxillama.errors import NotFound
from oxillama.lifecycle.claim import outcome_of, wait_for_outputs
from oxillama.lifecycle.ending import end, end_early
from oxillama.objects import run as run_object
from oxillama.objects import step as step_object
from oxillama.objects.stream_event import ENDS, frames, run_event
from oxillama.store import LockedThread, Store
from oxillama.store.run_queue import ActiveRun

#: A turn of which nothing was streamed is tried again after this many deaths, and then no more.
MOST_DEATHS = 2

DIED = {"code": "server_error", "message": "The server that worked on this run was stopped before the run was finished."}


def recover(store: Store, entry: ActiveRun, *, abandoned: bool = False) -> None:
    """Bring an active run back to where its life goes on. Does nothing to a run that a living runner works on.

    Any number of processes may call this for the same run: all is decided again under the thread's lock.

    Args:
        store: where it is.
        entry: the run as it was found.
        abandoned: the caller is the runner that the entry names, and it does not work on the run any more.
    """
    try:
        with store.thread(entry.project, entry.thread_id).locked() as thread:
            current = store.queue.load(entry.run_id)
            if current is None:
                return
            if (abandoned and current == entry) or not store.queue.is_alive(current.runner):
                _recover(store, thread, current)
    except NotFound:
        _drop(store, entry)


def _drop(store: Store, entry: ActiveRun) -> None:
    """Forget a run whose thread does not exist: deleted since, or never created because its creator died."""
    try:
        store.thread(entry.project, entry.thread_id).require()
    except NotFound:
        store.queue.remove(entry.run_id)


def _recover(store: Store, thread: LockedThread, entry: ActiveRun) -> None:
    try:
        run = thread.load_run(entry.run_id)
    except NotFound:
        store.queue.remove(entry.run_id)
        return
    if run["status"] in run_object.TERMINAL:
        _append_missing_end(thread, run)
        store.queue.remove(run["id"])
    elif run["status"] == "cancelling":
        end_early(store, thread, run, "cancelled")
    elif run["expires_at"] <= clock.now():
        end_early(store, thread, run, "expired")
    elif run["status"] == "queued":
        store.queue.offer(run["id"])
    elif run["status"] == "in_progress":
        _resume(store, thread, entry, run)


def _resume(store: Store, thread: LockedThread, entry: ActiveRun, run: dict[str, Any]) -> None:
    """The runner of this run died somewhere between its claim and its end."""
    steps = thread.load_steps(run["id"])
    step = steps[-1] if steps else None
    message = _stored_message(thread, step)
    if step is None or (step["type"] == "tool_calls" and step["status"] == "completed"):
        _try_again(store, thread, entry, run)
    elif message is not None and (step["status"] == "in_progress" or step["usage"] is not None):
        # The answer is in the thread: go forward. A step without usage that is completed belongs to a turn that went on to call tools.
        if step["status"] == "in_progress":
            step = step_object.finish(step, "completed", usage=run_object.usage(0, 0))
        status, details = outcome_of(message)
        end(store, thread, run, status, message=message, step=step, incomplete_details=details)
    elif step["type"] == "tool_calls" and step["step_details"]["tool_calls"]:
        wait_for_outputs(thread, run, step)
        store.queue.save(replace(entry, runner=None))
    else:
        end_early(store, thread, run, "failed", last_error=DIED)


def _try_again(store: Store, thread: LockedThread, entry: ActiveRun, run: dict[str, Any]) -> None:
    if entry.deaths >= MOST_DEATHS:
        end_early(store, thread, run, "failed", last_error=DIED)
        return
    store.queue.save(replace(entry, runner=None, deaths=entry.deaths + 1))
    queued = run_object.moved(run, "queued")
    thread.write_run(queued)
    thread.events(run["id"]).append(run_event(queued))
    store.queue.offer(run["id"])


def _stored_message(thread: LockedThread, step: dict[str, Any] | None) -> dict[str, Any] | None:
    if step is None or step["type"] != "message_creation":
        return None
    line = thread.messages.find(step["step_details"]["message_creation"]["message_id"])
    return None if line is None else orjson.loads(line)


def _append_missing_end(thread: LockedThread, run: dict[str, Any]) -> None:
    """Add the closing event of a run that ended without it. Its message and step are told by its objects."""
    events = thread.events(run["id"])
    names = {name for name, _, _ in frames(events.read_all())}
    if not names & ENDS:
        events.append(run_event(run))
