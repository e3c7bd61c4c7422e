"""What lies on disk before a server starts: written through the store and the product's own objects, only without waiting for the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from oxillama import clock, ids
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.objects import message as message_object
from oxillama.objects import run as run_object
from oxillama.objects import step as step_object
from oxillama.objects.assistant import new_assistant
from oxillama.objects.page import PageQuery
from oxillama.objects.thread import new_thread
from oxillama.store import Store
from oxillama.store.disk import DIRECTORY_MODE, FILE_MODE
from oxillama.store.layout import Layout
from oxillama.store.threads import ThreadFolder

PROJECT = "default"
#: About 400 bytes a stored message, as short ones have.
TEXT = "What is the weather going to be like in the next few days?"
NEWEST = PageQuery(limit=1)
_BATCH = 1000


def an_assistant(store: Store, **values: Any) -> dict[str, Any]:
    """A stored Assistant."""
    assistant = new_assistant({"model": "local", "instructions": "Be brief.", **values})
    store.assistants.insert(PROJECT, assistant)
    return assistant


def a_thread(store: Store, messages: int = 0) -> ThreadFolder:
    """A thread with that many messages, one a millisecond up to now."""
    thread = orjson.loads(threads.create_thread(store, PROJECT, {}))
    folder = store.thread(PROJECT, thread["id"])
    add_messages(folder, messages)
    return folder


def many_threads(store: Store, data_dir: Path, count: int) -> list[str]:
    """Empty threads, written without the store's detour through a temporary folder; their ids."""
    store.create_project(PROJECT)
    layout = Layout(str(data_dir))
    thread_ids = []
    for _ in range(count):
        thread = new_thread({})
        paths = layout.thread(PROJECT, thread["id"])
        os.mkdir(paths.folder, DIRECTORY_MODE)
        fd = os.open(paths.meta, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        os.write(fd, orjson.dumps(thread))
        os.close(fd)
        thread_ids.append(thread["id"])
    return thread_ids


def add_runs(folder: ThreadFolder, assistant: dict[str, Any], count: int) -> None:
    """Runs that were cancelled before anything was said."""
    first = clock.microseconds()
    with folder.locked() as thread:
        for number in range(count):
            run = run_object.new_run(folder.thread_id, assistant, {}, stamp=first + number, expiry_seconds=600)
            thread.create_run(run_object.moved(run, "cancelled"), b"", [])


def add_steps(folder: ThreadFolder, run: dict[str, Any], count: int) -> None:
    """More steps of a Run that has ended."""
    first = clock.microseconds()
    with folder.locked() as thread:
        for number in range(count):
            step = step_object.message_step(run, ids.new_id("message", first + number), first + number)
            thread.write_step(step_object.finish(step, "completed", usage=run_object.usage(7, 3)))


def add_messages(folder: ThreadFolder, count: int, text: str = TEXT) -> None:
    """Add messages of a user to a thread; more than the API would take, if asked to."""
    first, now = clock.microseconds() - 1000 * count, clock.now()
    with folder.locked() as thread:
        for start in range(0, count, _BATCH):
            stamps = (first + 1000 * number for number in range(start, min(start + _BATCH, count)))
            values = {"role": "user", "content": text}
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
