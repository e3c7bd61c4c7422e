"""What has been acknowledged survives a power cut when durability is full, and nothing waits for the device when it is relaxed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oxillama.lifecycle import runs, threads
from oxillama.store import Store
from oxillama.store.disk import Disk
from tests.builders import (
    CALLS,
    EXPIRY_SECONDS,
    OUTPUTS,
    PRIVATE,
    PROJECT,
    USAGE,
    a_run,
    a_thread,
    an_assistant,
    answer,
    ask_for_tools,
    claimed,
    open_store,
    say,
    waiting_run,
)


class Recording:
    """What the disk is told, in order: writes and syncs by the name of the file, without the random part of temporary names."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.steps: list[str] = []
        self._root = str(root)
        self._record(patch, "write", os.write, lambda fd, content: self._of(fd))
        self._record(patch, "sync", os.fdatasync, self._of)
        self._record(patch, "sync", os.fsync, self._of)
        self._record(patch, "rename", os.rename, lambda source, target: self._relative(target))
        self._record(patch, "unlink", os.unlink, self._relative)

    def _record(self, patch, what, real, where) -> None:
        def recorded(*args):
            place = where(*args)
            result = real(*args)
            self.steps.append(f"{what} {place}")
            return result

        patch.setattr(os, real.__name__, recorded)

    def _of(self, fd: int, *_: object) -> str:
        return self._relative(os.readlink(f"/proc/self/fd/{fd}"))

    def _relative(self, path: str) -> str:
        parts = os.path.relpath(path, self._root).split(os.sep)
        kinds = ("thread_", "run_", "msg_", "step_")
        parts = [
            next((f"<{kind[:-1]}>" + ("" if "." not in part else ".json") for kind in kinds if part.startswith(kind)), part)
            for part in parts
        ]
        if parts[0] == "tmp" and len(parts) > 1:
            parts[1] = "<new>"
        text = "/".join(parts)
        return text.replace("projects/default/threads/", "").replace("<thread>/", "").replace("runs/<run>/", "run:")

    def take(self) -> list[str]:
        steps, self.steps = self.steps, []
        return steps


@pytest.fixture
def durable(tmp_path: Path) -> Store:
    return open_store(tmp_path, durable=True)


@pytest.fixture
def recording(durable: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recording:
    return Recording(monkeypatch, tmp_path / "data")


def replaced(path: str, folder: str) -> list[str]:
    """Temporary file, sync, rename, sync of the directory: the order of which none may be left out."""
    return ["write tmp/<new>", "sync tmp/<new>", f"rename {path}", f"sync {folder}"]


def test_a_message_is_on_the_device_before_it_is_acknowledged(durable, recording):
    folder = a_thread(durable, "x")
    recording.take()
    say(folder)
    assert recording.take() == ["write messages.jsonl", "sync messages.jsonl"]


def test_the_first_message_syncs_the_name_of_the_log_too(durable, recording):
    folder = a_thread(durable)
    recording.take()
    say(folder)
    assert recording.take() == ["sync <thread>", "write messages.jsonl", "sync messages.jsonl"]


def test_what_a_killed_process_left_empty_gets_its_name_synced_by_the_next(durable, recording):
    """It may have been killed before its own sync of the name, and nobody else would make up for it."""
    folder = a_thread(durable)
    thread = Path(folder._layout.folder)
    (thread / "messages.jsonl").touch()
    recording.take()
    message_id = say(folder)["id"]
    assert recording.take()[0] == "sync <thread>"
    (thread / "messages").mkdir()
    threads.modify_message(folder, message_id, {"metadata": {}})
    assert recording.take()[0] == "sync <thread>"


def test_a_thread_is_on_the_device_before_it_has_its_name(durable, recording):
    a_thread(durable, "x")
    assert recording.take() == [
        *("write tmp/<new>/meta.json", "sync tmp/<new>/meta.json"),
        *("sync tmp/<new>", "write tmp/<new>/messages.jsonl", "sync tmp/<new>/messages.jsonl"),
        "sync tmp/<new>",
        *("rename <thread>", "sync projects/default/threads"),
    ]


def test_a_run_is_entered_and_on_the_device_before_it_has_its_name(durable, recording):
    folder = a_thread(durable, "x")
    recording.take()
    a_run(durable, folder)
    assert recording.take() == [
        *replaced("queue/active/<run>", "queue/active"),
        *("write tmp/<new>/events.sse", "write tmp/<new>/status.json", "sync tmp/<new>/status.json"),
        *("sync <thread>", "write runs.log", "sync runs.log"),
        *("sync tmp/<new>", "rename runs/<run>", "sync runs"),
    ]


def test_a_run_is_not_offered_before_all_of_it_is_on_the_device(durable, recording, monkeypatch):
    folder = a_thread(durable, "x")
    before: list[list[str]] = []
    real = Disk.touch

    def touch(disk: Disk, path: str) -> None:
        before.append(recording.take())
        real(disk, path)

    monkeypatch.setattr(Disk, "touch", touch)
    runs.create_run(durable, folder, an_assistant(), {"additional_messages": [{"role": "user", "content": "y"}]}, EXPIRY_SECONDS)
    (told,) = before
    assert told[-1] == "unlink run:additional_messages.jsonl"
    assert told[-5:-1] == ["rename runs/<run>", "sync runs", "write messages.jsonl", "sync messages.jsonl"]
    assert told.index("sync tmp/<new>/additional_messages.jsonl") < told.index("rename runs/<run>")


def test_the_end_of_a_run_is_message_step_status_events_and_then_it_leaves_the_queue(durable, recording):
    folder = a_thread(durable, "x")
    claim = claimed(durable, a_run(durable, folder))
    claim.begin_message()
    recording.take()
    claim.finish(USAGE, None)
    assert recording.take() == [
        *("write messages.jsonl", "sync messages.jsonl"),
        *replaced("run:steps/<step>.json", "run:steps"),
        *replaced("run:status.json", "runs/<run>"),
        *("write run:events.sse", "sync run:events.sse"),
        "unlink queue/active/<run>",
    ]


def test_the_first_step_of_a_run_finds_its_folder_there(durable, recording):
    claim = claimed(durable, a_run(durable, a_thread(durable, "x")))
    recording.take()
    claim.begin_message()
    assert recording.take() == [*replaced("run:steps/<step>.json", "run:steps"), "write run:events.sse"]


def test_a_folder_of_steps_that_a_copy_of_the_data_lacks_is_made_again(durable, recording):
    folder = a_thread(durable, "x")
    run = a_run(durable, folder)
    Path(folder._layout.run(run["id"]).steps).rmdir()
    claim = claimed(durable, run)
    recording.take()
    claim.begin_message()
    assert recording.take()[0] == "sync runs/<run>"
    assert len(folder.load_steps(run["id"])) == 1


def test_a_token_is_one_write_and_no_sync(durable, recording):
    claim = claimed(durable, a_run(durable, a_thread(durable, "x")))
    claim.begin_message()
    recording.take()
    claim.add_text("token")
    assert recording.take() == ["write run:events.sse"]


def test_outputs_are_on_the_device_before_the_run_is_queued_again(durable, recording):
    folder = a_thread(durable, "x")
    run = waiting_run(durable, folder)
    recording.take()
    runs.submit_tool_outputs(durable, folder, run["id"], OUTPUTS)
    assert recording.take() == [
        *replaced("run:steps/<step>.json", "run:steps"),
        *replaced("queue/active/<run>", "queue/active"),
        *replaced("run:status.json", "runs/<run>"),
        *("write run:events.sse", "sync run:events.sse"),
    ]


def test_calls_are_on_the_device_before_anyone_is_asked_for_their_outputs(durable, recording):
    claim = claimed(durable, a_run(durable, a_thread(durable, "x")))
    claim.begin_calls()
    recording.take()
    claim.require_action(CALLS, USAGE, PRIVATE)
    assert recording.take()[:16] == [
        *replaced("run:private.json", "runs/<run>"),
        *replaced("run:steps/<step>.json", "run:steps"),
        *replaced("queue/active/<run>", "queue/active"),
        *replaced("run:status.json", "runs/<run>"),
    ]


def test_changes_and_deletions_are_on_the_device_before_they_are_acknowledged(durable, recording):
    folder = a_thread(durable)
    message_id = say(folder)["id"]
    assistant = an_assistant()
    recording.take()
    threads.modify_thread(folder, {"metadata": {}})
    assert recording.take() == replaced("meta.json", "<thread>")
    threads.modify_message(folder, message_id, {"metadata": {}})
    assert recording.take() == ["sync <thread>", *replaced("messages/<msg>.json", "messages")]
    threads.delete_message(folder, message_id)
    assert recording.take() == replaced("messages/<msg>.json", "messages")
    durable.assistants.insert(PROJECT, assistant)
    assert recording.take()[-1] == "sync projects/default/assistants"
    durable.assistants.delete(PROJECT, assistant["id"])
    assert recording.take()[-1] == "sync projects/default/assistants"
    threads.delete_thread(durable, folder)
    assert recording.take()[1:] == ["sync trash", "sync projects/default/threads"]


def test_relaxed_waits_for_no_device_at_all(tmp_path, monkeypatch):
    store = open_store(tmp_path, durable=False)
    recording = Recording(monkeypatch, tmp_path / "data")
    folder = a_thread(store, "x")
    say(folder)
    answer(claimed(store, a_run(store, folder)), "y")
    run = a_run(store, folder)
    ask_for_tools(claimed(store, run))
    runs.submit_tool_outputs(store, folder, run["id"], OUTPUTS)
    runs.cancel_run(store, folder, run["id"])
    threads.delete_thread(store, folder)
    steps = recording.take()
    assert len(steps) > 40
    assert [step for step in steps if step.startswith("sync")] == []
