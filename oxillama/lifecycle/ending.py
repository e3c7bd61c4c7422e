"""How a run ends, whoever ends it: message line, step, `status.json`, the closing events in one write, then it leaves the queue.

In this order a crash at any point leaves something that recovery can finish.
"""

from __future__ import annotations

import contextlib
from typing import Any

from oxillama.errors import StoreError
from oxillama.objects import message as message_object
from oxillama.objects import run as run_object
from oxillama.objects import step as step_object
from oxillama.objects.stream_event import frame, framed, run_event, step_event
from oxillama.store import LockedThread, Store
from oxillama.store.records import parsed

#: run status -> why its open message is incomplete
MESSAGE_REASONS = {"cancelled": "run_cancelled", "failed": "run_failed", "expired": "run_expired"}


def end(
    store: Store,
    thread: LockedThread,
    run: dict[str, Any],
    status: str,
    *,
    message: dict[str, Any] | None = None,
    step: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """End a run.

    Args:
        store: where it is.
        thread: its thread, locked.
        run: the run as it is stored.
        status: a terminal one.
        message: its last message, finished, when it had one open.
        step: its last step, finished, when it had one open.
        changes: further fields of the run.

    Returns:
        The run as it is now.
    """
    if message is not None:
        thread.write_message(message)
        # It may be long, and is read again below.
        message = None
    if step is not None:
        thread.write_step(step)
    steps = thread.load_steps(run["id"])
    usages = [one["usage"] for one in steps]
    entry = store.queue.load(run["id"])
    if run["status"] == "requires_action" and entry is not None and steps[-1]["status"] != "completed":
        # The turn that waits for outputs was paid for, though its step never shows it.
        usages.append(entry.turn_usage)
    usage = run_object.total_usage(usages)
    ended = run_object.moved(run, status, usage=usage, **changes)
    thread.write_run(ended)
    cancelling = [run_event(run_object.moved(run, "cancelling"))] if status == "cancelled" and run["status"] != "cancelling" else []
    with contextlib.suppress(StoreError):
        # The run is over. What cannot be told now is told by recovery, which looks after the run for as long as it has an entry.
        thread.events(run["id"]).append(b"".join([*untold(thread, run), *cancelling, run_event(ended)]))
        store.queue.remove(run["id"])
    return ended


def untold(thread: LockedThread, run: dict[str, Any]) -> list[bytes]:
    """What a run's log should hold and does not, because nobody told it yet, who meant to died, or a power cut took it.

    These are its creation, which nobody waits for a device to have, and the closing events of its messages and steps.
    """
    closing = []
    for step in thread.load_steps(run["id"]):
        told = _closing_message_event(thread, step)
        closing += [told] if told is not None else []
        closing += [step_event(step)] if step["status"] != "in_progress" else []
    missing, is_created = dict.fromkeys(closing), False
    for name, data in thread.events(run["id"]).frames():
        is_created = True
        if not name.endswith(".delta"):
            missing.pop(framed(name, data), None)
    created = [] if is_created else [frame("thread.run.created", run_object.as_created(run))]
    return [*created, *missing]


def _closing_message_event(thread: LockedThread, step: dict[str, Any]) -> bytes | None:
    """The event of a step's message as it came to the thread's log, or None. Its line is sent as it is: a text may be long."""
    if step["type"] != "message_creation":
        return None
    message_id = step["step_details"]["message_creation"]["message_id"]
    line = thread.messages.find(message_id)
    return None if line is None else framed(f"thread.message.{parsed(line, message_id)['status']}", line)


def stored_message(thread: LockedThread, step: dict[str, Any]) -> dict[str, Any] | None:
    """The message of a step as it came to the thread's log, or None."""
    if step["type"] != "message_creation":
        return None
    message_id = step["step_details"]["message_creation"]["message_id"]
    line = thread.messages.find(message_id)
    return None if line is None else parsed(line, message_id)


def begin_cancel(thread: LockedThread, run: dict[str, Any]) -> dict[str, Any]:
    """Take a run out of the hands of a runner that may be streaming: it can add nothing behind the event. The run, `cancelling`."""
    cancelling = run_object.moved(run, "cancelling")
    thread.write_run(cancelling)
    thread.events(run["id"]).append(run_event(cancelling))
    return cancelling


def end_early(
    store: Store,
    thread: LockedThread,
    run: dict[str, Any],
    status: str,
    *,
    last_error: dict[str, str] | None = None,
) -> dict[str, Any]:
    """End a run that did not come to its own end; what it had streamed of a message is kept.

    Args:
        store, thread, run: as for `end`.
        status: `cancelled`, `failed` or `expired`.
        last_error: for `failed`, `{"code", "message"}`.
    """
    thread.settle_messages(run["id"])
    drop_untold_step(thread, run["id"])
    step = open_step(thread, run["id"])
    if step is None:
        return end(store, thread, run, status, last_error=last_error)
    step_error = last_error and {**last_error, "code": _step_code(last_error["code"])}
    finished = step_object.finish(step, status, usage=None, last_error=step_error)
    # Held by nobody but `end`, which lets go of it.
    return end(
        store, thread, run, status, message=_cut_short(thread, run, step, MESSAGE_REASONS[status]), step=finished, last_error=last_error
    )


def open_step(thread: LockedThread, run_id: str) -> dict[str, Any] | None:
    """The step that a run is in, or None. There is never more than one."""
    steps = thread.load_steps(run_id)
    return steps[-1] if steps and steps[-1]["status"] == "in_progress" else None


def drop_untold_step(thread: LockedThread, run_id: str) -> None:
    """Take back a step of which nothing was streamed: who began it died, or lost the run, before it could tell."""
    step = open_step(thread, run_id)
    if step is None or step["step_details"].get("tool_calls") or stored_message(thread, step) is not None:
        return
    told = thread.events(run_id).frames()
    if not any(name == "thread.run.step.created" and data.startswith(b'{"id":"%b"' % step["id"].encode()) for name, data in told):
        thread.take_back(run_id, step["id"])


def _cut_short(thread: LockedThread, run: dict[str, Any], step: dict[str, Any], reason: str) -> dict[str, Any] | None:
    """The message of an open step, ended as far as it had come."""
    stored = stored_message(thread, step)
    if stored is not None or step["type"] != "message_creation":
        return stored
    message_id = step["step_details"]["message_creation"]["message_id"]
    message = thread.events(run["id"]).message_so_far(message_id)
    return None if message is None else message_object.finish(message, message["content"], reason)


def _step_code(code: str) -> str:
    """Steps know fewer error codes than runs (behaviour.md, section 3)."""
    return code if code in ("server_error", "rate_limit_exceeded") else "server_error"
