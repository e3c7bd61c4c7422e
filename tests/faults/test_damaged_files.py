"""A file that is not what it should be is an error that names it in the log: never a 404, and never a shorter list."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from oxillama import ids
from oxillama.errors import CorruptRecord
from oxillama.lifecycle import runs
from oxillama.lifecycle.recovery import recover
from oxillama.objects.page import PageQuery
from oxillama.store import Store
from oxillama.store.disk import Disk
from oxillama.store.event_log import EventLog
from tests.builders import PROJECT, a_run, a_thread, an_assistant, answer, claimed, event_names, join, open_store, say, waiting_run
from tests.process_control import Server, wait_until
from tests.raw_http import Http

SPOILT = {
    "empty": lambda content: b"",
    "zeros": lambda content: b"\0" * len(content),
    "cut": lambda content: content[: len(content) // 2],
    "a byte of it": lambda content: content[:-9] + b"\0" + content[-8:],
    "a list": lambda content: b"[]",
    "that of another": lambda content: content.replace(b'"id":"', b'"id":"x', 1),
}


OF_ANOTHER = b'{"run_id":"run_x","project":"default","thread_id":"thread_x","expires_at":1}'


@pytest.fixture
def folder_of(server: Server) -> Callable[[str], Path]:
    return lambda thread_id: server.data_dir / "projects" / "default" / "threads" / thread_id


def refused(http: Http, server: Server, url: str, path: Path) -> None:
    answer = http.get(url)
    assert answer.status == 500, url
    assert answer.json["error"]["type"] == "server_error"
    assert "damaged" in answer.json["error"]["message"]
    wait_until(lambda: str(path) in server.log(), 10, f"the log names {path}")


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_file_is_a_500_wherever_it_is_read(http: Http, server: Server, folder_of, spoil):
    assistant = http.post("/v1/assistants", {"model": "local"}).json["id"]
    thread = http.post("/v1/threads", {"messages": [{"role": "user", "content": "Hi"}]}).json["id"]
    url = f"/v1/threads/{thread}"
    run = http.post(f"{url}/runs", {"assistant_id": assistant}).json["id"]
    wait_until(lambda: http.get(f"{url}/runs/{run}").json["status"] == "completed", 20, "the run ends")
    message = http.get(f"{url}/messages").json["data"][0]["id"]
    http.post(f"{url}/messages/{message}", {"metadata": {"a": "b"}})
    step = http.get(f"{url}/runs/{run}/steps").json["data"][0]["id"]
    folder = folder_of(thread)
    files = {
        folder.parent.parent / "assistants" / f"{assistant}.json": [f"/v1/assistants/{assistant}", "/v1/assistants?limit=100"],
        folder / "meta.json": [url],
        folder / "messages" / f"{message}.json": [f"{url}/messages/{message}", f"{url}/messages"],
        folder / "runs" / run / "status.json": [f"{url}/runs/{run}", f"{url}/runs"],
        folder / "runs" / run / "steps" / f"{step}.json": [f"{url}/runs/{run}/steps/{step}", f"{url}/runs/{run}/steps"],
    }
    for path, urls in files.items():
        whole = path.read_bytes()
        path.write_bytes(spoil(whole))
        for one in urls:
            refused(http, server, one, path)
        path.write_bytes(whole)
        assert {http.get(one).status for one in urls} == {200}


def test_a_spoilt_line_in_the_middle_of_the_messages_is_not_passed_over(http: Http, server: Server, folder_of):
    thread = http.post("/v1/threads", {"messages": [{"role": "user", "content": text} for text in "abc"]}).json["id"]
    url = f"/v1/threads/{thread}/messages"
    first, second, third = [one["id"] for one in http.get(f"{url}?order=asc").json["data"]]
    log = folder_of(thread) / "messages.jsonl"
    whole = log.read_bytes()
    for place, spoilt in (("id", whole.replace(second.encode(), b"\0" * len(second))), ("text", whole.replace(b'"b"', b'"\0"'))):
        log.write_bytes(spoilt)
        refused(http, server, url, log)
        refused(http, server, f"{url}/{second}", log)
        assert http.get(f"{url}/{first}").status == 200 == http.get(f"{url}/{third}").status, place
        # What can be said without that line is said, and what is added is not lost.
        added = http.post(url, {"role": "user", "content": "d"}).json["id"]
        assert http.get(f"{url}/{added}").status == 200
    log.write_bytes(whole)
    assert len(http.get(url).json["data"]) == 3


def test_a_torn_last_line_is_mended_as_ever(http: Http, folder_of):
    thread = http.post("/v1/threads", {"messages": [{"role": "user", "content": "a"}]}).json["id"]
    url = f"/v1/threads/{thread}/messages"
    with (folder_of(thread) / "messages.jsonl").open("ab") as log:
        log.write(b'{"id":"msg_')
    assert len(http.get(url).json["data"]) == 1
    assert http.post(url, {"role": "user", "content": "b"}).status == 200
    assert len(http.get(url).json["data"]) == 2


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\0\0", b'{"run_id":1,"project":null,"thread_id":[],"expires_at":"x"}', OF_ANOTHER]
)
def test_a_spoilt_entry_of_the_queue_stops_nobody_else(http: Http, server: Server, content: bytes):
    stranger = ids.new_id("run", 1)
    entry, marker = (server.data_dir / "queue" / folder / stranger for folder in ("active", "waiting"))
    entry.write_bytes(content)
    marker.touch()
    assistant = http.post("/v1/assistants", {"model": "local"}).json["id"]
    thread = http.post("/v1/threads", {"messages": [{"role": "user", "content": "Hi"}]}).json["id"]
    run = http.post(f"/v1/threads/{thread}/runs", {"assistant_id": assistant}).json["id"]
    wait_until(lambda: http.get(f"/v1/threads/{thread}/runs/{run}").json["status"] == "completed", 20, "the run ends")
    wait_until(lambda: f"{entry}: " in server.log(), 10, "the log names the entry")
    entry.unlink()


def test_a_run_on_a_thread_with_a_spoilt_message_fails_and_frees_the_thread(http: Http, server: Server, folder_of):
    assistant = http.post("/v1/assistants", {"model": "local", "instructions": "Be brief."}).json["id"]
    thread = http.post("/v1/threads", {"messages": [{"role": "user", "content": text} for text in "abc"]}).json["id"]
    log = folder_of(thread) / "messages.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"b"', b'"\0"'))
    run = http.post(f"/v1/threads/{thread}/runs", {"assistant_id": assistant}).json["id"]
    wait_until(lambda: http.get(f"/v1/threads/{thread}/runs/{run}").json["status"] == "failed", 20, "the run fails")
    assert http.post(f"/v1/threads/{thread}/messages", {"role": "user", "content": "d"}).status == 200
    wait_until(lambda: str(log) in server.log(), 10, "the log names the file")


def test_an_event_log_that_is_spoilt_is_named(tmp_path: Path):
    store: Store = open_store(tmp_path)
    folder = a_thread(store, "Hi")
    claim = claimed(store, run := a_run(store, folder))
    claim.begin_message()
    claim.add_text("Hello")
    path = Path(folder.events(run["id"]).path)
    path.write_bytes(path.read_bytes().replace(b'"delta"', b'"\0elta"'))
    with pytest.raises(CorruptRecord, match=r"events\.sse"):
        folder.page_messages(PageQuery())
    claim.close()


def test_a_sync_that_failed_is_followed_by_a_look_at_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What memory holds behind a failed sync is not to be relied upon, and the device will not complain twice."""
    dropped = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: (_ for _ in ()).throw(OSError(5, "the device has gone")))
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, start, length, advice: dropped.append((os.readlink(f"/proc/self/fd/{fd}"), advice)))
    disk = Disk(str(tmp_path), durable=True)
    fd = disk.open(str(tmp_path / "log"), os.O_WRONLY | os.O_CREAT)
    with pytest.raises(Exception, match="the device has gone"):
        disk.sync(fd)
    os.close(fd)
    assert dropped == [(str(tmp_path / "log"), os.POSIX_FADV_DONTNEED)]


def test_errors_leave_no_descriptor_open(tmp_path: Path):
    store = open_store(tmp_path, durable=True)
    folder = a_thread(store, "a", "b", "c")
    run = waiting_run(store, folder)
    assistant = an_assistant()
    store.assistants.insert(PROJECT, assistant)
    log = Path(folder._layout.messages)
    log.write_bytes(log.read_bytes().replace(b'"b"', b'"\0"'))
    Path(folder._layout.run(run["id"]).status).write_bytes(b"{")
    join(store)
    before = len(os.listdir("/proc/self/fd"))
    for act in (
        lambda: folder.page_messages(PageQuery()),
        lambda: folder.load_run(run["id"]),
        lambda: runs.cancel_run(store, folder, run["id"]),
        lambda: say(folder),
    ):
        with pytest.raises(CorruptRecord):
            act()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_run_whose_end_cannot_be_told_is_over_all_the_same_and_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = open_store(tmp_path)
    folder = a_thread(store, "Hi")
    claim = claimed(store, run := a_run(store, folder))

    def full(log: EventLog, frames: bytes) -> int:
        raise CorruptRecord(log.path, "cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", full)
        answer(claim, "Hello")
    assert folder.load_run(run["id"])["status"] == "completed"
    entry = store.queue.load(run["id"])
    assert entry is not None
    recover(store, entry, abandoned=True)
    assert event_names(folder, run["id"])[-1] == "run.completed"
    assert orjson.loads(folder.read_run(run["id"]))["status"] == "completed"
    assert store.queue.active() == []
