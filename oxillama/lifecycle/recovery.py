"""Recovery: what becomes of a run that nobody works on, because its runner died or its time is over.

It looks only at active runs, so its cost does not depend on the amount of data.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from oxillama import clock, ids
from oxillama.errors import NotFound
from oxillama.lifecycle.claim import outcome_of, queue_again, wait_for_outputs
from oxillama.lifecycle.ending import MESSAGE_REASONS, drop_untold_step, end, end_early, stored_message, untold
from oxillama.objects import run as run_object
from oxillama.objects import step as step_object
from oxillama.objects.stream_event import run_event
from oxillama.store import LockedThread, Store
from oxillama.store.run_queue import ActiveRun

#: A turn of which nothing was streamed is tried again after this many deaths, and then no more.
MOST_DEATHS = 2

#: No creation of a thread takes longer.
_CREATION_SECONDS = 60

DIED = {"code": "server_error", "message": "The server that worked on this run was stopped before the run was finished."}


def recover(store: Store, entry: ActiveRun, *, abandoned: bool = False) -> None:
    """Bring an active run back to where its life goes on. Does nothing to a run that a living runner works on.

    Any number of processes may call this for the same run: all is decided again under the thread's lock.

    Args:
        store: where it is.
        entry: the run as it was found.
        abandoned: the runner that the entry names does not work on the run any more: it says so itself, or is frozen and the run is due.
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
        # An entry comes before its thread, so one that is still young may belong to a thread that is being created.
        if clock.microseconds() - ids.stamp_of(entry.run_id) > _CREATION_SECONDS * 1_000_000:
            store.queue.remove(entry.run_id)
            _keep_if_created(store, entry)


def _keep_if_created(store: Store, entry: ActiveRun) -> None:
    """Race: a creator that had been asleep may have made the thread, and seen the entry, just before it was dropped."""
    with contextlib.suppress(NotFound), store.thread(entry.project, entry.thread_id).locked() as thread:
        if thread.load_run(entry.run_id)["status"] in run_object.ACTIVE and store.queue.load(entry.run_id) is None:
            # Another attempt: who claimed it in the meantime has lost it with the entry.
            store.queue.save(replace(entry, attempt=entry.attempt + 1))


def _recover(store: Store, thread: LockedThread, entry: ActiveRun) -> None:
    try:
        run = thread.load_run(entry.run_id)
    except NotFound:
        store.queue.remove(entry.run_id)
        return
    if run["status"] in run_object.TERMINAL:
        _append_missing(thread, run)
        store.queue.remove(run["id"])
    elif run["status"] == "cancelling":
        end_early(store, thread, run, "cancelled")
    elif run["expires_at"] <= clock.now():
        end_early(store, thread, run, "expired")
    elif run["status"] == "queued" and entry.runner is not None:
        _try_again(store, thread, entry, run)
    elif run["status"] == "queued":
        thread.settle_messages(run["id"])
        store.queue.offer(run["id"])
    elif run["status"] == "requires_action" and entry.runner is not None:
        _append_missing(thread, run)
        store.queue.save(replace(entry, runner=None))
    elif run["status"] == "in_progress":
        _resume(store, thread, entry, run)


def _resume(store: Store, thread: LockedThread, entry: ActiveRun, run: dict[str, Any]) -> None:
    """The runner of this run died somewhere between its claim and its end."""
    drop_untold_step(thread, run["id"])
    steps = thread.load_steps(run["id"])
    step = steps[-1] if steps else None
    message = stored_message(thread, step) if step is not None else None
    early = _ended_early(message)
    if early is not None:
        end_early(store, thread, run, early, last_error=DIED if early == "failed" else None)
    elif step is None or (step["status"] == "completed" and step["step_details"].get("tool_calls")):
        _try_again(store, thread, entry, run)
    elif message is not None and entry.turn_usage is None:
        # The answer is in the thread, and no calls were to follow it: go forward.
        if step["status"] == "in_progress":
            step = step_object.finish(step, "completed", usage=run_object.usage(0, 0))
        status, details = outcome_of(message)
        end(store, thread, run, status, message=message, step=step, incomplete_details=details)
    elif step["step_details"].get("tool_calls"):
        wait_for_outputs(thread, run, step)
        store.queue.save(replace(entry, runner=None))
    else:
        end_early(store, thread, run, "failed", last_error=DIED)


def _try_again(store: Store, thread: LockedThread, entry: ActiveRun, run: dict[str, Any]) -> None:
    # An entry without a runner: recovery had counted this death, and died itself.
    deaths = entry.deaths + (entry.runner is not None)
    counted = replace(entry, deaths=deaths, runner=None)
    if deaths > MOST_DEATHS:
        end_early(store, thread, run, "failed", last_error=DIED)
    elif run["status"] == "queued":
        # It died before it could say that it had begun.
        store.queue.save(counted)
        store.queue.offer(run["id"])
    else:
        queue_again(store, thread, counted, run, b"".join(untold(thread, run)))


def _ended_early(message: dict[str, Any] | None) -> str | None:
    """The status of a run for which somebody had begun to write that it does not come to its own end, told by its message."""
    reason = message and message["incomplete_details"] and message["incomplete_details"]["reason"]
    return next((status for status, known in MESSAGE_REASONS.items() if known == reason), None)


def _append_missing(thread: LockedThread, run: dict[str, Any]) -> None:
    """Add the events that lead to a run's status, because whoever set it died before they were told."""
    events = thread.events(run["id"])
    # By name: the run may have been modified since.
    if [name for name, _ in events.frames()][-1:] == [f"thread.run.{run['status']}"]:
        return
    before = untold(thread, run) if run["status"] in run_object.TERMINAL else []
    events.append(b"".join([*before, run_event(run)]))
