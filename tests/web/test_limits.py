"""Limits that protect a server from its own users: what is beyond one is refused before anything is stored."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.builders import files_below
from tests.process_control import Server, wait_until
from tests.raw_http import Http
from tests.scripted_engine import Hang, Reply, ScriptedEngine

MOST_MESSAGES, MOST_RUNS = 5, 3
USER = {"role": "user", "content": "Hi"}
FULL = (413, f"A thread cannot hold more than {MOST_MESSAGES} messages. Create another thread.", "invalid_request_error", None)
FULL_CODE = "thread_message_limit_exceeded"
BUSY = (429, "Too many runs of this project are unfinished. Please try again later.", "requests", None, "rate_limit_exceeded")


class Project(Http):
    """The server, asked with one project's key."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(port)
        self._headers = {"Authorization": f"Bearer sk-{name}"}

    def request(self, method: str, target: str, body: Any = None, headers: Any = None) -> Any:
        return super().request(method, f"/v1{target}", body, {**self._headers, **(headers or {})})

    def assistant(self) -> str:
        return self.post("/assistants", {"model": "scripted-chat", "instructions": "Answer."}).json["id"]

    def thread(self, count: int = 0) -> str:
        return self.post("/threads", {"messages": [USER] * count}).json["id"]

    def messages(self, thread: str) -> list[Any]:
        return self.get(f"/threads/{thread}/messages").json["data"]

    def ended(self, run: Any) -> Any:
        def over() -> Any:
            now = self.get(f"/threads/{run['thread_id']}/runs/{run['id']}").json
            return now["status"] not in ("queued", "in_progress", "cancelling") and now

        return wait_until(over, 20, "the run is over")


@pytest.fixture(scope="module")
def limited(shared_engine: ScriptedEngine) -> Iterator[Server]:
    environ = {
        "OXILLAMA_API_KEYS": "red:sk-red,blue:sk-blue",
        "OXILLAMA_MAX_MESSAGES_PER_THREAD": str(MOST_MESSAGES),
        "OXILLAMA_MAX_QUEUED_RUNS": str(MOST_RUNS),
        "OXILLAMA_MAX_STREAMS": "2",
        "OXILLAMA_RUN_CONCURRENCY": "16",
        "OXILLAMA_DURABILITY": "relaxed",
    }
    with Server(engine_url=shared_engine.url, environ=environ) as server:
        yield server.wait_ready()


@pytest.fixture
def red(limited: Server, engine: ScriptedEngine) -> Project:
    return Project(limited.port, "red")


@pytest.fixture
def blue(limited: Server, engine: ScriptedEngine) -> Project:
    return Project(limited.port, "blue")


def threads_of(server: Server) -> dict[str, bytes]:
    return files_below(server.data_dir / "projects")


@pytest.mark.parametrize("path", ["/threads", "/threads/runs"])
def test_a_thread_begins_with_as_many_messages_as_it_may_hold(limited: Server, red: Project, path: str):
    assistant = red.assistant()

    def create(count: int) -> Any:
        messages = {"messages": [USER] * count}
        return red.post(path, messages if path == "/threads" else {"assistant_id": assistant, "thread": messages})

    before = threads_of(limited)
    assert create(MOST_MESSAGES + 1).error == (*FULL, FULL_CODE)
    assert threads_of(limited) == before
    created = create(MOST_MESSAGES)
    assert created.status == 200
    if path == "/threads/runs":
        red.ended(created.json)


def test_a_full_thread_takes_no_message_and_no_deletion_makes_room(limited: Server, red: Project):
    thread = red.thread(MOST_MESSAGES - 1)
    last = red.post(f"/threads/{thread}/messages", USER)
    assert last.status == 200
    before = threads_of(limited)
    for _ in range(4):
        assert red.post(f"/threads/{thread}/messages", USER).error == (*FULL, FULL_CODE)
    assert threads_of(limited) == before
    assert red.request("DELETE", f"/threads/{thread}/messages/{last.json['id']}").status == 200
    assert red.post(f"/threads/{thread}/messages", USER).error == (*FULL, FULL_CODE)
    assert red.post(f"/threads/{thread}/messages/{red.messages(thread)[0]['id']}", {"metadata": {"a": "b"}}).status == 200


def test_additional_messages_come_with_their_run_or_not_at_all(limited: Server, red: Project):
    assistant, thread = red.assistant(), red.thread(MOST_MESSAGES - 1)
    before = threads_of(limited)
    body = {"assistant_id": assistant, "additional_messages": [USER, USER]}
    assert red.post(f"/threads/{thread}/runs", body).error == (*FULL, FULL_CODE)
    assert threads_of(limited) == before
    run = red.post(f"/threads/{thread}/runs", {**body, "additional_messages": [USER]})
    assert red.ended(run.json)["status"] == "completed"


def test_what_a_run_writes_is_always_stored(red: Project, engine: ScriptedEngine):
    engine.script(Reply(["Yes."]), Reply(["Still."]))
    assistant, thread = red.assistant(), red.thread(MOST_MESSAGES)
    for said in ("Yes.", "Still."):
        run = red.post(f"/threads/{thread}/runs", {"assistant_id": assistant})
        assert red.ended(run.json)["status"] == "completed"
        assert red.messages(thread)[0]["content"][0]["text"]["value"] == said
    assert len(red.messages(thread)) == MOST_MESSAGES + 2


def test_callers_at_once_do_not_overfill_a_thread(red: Project):
    thread = red.thread()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: red.post(f"/threads/{thread}/messages", USER).status, range(3 * MOST_MESSAGES)))
    assert sorted(answers) == [200] * MOST_MESSAGES + [413] * 2 * MOST_MESSAGES
    assert len(red.messages(thread)) == MOST_MESSAGES


def test_a_project_with_too_many_unfinished_runs_waits_and_others_do_not(
    limited: Server, red: Project, blue: Project, engine: ScriptedEngine
):
    engine.default = Hang()
    assistant, other = red.assistant(), blue.assistant()
    thread = red.thread(1)
    runs = [red.post("/threads/runs", {"assistant_id": assistant}).json for _ in range(MOST_RUNS)]
    engine.wait_for_requests(MOST_RUNS)
    before = sorted(threads_of(limited))
    for path in ("/threads/runs", f"/threads/{thread}/runs"):
        # More streams than there are places for: none of those refused may keep its own.
        for streamed in (False, True, True, True):
            answer = red.post(path, {"assistant_id": assistant, "stream": streamed, **additional(path)})
            assert answer.error == BUSY
            assert answer.headers["retry-after"] == "5"
    assert sorted(threads_of(limited)) == before, "nothing was created"
    assert len(red.messages(thread)) == 1
    others = [blue.post("/threads/runs", {"assistant_id": other}).json for _ in range(MOST_RUNS)]
    assert blue.post("/threads/runs", {"assistant_id": other}).error == BUSY
    ended = runs.pop()
    assert red.post(f"/threads/{ended['thread_id']}/runs/{ended['id']}/cancel").status == 200
    assert red.ended(ended)["status"] == "cancelled"
    runs.append(red.post(f"/threads/{thread}/runs", {"assistant_id": assistant}).json)
    assert runs[-1]["status"] == "queued"
    engine.default = Reply(["Hello."])
    engine.release()
    for project, one in [*((red, run) for run in runs), *((blue, run) for run in others)]:
        project.ended(one)
    assert red.post("/threads/runs", {"assistant_id": assistant}).status == 200


def additional(path: str) -> dict[str, Any]:
    return {} if path == "/threads/runs" else {"additional_messages": [USER]}
