"""Threads and messages as they lie on the disk: there whole or not at all, changed without being rewritten, gone when deleted."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
import threading
import time
from pathlib import Path

import orjson
import pytest

from oxillama import clock, ids
from oxillama.errors import CorruptRecord, NotFound, StoreError, StoreFull, StoreUnavailable, ThreadBusy
from oxillama.lifecycle import threads
from oxillama.objects.page import PageQuery
from oxillama.store import Store, file_system, locks
from tests.builders import (
    PROJECT,
    USAGE,
    Child,
    a_run,
    a_thread,
    answer,
    claimed,
    events,
    files_below,
    join,
    listed,
    open_store,
    say,
    waiting_run,
)
from tests.contract.validation import check

ASCENDING = PageQuery(order="asc", limit=100)


def texts(folder) -> list[str]:
    return [orjson.loads(item)["content"][0]["text"]["value"] for _, item in folder.page_messages(ASCENDING).items]


def path_of(store, folder):
    return os.path.join(store._layout.threads(folder.project), folder.thread_id)


# --- a thread and its messages -------------------------------------------------------------------------------------------------------


def test_a_thread_comes_with_its_messages_in_their_order(store):
    folder = a_thread(store, "one", "two", "three")
    check("ThreadObject", orjson.loads(folder.read()))
    assert texts(folder) == ["one", "two", "three"]
    for _, item in folder.page_messages(ASCENDING).items:
        check("MessageObject", orjson.loads(item))


def test_what_is_stored_is_what_is_sent(store):
    folder = a_thread(store, "one")
    assert Path(os.path.join(path_of(store, folder), "meta.json")).read_bytes() == folder.read()
    ((message_id, item),) = folder.page_messages(ASCENDING).items
    assert Path(os.path.join(path_of(store, folder), "messages.jsonl")).read_bytes() == item + b"\n"
    assert item.startswith(b'{"id":"%b"' % message_id.encode())


def test_a_thread_is_modified_by_the_given_fields_only(store):
    folder = a_thread(store)
    before = orjson.loads(folder.read())
    after = orjson.loads(threads.modify_thread(folder, {"metadata": {"a": "b"}}))
    assert after == {**before, "metadata": {"a": "b"}} == orjson.loads(folder.read())


def test_threads_of_one_project_are_not_found_in_another(store):
    folder = a_thread(store, "secret")
    store.create_project("other")
    elsewhere = store.thread("other", folder.thread_id)
    for act in (elsewhere.read, elsewhere.require, lambda: elsewhere.page_messages(ASCENDING), lambda: say(elsewhere)):
        with pytest.raises(NotFound):
            act()


def test_nobody_else_on_the_machine_may_read_the_data(store, tmp_path):
    folder = a_thread(store, "secret")
    answer(claimed(store, a_run(store, folder)), "secret")
    for path in (tmp_path / "data").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_message_is_modified_beside_the_log_and_deleted_without_losing_its_line(store):
    folder = a_thread(store, "one", "two")
    log = os.path.join(path_of(store, folder), "messages.jsonl")
    lines = Path(log).read_bytes()
    first, second = listed(folder.page_messages(ASCENDING).items)
    modified = orjson.loads(threads.modify_message(folder, first, {"metadata": {"seen": "yes"}}))
    assert modified["metadata"] == {"seen": "yes"}
    assert orjson.loads(folder.read_message(first)) == modified == orjson.loads(folder.page_messages(ASCENDING).items[0][1])
    check("MessageObject", modified)
    again = orjson.loads(threads.modify_message(folder, first, {"metadata": {}}))
    assert again == {**modified, "metadata": {}}
    answer_to_delete = threads.delete_message(folder, second)
    check("DeleteMessageResponse", answer_to_delete)
    assert listed(folder.page_messages(ASCENDING).items) == [first]
    assert Path(log).read_bytes() == lines


def test_a_deleted_message_is_gone_for_everyone(store):
    folder = a_thread(store, "one")
    (message_id,) = listed(folder.page_messages(ASCENDING).items)
    threads.delete_message(folder, message_id)
    for act in (
        lambda: folder.read_message(message_id),
        lambda: threads.delete_message(folder, message_id),
        lambda: threads.modify_message(folder, message_id, {"metadata": {}}),
    ):
        with pytest.raises(NotFound) as missing:
            act()
        assert missing.value.noun == "message"
    assert next(folder.messages.newest_first(), None) is None
    assert list(folder.messages.newest_first()) == []


def test_a_message_whose_text_looks_like_a_deletion_is_not_deleted(store):
    folder = a_thread(store, '"object":"thread.message.deleted"')
    (message_id,) = listed(folder.page_messages(ASCENDING).items)
    threads.modify_message(folder, message_id, {"metadata": {'"object":"thread.message.deleted"': "x"}})
    assert listed(folder.page_messages(ASCENDING).items) == [message_id]


def test_a_message_of_another_thread_is_not_found(store):
    here, there = a_thread(store, "one"), a_thread(store, "two")
    (message_id,) = listed(there.page_messages(ASCENDING).items)
    with pytest.raises(NotFound, match="No message found"):
        here.read_message(message_id)
    with pytest.raises(NotFound, match="No thread found"):
        store.thread(PROJECT, ids.new_id("thread")).read_message(message_id)


def test_the_message_that_a_run_is_writing_is_shown_as_far_as_it_has_come(store):
    folder = a_thread(store, "Hi")
    claim = claimed(store, a_run(store, folder))
    (asked,) = listed(folder.page_messages(ASCENDING).items)
    claim.begin_message()
    seen = orjson.loads(folder.page_messages(ASCENDING).items[-1][1])
    assert (seen["status"], seen["content"]) == ("in_progress", [])
    claim.add_text("Hel")
    claim.add_text("lo")
    seen = orjson.loads(folder.page_messages(ASCENDING).items[-1][1])
    check("MessageObject", seen)
    assert (seen["status"], seen["content"][0]["text"]["value"], seen["run_id"]) == ("in_progress", "Hello", claim.run["id"])
    assert orjson.loads(folder.read_message(seen["id"])) == seen
    writing = seen["id"]
    assert listed(folder.page_messages(PageQuery(limit=1)).items) == [writing]
    assert listed(folder.page_messages(PageQuery(after=writing)).items) == [asked]
    assert listed(folder.page_messages(PageQuery(order="asc", before=writing)).items) == [asked]
    assert listed(folder.page_messages(PageQuery(order="asc", after=asked)).items) == [writing]
    assert listed(folder.page_messages(PageQuery(order="asc", after=writing)).items) == []
    assert folder.page_messages(PageQuery(limit=1, order="asc")).has_more
    assert listed(folder.page_messages(PageQuery(), claim.run["id"]).items) == [writing]
    for refused in (lambda: threads.modify_message(folder, writing, {"metadata": {}}), lambda: threads.delete_message(folder, writing)):
        with pytest.raises(NotFound):
            refused()
    claim.finish(USAGE, None)
    assert listed(folder.page_messages(ASCENDING).items) == [asked, writing]
    assert orjson.loads(folder.read_message(writing))["status"] == "completed"


def test_messages_are_modified_and_deleted_also_while_a_run_is_active(store):
    folder = a_thread(store, "one", "two")
    first, second = listed(folder.page_messages(ASCENDING).items)
    a_run(store, folder)
    threads.modify_message(folder, first, {"metadata": {"a": "b"}})
    threads.delete_message(folder, second)
    assert listed(folder.page_messages(ASCENDING).items) == [first]


def test_a_thread_with_an_active_run_takes_no_message(store):
    folder = a_thread(store, "one")
    run = a_run(store, folder)
    with pytest.raises(ThreadBusy) as busy:
        say(folder)
    assert busy.value.message == f"Can't add messages to {folder.thread_id} while a run {run['id']} is active."
    assert texts(folder) == ["one"]
    answer(claimed(store, run), "two")
    say(folder, "three")
    assert texts(folder) == ["one", "two", "three"]


@pytest.mark.parametrize("step", [0, -1, -1_000_000, -(10**12)])
def test_a_clock_that_stands_still_or_steps_back_breaks_no_order(store, monkeypatch, step):
    ticks = itertools.count(1_800_000_000_000_000, step)
    monkeypatch.setattr(clock, "microseconds", lambda: next(ticks))
    folder = a_thread(store, "0", "1", "2")
    for number in range(3, 8):
        say(folder, str(number))
    for number in (8, 9):
        run = a_run(store, folder, additional_messages=[{"role": "user", "content": f"ask {number}"}])
        before = listed(folder.page_messages(ASCENDING).items)[-2:]
        answer(claimed(store, run), f"answer {number}")
        made = [ids.stamp_of(one) for one in (*before, run["id"], *listed(folder.page_steps(run["id"], ASCENDING).items))]
        assert made == sorted(set(made)), "a run is later than what it answers"
        say(folder, str(number))
    stamps = [ids.stamp_of(one) for one in listed(folder.page_messages(ASCENDING).items)]
    assert stamps == sorted(set(stamps)), "strictly increasing"
    assert texts(folder) == [*"01234567", "ask 8", "answer 8", "8", "ask 9", "answer 9", "9"]
    assert all(folder.messages.get(one) for one in listed(folder.page_messages(ASCENDING).items))


# --- there whole or not at all -------------------------------------------------------------------------------------------------------


def test_what_a_crash_left_behind_is_swept_when_it_is_old(store):
    store._disk.make_directory(building := store._disk.temporary_path())
    store._disk.touch(os.path.join(building, "meta.json"))
    store._disk.touch(store._disk.temporary_path())
    left = [os.path.join(store._layout.temporary, name) for name in os.listdir(store._layout.temporary)]
    assert left
    store.sweep()
    assert all(map(os.path.exists, left)), "somebody may be working there"
    for path in left:
        os.utime(path, (time.time() - 4000,) * 2)
    store.sweep()
    assert not any(map(os.path.exists, left))


def test_a_folder_that_is_being_swept_does_not_come_into_place(store, monkeypatch):
    """Who builds it and who sweeps it away may go on at the same moment, when the machine was asleep for hours."""
    place = store._layout.thread(PROJECT, ids.new_id("thread")).folder
    store._disk.make_directory(building := store._disk.temporary_path())
    store._disk.touch(os.path.join(building, "meta.json"))
    os.utime(building, (0, 0))
    real = os.unlink

    def unlink(*arguments, **named) -> None:
        with contextlib.suppress(FileNotFoundError):
            store._disk.rename(building, place)
        real(*arguments, **named)

    monkeypatch.setattr(os, "unlink", unlink)
    store.sweep()
    assert not os.path.exists(place), "told to be there, and emptied"
    assert files_below(Path(store._layout.temporary)) == files_below(Path(store._layout.trash)) == {}


@pytest.mark.parametrize("writes", range(3))
def test_a_full_disk_leaves_nothing_of_a_new_thread_to_be_seen(store, monkeypatch, writes):
    real, calls = os.write, itertools.count()

    def write(fd: int, content: bytes) -> int:
        if next(calls) < writes:
            return real(fd, content)
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", write)
    if writes < 2:
        with pytest.raises(StoreFull):
            a_thread(store, "x")
        assert os.listdir(store._layout.threads(PROJECT)) == []
        assert os.listdir(store._layout.temporary) == [], "a full disk needs the space"
    else:
        a_thread(store, "x")


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EACCES, StoreUnavailable), (errno.EMFILE, StoreUnavailable)],
)
def test_an_error_of_the_disk_is_never_taken_for_something_that_is_not_there(store, monkeypatch, number, kind):
    folder = a_thread(store, "x")
    run = a_run(store, folder)

    def refuse(*args: object) -> int:
        raise OSError(number, os.strerror(number), "some file")

    monkeypatch.setattr(os, "open", refuse)
    for act in (
        folder.read,
        lambda: folder.read_run(run["id"]),
        lambda: folder.page_messages(ASCENDING),
        lambda: say(folder),
        lambda: a_thread(store),
    ):
        with pytest.raises(kind):
            act()


def test_a_write_that_fails_leaves_the_old_thread_and_no_litter(store, tmp_path, monkeypatch):
    folder = a_thread(store, "x")
    before = files_below(tmp_path)

    def full(fd: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreFull):
        threads.modify_thread(folder, {"metadata": {"a": "b"}})
    with pytest.raises(StoreFull):
        say(folder)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\0\0\0"])
def test_a_record_that_is_broken_is_reported_as_such(store, content):
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    with open(os.path.join(path_of(store, folder), "runs", run["id"], "status.json"), "wb") as file:
        file.write(content)
    with pytest.raises(CorruptRecord, match=r"status\.json"):
        folder.load_run(run["id"])


@pytest.mark.parametrize("changes", [{"id": "run_x"}, {"thread_id": "thread_x"}, {"status": None}, {"status": "lost"}, {"status": []}])
def test_a_run_of_another_form_or_place_is_not_taken_for_this_one(store, changes):
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    path = Path(path_of(store, folder), "runs", run["id"], "status.json")
    path.write_bytes(orjson.dumps({**run, **changes}))
    for act in (lambda: folder.load_run(run["id"]), lambda: folder.page_runs(PageQuery()), lambda: say(folder)):
        with pytest.raises(CorruptRecord, match=r"status\.json: `(id|thread_id|status)` is not"):
            act()


@pytest.mark.parametrize("changes", [{"id": "step_x"}, {"run_id": "run_x"}, {"type": None}, {"status": "lost"}, {"step_details": {}}])
def test_a_step_of_another_form_or_run_is_not_taken_for_this_one(store, changes):
    folder = a_thread(store, "x")
    run = waiting_run(store, folder)
    (step,) = folder.load_steps(run["id"])
    Path(path_of(store, folder), "runs", run["id"], "steps", f"{step['id']}.json").write_bytes(orjson.dumps({**step, **changes}))
    with pytest.raises(CorruptRecord, match=step["id"]):
        folder.page_steps(run["id"], PageQuery())


@pytest.mark.parametrize("line", [b"{}", b'{"id":1}', b'{"role":"user","id":"msg_x"}'])
def test_what_the_log_could_not_be_read_with_does_not_get_there_with_a_run(store, line):
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    path = Path(path_of(store, folder), "runs", run["id"], "additional_messages.jsonl")
    path.write_bytes(line)
    with folder.locked() as thread, pytest.raises(CorruptRecord, match=path.name):
        thread.settle_messages(run["id"])
    assert len(folder.page_messages(PageQuery()).items) == 1


# --- deleting ------------------------------------------------------------------------------------------------------------------------


def test_a_deleted_thread_is_gone_with_all_that_was_in_it(store):
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    answer(claimed(store, run), "y")
    check("DeleteThreadResponse", threads.delete_thread(store, folder))
    for act in (
        folder.read,
        lambda: folder.page_messages(PageQuery()),
        lambda: folder.read_run(run["id"]),
        lambda: say(folder),
        lambda: threads.modify_thread(folder, {}),
        lambda: threads.delete_thread(store, folder),
    ):
        with pytest.raises(NotFound, match=f"No thread found with id '{folder.thread_id}'"):
            act()
    assert os.listdir(store._layout.trash)
    store.sweep()
    assert not os.listdir(store._layout.trash)


@pytest.mark.parametrize("state", ["queued", "in_progress", "writing"])
def test_deleting_a_thread_cancels_its_run(store, state):
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    claim = claimed(store, run) if state != "queued" else None
    if state == "writing":
        claim.begin_message()
    reader = folder.events(run["id"]).reader()
    threads.delete_thread(store, folder)
    assert reader.read(0).rpartition(b"event: ")[2].startswith(b"thread.run.cancelled\n"), "who follows the run is told"
    assert store.queue.active() == []
    store.sweep()
    assert not os.listdir(store._layout.trash)
    if claim is not None:
        assert not claim.is_wanted()


def test_who_waits_for_the_lock_of_a_thread_that_is_deleted_meanwhile_is_told_so(store):
    folder = a_thread(store, "x")
    found: list[BaseException] = []

    def wait() -> None:
        try:
            say(folder)
        except BaseException as error:
            found.append(error)

    waiter = threading.Thread(target=wait)
    with folder.locked() as thread:
        waiter.start()
        wait_until_refused(waiter)
        store.delete_thread(thread)
    waiter.join(10)
    assert [type(error) for error in found] == [NotFound]


def test_a_lock_counts_only_on_what_its_path_leads_to(tmp_path):
    """Who waited for a lock on something that was replaced meanwhile waits for its successor."""
    path = tmp_path / "thing"
    path.mkdir()
    locked: list[int] = []
    before = os.listdir("/proc/self/fd")

    def wait() -> None:
        with locks.exclusive(str(path)) as fd:
            locked.append(os.fstat(fd).st_ino)

    waiter = threading.Thread(target=wait)
    with locks.exclusive(str(path)):
        waiter.start()
        wait_until_refused(waiter)
        path.rename(tmp_path / "old")
        path.mkdir()
    waiter.join(10)
    assert locked == [path.stat().st_ino]
    assert os.listdir("/proc/self/fd") == before, "a lock taken in vain is let go"


def wait_until_refused(waiter: threading.Thread) -> None:
    """Until the thread is in the loop that waits for a lock."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        frame = sys._current_frames().get(waiter.ident)
        while frame is not None:
            if frame.f_code.co_name == "_wait_for":
                return
            frame = frame.f_back
    raise AssertionError("it never waited")


def test_a_lock_that_nobody_gives_back_is_reported_and_not_waited_for_for_ever(store, monkeypatch):
    folder = a_thread(store, "x")
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.05)
    with folder.locked(), pytest.raises(StoreUnavailable, match="locked by another process"):
        say(folder)


def test_a_lock_goes_when_its_holder_is_killed(store):
    folder = a_thread(store, "x")

    def hold() -> None:
        folder.locked().__enter__()

    Child(hold).finish()
    say(folder, "y")
    assert texts(folder) == ["x", "y"]


# --- the data directory --------------------------------------------------------------------------------------------------------------


def test_a_data_directory_is_opened_again_as_it_is(store, tmp_path):
    folder = a_thread(store, "x")
    before = files_below(tmp_path)
    again = open_store(tmp_path)
    assert files_below(tmp_path) == before
    assert texts(again.thread(PROJECT, folder.thread_id)) == ["x"]


def test_a_data_directory_of_a_later_version_is_refused(store, tmp_path):
    (tmp_path / "data" / "format.json").write_bytes(b'{"format":2}')
    with pytest.raises(StoreUnavailable, match="written by a later version of oxillama"):
        open_store(tmp_path)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(file_system, "_kind_of", lambda path: kind)
    with pytest.raises(StoreUnavailable, match=f"network file system \\({kind}\\)"):
        open_store(tmp_path)


def test_the_kind_of_a_file_system_is_that_of_the_nearest_mount():
    assert file_system._kind_of("/proc/self") == "proc"


def test_a_data_directory_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises((StoreError, OSError)):
        Store.open(tmp_path / "file" / "data")


def test_whether_something_can_be_written(store, tmp_path, monkeypatch):
    before = files_below(tmp_path)
    store.check_writable()
    assert files_below(tmp_path) == before

    def refuse(*args: object) -> int:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreUnavailable):
        store.check_writable()


def test_a_runner_is_alive_for_as_long_as_its_process(store):
    runner = join(store)
    assert store.queue.is_alive(runner) and store.queue.runners() == [runner]
    Child(lambda: join(store, "other")).finish()
    assert not store.queue.is_alive("other") and not store.queue.is_alive(None) and not store.queue.is_alive("never was")
    assert store.queue.runners() == [runner]
    assert os.listdir(store._layout.runners) == [runner], "the dead are removed"


def test_events_of_a_run_can_be_followed_from_any_frame(store):
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    answer(claimed(store, run), "one", "two")
    log = folder.events(run["id"])
    whole, reader = log.read_all(), log.reader()
    assert reader.read(0) == whole and len(whole) == log.end()
    ends = [0] + [number + 2 for number in range(len(whole)) if whole[number : number + 2] == b"\n\n"]
    assert len(ends) == len(events(folder, run["id"])) + 1
    for position in range(len(whole) + 2):
        assert reader.is_position(position) == (position in ends), position
    for position in ends:
        assert reader.read(position) == whole[position:]
    reader.close()
