"""What lies on disk before a server starts: written through the store and the product's own objects, only without waiting for the disk."""

from __future__ import annotations

import os
from typing import Any

import orjson

from oxillama import clock
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.objects import message as message_object
from oxillama.objects import run as run_object
from oxillama.objects.assistant import new_assistant
from oxillama.store import Store
from oxillama.store.threads import ThreadFolder

PROJECT = "default"
#: About 400 bytes a stored message, as short ones have.
TEXT = "What is the weather going to be like in the next few days?"
_BATCH = 1000


def an_assistant(store: Store) -> dict[str, Any]:
    """A stored Assistant."""
    assistant = new_assistant({"model": "local", "instructions": "Be brief."})
    store.assistants.insert(PROJECT, assistant)
    return assistant


def a_thread(store: Store, messages: int = 0) -> ThreadFolder:
    """A thread with that many messages, one a millisecond up to now."""
    thread = orjson.loads(threads.create_thread(store, PROJECT, {}))
    folder = store.thread(PROJECT, thread["id"])
    add_messages(folder, messages)
    return folder


def add_messages(folder: ThreadFolder, count: int) -> None:
    """Add messages of a user to a thread; more than the API would take, if asked to."""
    first, now = clock.microseconds() - 1000 * count, clock.now()
    with folder.locked() as thread:
        for start in range(0, count, _BATCH):
            stamps = (first + 1000 * number for number in range(start, min(start + _BATCH, count)))
            values = {"role": "user", "content": TEXT}
            lines = [message_object.caller_message(folder.thread_id, values, stamp, now) for stamp in stamps]
            thread.messages.append([orjson.dumps(line) for line in lines])


def message_ids(folder: ThreadFolder) -> list[str]:
    """Ids of all messages of a thread, oldest first."""
    return [orjson.loads(line)["id"] for line in folder.messages.newest_first()][::-1]


def a_completed_run(store: Store, folder: ThreadFolder, assistant: dict[str, Any]) -> dict[str, Any]:
    """A Run that has answered, with its message and step."""
    runner = "bench"
    life = store.queue.join(runner)
    try:
        run = runs.create_run(store, folder, assistant, {}, 600)
        claim = Claim.take(store, run["id"], runner)
        assert claim is not None
        claim.begin_message()
        claim.add_text("Sunny.")
        claim.finish(run_object.usage(7, 3), None)
        claim.close()
    finally:
        os.close(life)
    return folder.load_run(run["id"])
