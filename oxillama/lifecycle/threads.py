"""What callers do to threads and messages, with the rule that a thread with an active run takes no message."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson

from oxillama import clock
from oxillama.errors import CorruptRecord, NotFound, ThreadBusy, ThreadFull
from oxillama.lifecycle.ending import begin_cancel, end_early
from oxillama.objects.assistant import deleted
from oxillama.objects.message import caller_message
from oxillama.objects.thread import new_thread
from oxillama.settings import MOST_MESSAGES
from oxillama.store import LockedThread, Store, ThreadFolder
from oxillama.store.records import parsed
from oxillama.store.run_queue import ActiveRun


def create_thread(store: Store, project: str, values: dict[str, Any], most_messages: int = MOST_MESSAGES) -> bytes:
    """Create a Thread with its first messages, from a checked request; its wire form. Raises ThreadFull."""
    thread = new_thread(values)
    messages = new_messages(thread["id"], values.get("messages", []), 0)
    require_room(None, len(messages), most_messages)

    def fill(building: LockedThread) -> None:
        if messages:
            building.messages.append([orjson.dumps(message) for message in messages])

    return store.create_thread(project, thread, fill)


def modify_thread(folder: ThreadFolder, changes: dict[str, Any]) -> bytes:
    """Change fields of a Thread; its new wire form. Raises NotFound."""
    with folder.locked() as thread:
        return thread.write({**parsed(thread.read(), thread.thread_id), **changes})


def delete_thread(store: Store, folder: ThreadFolder) -> dict[str, Any]:
    """Delete a Thread; a run that is active on it is cancelled first. Raises NotFound."""
    with folder.locked() as thread:
        # What cannot be read can still be deleted; recovery forgets its run.
        with contextlib.suppress(CorruptRecord):
            run = thread.active_run()
            if run is not None:
                # Its runner may be streaming: what it adds while the message is being cut short would be missing there.
                run = begin_cancel(thread, run) if run["status"] == "in_progress" else run
                end_early(store, thread, run, "cancelled")
        store.delete_thread(thread)
    return deleted("thread", folder.thread_id)


def create_message(folder: ThreadFolder, values: dict[str, Any], most_messages: int = MOST_MESSAGES) -> bytes:
    """Add a caller's Message; its wire form. Raises NotFound, ThreadBusy, ThreadFull."""
    with folder.locked() as thread:
        require_free(thread, "message")
        require_room(thread, 1, most_messages)
        return thread.add_message(lambda last_stamp: new_messages(folder.thread_id, [values], last_stamp)[0])


def modify_message(folder: ThreadFolder, message_id: str, changes: dict[str, Any]) -> bytes:
    """Change fields of a Message, also while a run is active; its new wire form. Raises NotFound."""
    with folder.locked() as thread:
        message = parsed(_finished_message(thread, message_id), message_id)
        return thread.write_overlay(message_id, {**message, **changes}) if changes else orjson.dumps(message)


def delete_message(folder: ThreadFolder, message_id: str) -> dict[str, Any]:
    """Delete a Message, also while a run is active. Raises NotFound."""
    with folder.locked() as thread:
        _finished_message(thread, message_id)
        answer = deleted("thread.message", message_id)
        thread.write_overlay(message_id, answer)
    return answer


def require_free(thread: LockedThread, adding: str) -> None:
    """Raise ThreadBusy while a run is active. `adding` says what for: `message` or `run`.

    A run that is active and not in the queue is entered again, so that recovery finds it: a copy of the data may lack the entry.
    """
    run_id = thread.active_run_id()
    if run_id is not None:
        if thread.queue.load(run_id) is None:
            thread.queue.save(ActiveRun(run_id, thread.project, thread.thread_id, thread.load_run(run_id)["expires_at"]))
        raise ThreadBusy(thread.thread_id, run_id, adding)


def require_room(thread: LockedThread | None, adding: int, most: int) -> None:
    """Raise ThreadFull when `adding` messages would bring a thread to more than `most`, deleted ones included.

    Args:
        thread: None for one that is about to be created.
        adding: how many a caller gives.
        most: how many a thread may hold.
    """
    if adding > most or (adding and thread is not None and thread.messages.has_at_least(most - adding + 1)):
        raise ThreadFull(most)


def new_messages(thread_id: str, requests: list[dict[str, Any]], last_stamp: int) -> list[dict[str, Any]]:
    """Messages from checked requests, with ids that sort behind `last_stamp` and in their order."""
    first = max(clock.microseconds(), last_stamp + 1)
    now = clock.now()
    return [caller_message(thread_id, values, first + position, now) for position, values in enumerate(requests)]


def _finished_message(thread: LockedThread, message_id: str) -> bytes:
    """A Message of the log; one that a run is still writing cannot be changed by anyone else."""
    message = thread.read_message(message_id)
    if thread.messages.find(message_id) is None:
        raise NotFound("message", message_id)
    return message
