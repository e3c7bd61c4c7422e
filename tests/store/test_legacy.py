"""Threads of oxillama-server 0.1.3: they open as they are, are continued, and lose nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest

from oxillama import ids
from oxillama.errors import NotFound
from oxillama.lifecycle import runs, threads
from oxillama.objects.page import PageQuery
from oxillama.store import Store, legacy
from tests.builders import PROJECT, Child, a_run, answer, claimed, event_names, files_below, listed, say
from tests.contract.validation import check

SEED = Path(__file__).with_name("seed")
ASCENDING = PageQuery(order="asc")

TALK = "thread_3f2b8c1de4a94b7f9c0d5e6f7a8b9c0d"
KILLED = "thread_0123456789abcdef0123456789abcdef"
EMPTY = "thread_a0b1c2d3e4f5061728394a5b6c7d8e9f"
DONE, FAILED = "run_11112222333344445555666677778888", "run_9999aaaabbbbccccddddeeeeffff0000"
LEFT = "run_deadbeefdeadbeefdeadbeefdeadbeef"
DONE_STEP, FAILED_STEP = "step-5b0c7a90-4a39-4b0e-9d0b-3f0a3e1f2d11", "step-7c1d8b01-5b4a-4c1f-8e1c-4f1b4f203e22"
#: In the order in which they were written, which their ids do not tell.
MESSAGES = ["msg_00000000000000000000000000000a01", "msg_f0000000000000000000000000000a02", "msg_10000000000000000000000000000a03"]


@pytest.fixture
def data(store: Store) -> Path:
    """The folder of the threads, with those of the original put where a project's threads live."""
    folder = Path(store._layout.threads(PROJECT))
    shutil.copytree(SEED, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def open_thread(store: Store, data: Path):
    return lambda thread_id: store.thread(PROJECT, thread_id)


def parsed(items):
    return [orjson.loads(item) for _, item in items]


def test_threads_open_with_any_metadata_as_text(open_thread):
    for thread_id in (TALK, KILLED, EMPTY):
        check("ThreadObject", orjson.loads(open_thread(thread_id).read()))
    assert orjson.loads(open_thread(TALK).read())["metadata"] == {"customer": "42", "tags": '["a","b"]', "nested": '{"n":1}'}


@pytest.mark.parametrize(
    ("metadata", "shown"),
    [({"n": 1}, {"n": "1"}), ([1], {"metadata": "[1]"}), ("text", {"metadata": "text"}), (None, {}), (7, {"metadata": "7"})],
)
def test_metadata_of_any_json_loses_nothing(metadata, shown):
    thread = legacy.thread({"id": TALK, "created_at": 1, "metadata": metadata})
    assert thread["metadata"] == shown
    check("ThreadObject", thread)


def test_messages_are_listed_in_the_order_in_which_they_were_written(open_thread):
    folder = open_thread(TALK)
    items = folder.page_messages(ASCENDING).items
    assert listed(items) == MESSAGES
    assert listed(folder.page_messages(PageQuery()).items) == MESSAGES[::-1]
    for message in parsed(items):
        check("MessageObject", message)
        assert orjson.loads(folder.read_message(message["id"])) == message
    assert [message["role"] for message in parsed(items)] == ["user", "assistant", "user"]
    assert parsed(items)[2]["content"][0]["text"]["value"] == "And of Italy? Grüße, 你好 🙂"
    assert listed(folder.page_messages(PageQuery(order="asc", after=MESSAGES[0], limit=1)).items) == [MESSAGES[1]]
    assert listed(folder.page_messages(PageQuery(order="asc", before=MESSAGES[1])).items) == [MESSAGES[0]]
    assert listed(folder.page_messages(PageQuery(), DONE).items) == [MESSAGES[1]]
    assert open_thread(EMPTY).page_messages(ASCENDING).items == []


def test_the_torn_message_was_never_stored(open_thread):
    with pytest.raises(NotFound):
        open_thread(TALK).read_message("msg_20000000000000000000000000000a04")


def test_runs_and_steps_are_listed_by_time_in_todays_form(open_thread):
    folder = open_thread(TALK)
    items = folder.page_runs(ASCENDING).items
    assert listed(items) == [DONE, FAILED]
    assert listed(folder.page_runs(PageQuery(after=FAILED)).items) == [DONE]
    for run in parsed(items):
        check("RunObject", run)
        assert orjson.loads(folder.read_run(run["id"])) == run
    assert parsed(items)[1]["last_error"] == {"code": "server_error", "message": "engine unavailable"}
    ((_, done),) = folder.page_steps(DONE, ASCENDING).items
    ((_, failed),) = folder.page_steps(FAILED, ASCENDING).items
    for step in map(orjson.loads, (done, failed)):
        check("RunStepObject", step)
    assert orjson.loads(done)["step_details"] == {"type": "message_creation", "message_creation": {"message_id": MESSAGES[1]}}
    assert orjson.loads(failed)["status"] == "failed", "a step that was left open ended with its run"
    assert folder.read_step(DONE, DONE_STEP) == done and folder.read_step(FAILED, FAILED_STEP) == failed


def test_reading_changes_no_byte(open_thread, data):
    before = files_below(data)
    for thread_id in (TALK, KILLED, EMPTY):
        folder = open_thread(thread_id)
        folder.read()
        for message_id in listed(folder.page_messages(ASCENDING).items):
            folder.read_message(message_id)
        for run_id in listed(folder.page_runs(ASCENDING).items):
            folder.read_run(run_id)
            for step_id in listed(folder.page_steps(run_id, ASCENDING).items):
                folder.read_step(run_id, step_id)
        folder.active_run()
    assert files_below(data) == before == files_below(SEED)


def test_a_thread_is_continued_and_loses_nothing(store, open_thread, data):
    folder = open_thread(TALK)
    original = (data / TALK / "messages.jsonl").read_bytes()
    *whole, torn = original.split(b"\n")
    spoken = say(folder, "And of Spain?")
    run = a_run(store, folder)
    answer(claimed(store, run), "Madrid")
    items = folder.page_messages(ASCENDING).items
    assert listed(items)[:4] == [*MESSAGES, spoken["id"]]
    assert [message["content"][0]["text"]["value"] for message in parsed(items)[3:]] == ["And of Spain?", "Madrid"]
    assert all(orjson.loads(folder.read_message(one)) for one in listed(items))
    assert listed(folder.page_runs(ASCENDING).items) == [DONE, FAILED, run["id"]]
    assert listed(folder.page_runs(PageQuery(limit=2)).items) == [run["id"], FAILED]
    assert listed(folder.page_runs(PageQuery(order="asc", after=FAILED)).items) == [run["id"]]
    assert (data / TALK / "messages.jsonl").read_bytes().split(b"\n")[: len(whole)] == whole
    assert (data / TALK / "messages.torn").read_bytes() == torn + b"\n"
    after = files_below(data)
    for name, content in files_below(SEED).items():
        if not name.endswith("messages.jsonl"):
            assert after[name] == content, name


def test_messages_of_the_original_are_modified_and_deleted_like_any_other(open_thread, data):
    folder = open_thread(TALK)
    threads.modify_message(folder, MESSAGES[1], {"metadata": {"a": "b"}})
    threads.delete_message(folder, MESSAGES[0])
    assert listed(folder.page_messages(ASCENDING).items) == MESSAGES[1:]
    modified = orjson.loads(folder.read_message(MESSAGES[1]))
    check("MessageObject", modified)
    assert modified["metadata"] == {"a": "b"}
    assert listed(folder.page_messages(PageQuery(order="asc", after=MESSAGES[0], limit=1)).items) == [MESSAGES[1]]
    threads.modify_thread(folder, {"metadata": {"a": "b"}})
    check("ThreadObject", orjson.loads(folder.read()))


def test_a_run_that_was_left_unfinished_is_failed_by_the_first_write(store, open_thread):
    folder = open_thread(KILLED)
    assert folder.load_run(LEFT)["status"] == "in_progress", "reading alone changes nothing"
    say(folder, "still there?")
    run = folder.load_run(LEFT)
    check("RunObject", run)
    assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")
    answer(claimed(store, a_run(store, folder)), "yes")
    assert [run["status"] for run in parsed(folder.page_runs(ASCENDING).items)] == ["failed", "completed"]


@pytest.mark.parametrize(
    ("status", "becomes"), [("queued", "failed"), ("requires_action", "failed"), ("cancelling", "cancelled"), ("completed", "completed")]
)
def test_whatever_state_a_run_was_left_in_the_thread_can_be_written(open_thread, data, status, becomes):
    path = data / KILLED / "runs" / LEFT / "status.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "status": status}))
    say(open_thread(KILLED))
    run = open_thread(KILLED).load_run(LEFT)
    assert run["status"] == becomes
    check("RunObject", run)


def test_a_first_write_that_is_killed_half_way_is_done_again(open_thread, data):
    folder = open_thread(KILLED)

    def die_in_the_lock() -> None:
        folder.locked().__enter__()

    (data / KILLED / "runs.log").unlink(missing_ok=True)
    Child(die_in_the_lock).finish()
    (data / KILLED / "runs.log").write_bytes(b"")
    (data / KILLED / "runs.log").unlink()
    say(folder)
    assert folder.load_run(LEFT)["status"] == "failed"
    assert listed(folder.page_runs(ASCENDING).items) == [LEFT]


def test_a_thread_without_messages_takes_some(store, open_thread):
    folder = open_thread(EMPTY)
    spoken = say(folder, "first")
    run = a_run(store, folder)
    answer(claimed(store, run), "second")
    assert listed(folder.page_messages(ASCENDING).items)[0] == spoken["id"]
    assert event_names(folder, run["id"])[-1] == "run.completed"


def test_a_thread_of_the_original_is_deleted_like_any_other(store, open_thread, data):
    threads.delete_thread(store, open_thread(TALK))
    with pytest.raises(NotFound):
        open_thread(TALK).read()
    assert not (data / TALK).exists()


def test_a_run_of_the_original_that_is_over_cannot_be_cancelled(store, open_thread):
    with pytest.raises(Exception, match="Cannot cancel run with status 'completed'"):
        runs.cancel_run(store, open_thread(TALK), DONE)


def test_metadata_of_a_run_of_the_original_can_be_changed(open_thread):
    folder = open_thread(TALK)
    run = orjson.loads(runs.modify_run(folder, DONE, {"metadata": {"a": "b"}}))
    check("RunObject", run)
    assert orjson.loads(folder.read_run(DONE)) == run
    assert not ids.is_ours(run["id"])
