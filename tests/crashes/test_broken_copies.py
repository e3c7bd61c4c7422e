"""The sweeps can fail: each is shown a store with one thing left out, and must say so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from oxillama.errors import StoreUnavailable
from oxillama.lifecycle import recovery
from oxillama.store import Store, locks
from oxillama.store.disk import Disk
from oxillama.store.run_queue import RunQueue
from oxillama.store.threads import LockedThread
from tests.builders import a_thread, open_store, say
from tests.crashes.operations import OPERATIONS
from tests.crashes.sweep import cut_everywhere, kill_everywhere

Broken = Callable[[pytest.MonkeyPatch], None]


def without(owner: type, method: str, when: Callable[..., bool] = lambda *args: True) -> Broken:
    """A store in which a method does nothing, when asked what it is called with."""
    real: Callable[..., Any] = getattr(owner, method)

    def broken(self: object, *args: object) -> Any:
        return None if when(*args) else real(self, *args)

    return lambda patch: patch.setattr(owner, method, broken)


def replaced_in_place(patch: pytest.MonkeyPatch) -> None:
    """Written over, instead of beside and renamed."""

    def replace(disk: Disk, path: str, content: bytes) -> None:
        fd = disk.open(path, 0o1101)
        disk.write(fd, content)
        disk.sync(fd)
        disk.sync_directory(path.rpartition("/")[0])

    patch.setattr(Disk, "replace", replace)


def added_at_once(patch: pytest.MonkeyPatch) -> None:
    """Messages that come with a run, put into the log before there is one."""
    create_run = LockedThread.create_run

    def create(thread: LockedThread, run: dict[str, Any], events: bytes, messages: list[dict[str, Any]]) -> None:
        if messages:
            thread.messages.append([*map(orjson.dumps, messages)])
        create_run(thread, run, events, [])

    patch.setattr(LockedThread, "create_run", create)


def deleted_for_now(patch: pytest.MonkeyPatch) -> None:
    """Moved to the trash, and only the trash is synced."""
    patch.setattr(LockedThread, "remove", lambda thread, trash: thread._disk.rename(thread._layout.folder, f"{trash}/x"))


def of(name: str) -> Callable[..., bool]:
    return lambda path, *_: str(path).endswith(name)


#: What is left out -> the operation in which a power cut shows it.
SYNCS: dict[str, tuple[Broken, str]] = {
    "the sync of a file": (without(Disk, "sync"), "append_message-a_thread"),
    "the sync of a directory": (without(Disk, "sync_directory"), "create_thread"),
    "the sync of a deleted thread's name": (deleted_for_now, "delete_thread-a_thread"),
    "the sync of an assistant's name": (without(Disk, "sync_directory", of("/assistants")), "create_assistant"),
    "the sync of the queue's own name": (without(Disk, "sync_directory", of("/queue")), "create_run-a_thread"),
    "the sync of the folder of runs": (without(Disk, "sync_directory", of("/runs")), "create_run-a_thread"),
    "the sync of what is in a new run's folder": (without(Disk, "sync_directory", lambda path, *_: "/tmp/" in path), "create_run-a_thread"),
    "the sync of the folder of steps": (without(Disk, "sync_directory", of("/steps")), "submit-a_waiting_run"),
}

#: What is left out or done in another way -> the operation in which a killed process shows it.
STEPS: dict[str, tuple[Broken, str]] = {
    "the rename of what is written": (replaced_in_place, "modify_thread-a_thread"),
    "the queue's entry": (without(RunQueue, "save", lambda entry: entry.runner is None), "create_run-a_thread"),
    "the marker, and the second look for it": (without(RunQueue, "offer"), "create_run-a_thread"),
    "the wait of messages for the run that they came with": (added_at_once, "create_run_with_messages-a_thread"),
    "the look for what was never streamed": (
        lambda patch: patch.setattr(recovery, "drop_untold_step", lambda *_: None),
        "recovery-a_step_that_was_not_told",
    ),
    "the sweep": (without(Store, "sweep"), "create_thread"),
}


@contextlib.contextmanager
def broken(how: Broken) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        how(patch)
        yield


@pytest.mark.parametrize("what", SYNCS)
def test_a_power_cut_shows_what_was_left_out(what: str, tmp_path: Path):
    how, operation = SYNCS[what]
    with broken(how):
        assert cut_everywhere(OPERATIONS[operation], tmp_path, throws=0).violations


@pytest.mark.parametrize("what", STEPS)
def test_a_killed_process_shows_what_was_left_out(what: str, tmp_path: Path):
    how, operation = STEPS[what]
    with broken(how):
        assert kill_everywhere(OPERATIONS[operation], tmp_path).violations


def test_a_second_writer_shows_that_the_lock_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = open_store(tmp_path)
    folder = a_thread(store)
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.05)
    with folder.locked(), pytest.raises(StoreUnavailable):
        say(folder)
    monkeypatch.setattr(locks, "_wait_for", lambda *_: None)
    with folder.locked():
        say(folder)
