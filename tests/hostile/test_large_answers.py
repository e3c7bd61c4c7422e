"""Large answers, to clients that take them slowly or not at all: each holds a piece, and what is read is what was stored."""

from __future__ import annotations

import contextlib
import socket
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from oxillama.objects.page import MAX_HELD_BYTES
from oxillama.objects.stream_event import frame
from oxillama.store import Store
from tests.builders import a_run, a_thread, an_assistant, answer, claimed, open_store, say
from tests.memory_of import peak_of, taken
from tests.process_control import Web, wait_until
from tests.raw_http import Http

MB = 1 << 20
LARGE = "x" * (79 * MB // 10)


class QuietWeb(Web):
    """Web without an engine, on a directory that a test has filled."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir=data_dir / "data", engine_url="http://127.0.0.1:9/v1")


def serving(web: Web) -> Web:
    """The same, once it answers; without a runner it does not call itself healthy."""

    def answers() -> bool:
        with contextlib.suppress(ConnectionError):
            return Http(web.port).get("/v1/assistants?limit=1").status in (200, 500)
        return False

    wait_until(answers, 30, "it answers")
    return web


def large_assistants(store: Store, count: int) -> None:
    for number in range(count):
        store.assistants.insert("default", an_assistant(name=str(number), instructions=LARGE))


def unread(stack: ExitStack, web: Web, path: str) -> socket.socket:
    """A connection on which an answer has begun, of which nothing more is read."""
    connection = stack.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", web.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nOpenAI-Beta: assistants=v2\r\n\r\n".encode())
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def test_slow_readers_of_large_pages_hold_a_piece_each(tmp_path: Path):
    large_assistants(open_store(tmp_path), 25)
    with QuietWeb(tmp_path) as web, ExitStack() as stack:
        http = Http(serving(web).port)
        assert len(http.get("/v1/assistants?limit=2").json["data"]) == 2
        alone = taken(web)
        with peak_of(web) as peak:
            for _ in range(16):
                unread(stack, web, "/v1/assistants?limit=100")
            assert http.get("/v1/assistants?limit=1").status == 200
        assert peak() < 400 * MB and peak() - alone < 200 * MB, (alone // MB, peak() // MB)


def test_a_page_of_15_mb_takes_less_than_150(tmp_path: Path):
    store = open_store(tmp_path)
    folder = a_thread(store)
    for _ in range(60):
        say(folder, "y" * 256_000)
    with QuietWeb(tmp_path) as web:
        http = Http(serving(web).port)
        with peak_of(web, 0.01) as peak:
            page = http.get(f"/v1/threads/{folder.thread_id}/messages?limit=100")
        assert len(page.body) > 15_000_000 and len(page.json["data"]) == 60
        assert peak() < 150 * MB, peak() // MB


def test_slow_readers_of_a_long_event_log_hold_a_piece_each(tmp_path: Path):
    store = open_store(tmp_path)
    folder = a_thread(store, "Hi")
    run = a_run(store, folder)
    answer(claimed(store, run), *["word " * 2000] * 3000)
    assert folder.events(run["id"]).end() > 30 * MB
    with QuietWeb(tmp_path) as web, ExitStack() as stack:
        serving(web)
        with peak_of(web) as peak:
            for _ in range(20):
                unread(stack, web, f"/v1/threads/{folder.thread_id}/runs/{run['id']}/events")
        assert peak() < 400 * MB, peak() // MB


@pytest.mark.parametrize("noun", ["assistants", "runs", "messages", "overlaid messages"])
def test_large_objects_are_what_was_stored_alone_and_in_a_page(http, noun):
    """Also with small ones before and behind them, and on a connection that goes on."""
    big = 'ü\\"' * 100_000
    assistant = http.post("/v1/assistants", {"model": "m", "instructions": big[:250_000]}).json
    thread = http.post("/v1/threads", {"messages": [{"role": "user", "content": "Hi"}]}).json["id"]
    if noun == "assistants":
        objects, path = [assistant, http.post("/v1/assistants", {"model": "m"}).json], "/v1/assistants"
    elif noun == "runs":
        parameters = {"type": "object", "properties": {f"p{number}": {"type": "string", "description": "d" * 100} for number in range(900)}}
        tools = [{"type": "function", "function": {"name": f"f{number}", "parameters": parameters}} for number in range(8)]
        asked = {"assistant_id": assistant["id"], "tools": tools}
        run = http.post(f"/v1/threads/{thread}/runs", asked).json
        path = f"/v1/threads/{thread}/runs"
        run = wait_until(
            lambda: http.get(f"{path}/{run['id']}").json.get("completed_at") and http.get(f"{path}/{run['id']}").json, 10, "ended"
        )
        objects = [run]
    else:
        path = f"/v1/threads/{thread}/messages"
        objects = [http.post(path, {"role": "user", "content": [{"type": "text", "text": big[:250_000]}] * 4}).json for _ in range(3)]
        if noun.startswith("overlaid"):
            objects[1] = http.post(f"{path}/{objects[1]['id']}", {"metadata": {"a": "b"}}).json
    for one in objects:
        assert http.get(f"{path}/{one['id']}").json == one
    assert len(orjson.dumps(objects)) > MAX_HELD_BYTES
    listed = {one["id"]: one for one in http.get(f"{path}?limit=100").json["data"]}
    assert [listed[one["id"]] for one in objects] == objects
    if noun == "assistants":
        for one in objects:
            http.delete(f"{path}/{one['id']}")


def test_a_large_object_that_is_damaged_is_an_error_before_anything_is_sent(tmp_path: Path):
    store = open_store(tmp_path)
    large_assistants(store, 2)
    (damaged,) = sorted((tmp_path / "data/projects/default/assistants").iterdir())[:1]
    content = damaged.read_bytes()
    spoilt = (content[:-3], content[:5000] + b"\xff" + content[5001:], content.replace(b"xxxx", b"xx\0x", 1), content + b"}")
    with QuietWeb(tmp_path) as web:
        http = Http(serving(web).port)
        for content in spoilt:
            damaged.write_bytes(content)
            assert http.get("/v1/assistants?limit=100").status == 500
            assert http.get(f"/v1/assistants/{damaged.stem}").status == 500


def test_events_larger_than_a_piece_leave_whole_with_their_ids(tmp_path: Path):
    store = open_store(tmp_path)
    folder = a_thread(store, "Hi")
    run = a_run(store, folder)
    log = folder.events(run["id"])
    for size in (10, 65_500, 65_536, 65_537, 131_072, 400_000, 10):
        log.append(frame("thread.message.delta", {"text": "z" * size}), synced=False)
    log.append(frame("thread.run.completed", {**run, "status": "completed", "instructions": LARGE[:300_000]}), synced=False)
    with QuietWeb(tmp_path) as web:
        http = Http(serving(web).port)
        path = f"/v1/threads/{folder.thread_id}/runs/{run['id']}/events"
        with http.stream("GET", path) as stream:
            events = list(stream)
        assert events[-1].name == "thread.run.completed" and events[-1].id == str(log.end())
        sizes = [len(event.data["text"]) for event in events if event.name == "thread.message.delta"]
        assert sizes == [10, 65_500, 65_536, 65_537, 131_072, 400_000, 10]
        for index, event in enumerate(events):
            with http.stream("GET", f"{path}?after={event.id}") as stream:
                assert list(stream) == events[index + 1 :]
