"""A busy thread: refused at once as the hosted API did it, or, where `OXILLAMA_BUSY_WAIT_SECONDS` says so, after some patience."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import openai
import pytest

from oxillama.errors import SettingsInvalid
from oxillama.settings import read
from oxillama.web.error_handlers import TABLE
from tests.process_control import Server, wait_until
from tests.scripted_engine import Call, Reply, ScriptedEngine

PATIENCE_SECONDS = 20
LITTLE_PATIENCE_SECONDS = 0.5
FUNCTION: Any = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture(scope="module")
def patient(engine: ScriptedEngine) -> Iterator[Server]:
    """Two workers, so that who waits and who frees the thread need not be in one process."""
    with Server(engine_url=engine.url, workers=2, environ={"OXILLAMA_BUSY_WAIT_SECONDS": str(PATIENCE_SECONDS)}) as server:
        yield server.wait_ready()


@pytest.fixture(scope="module")
def strict(engine: ScriptedEngine) -> Iterator[Server]:
    """Does not wait."""
    with Server(engine_url=engine.url, workers=2) as server:
        yield server.wait_ready()


@pytest.fixture(scope="module")
def hurried(engine: ScriptedEngine) -> Iterator[Server]:
    """Waits for a moment only."""
    with Server(engine_url=engine.url, workers=1, environ={"OXILLAMA_BUSY_WAIT_SECONDS": str(LITTLE_PATIENCE_SECONDS)}) as server:
        yield server.wait_ready()


@pytest.fixture(scope="module")
def narrow(engine: ScriptedEngine) -> Iterator[Server]:
    """Has room for one that waits."""
    environ = {"OXILLAMA_BUSY_WAIT_SECONDS": str(PATIENCE_SECONDS), "OXILLAMA_MAX_STREAMS": "1"}
    with Server(engine_url=engine.url, workers=1, environ=environ) as server:
        yield server.wait_ready()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def client_of(server: Server) -> Any:
    return openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0)


def busy_thread(client: Any, engine: ScriptedEngine, reply: Reply) -> tuple[Any, Any]:
    """A thread with a run that the engine is working on, and its assistant's id."""
    before = len(engine.requests)
    engine.script(reply)
    assistant = client.beta.assistants.create(model="scripted-chat", instructions="Answer.", tools=[FUNCTION])
    run = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "one"}]})
    engine.wait_for_requests(before + 1)
    return run, assistant.id


def held() -> tuple[Reply, threading.Event]:
    """An answer that ends when the event is set."""
    gate = threading.Event()
    return Reply(["text"], gates={0: gate}), gate


def texts(client: Any, thread_id: str) -> list[str]:
    return [message.content[0].text.value for message in client.beta.threads.messages.list(thread_id, order="asc")]


def waits(call: Future[Any], client: Any, run: Any) -> None:
    """The call is under way, and the run keeps it waiting: other requests are answered meanwhile."""
    for _ in range(5):
        assert client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "in_progress"
    assert not call.done()


def test_a_message_waits_for_the_run_to_end(patient: Server, engine: ScriptedEngine, pool: ThreadPoolExecutor):
    reply, gate = held()
    with client_of(patient) as client:
        run, _ = busy_thread(client, engine, reply)
        call = pool.submit(client.beta.threads.messages.create, run.thread_id, role="user", content="two")
        waits(call, client, run)
        gate.set()
        wait_until(lambda: client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "completed", 10, "the run ends")
        ended = time.monotonic()
        assert call.result(timeout=10).content[0].text.value == "two"
        assert time.monotonic() - ended < PATIENCE_SECONDS / 2
        assert texts(client, run.thread_id) == ["one", "text", "two"]


def test_runs_wait_for_each_other(patient: Server, engine: ScriptedEngine, pool: ThreadPoolExecutor):
    reply, gate = held()
    with client_of(patient) as client:
        run, assistant_id = busy_thread(client, engine, reply)
        engine.script(Reply(["second"]), Reply(["third"]))
        runs = client.beta.threads.runs
        plain = pool.submit(runs.create_and_poll, thread_id=run.thread_id, assistant_id=assistant_id)
        waits(plain, client, run)

        def streamed() -> list[str]:
            with runs.stream(thread_id=run.thread_id, assistant_id=assistant_id) as stream:
                return [event.event for event in stream]

        stream = pool.submit(streamed)
        gate.set()
        assert plain.result(timeout=15).status == "completed"
        assert stream.result(timeout=15)[-1] == "thread.run.completed"
        assert sorted(texts(client, run.thread_id)) == ["one", "second", "text", "third"]


def test_a_run_that_waits_for_outputs_keeps_the_thread_busy(patient: Server, engine: ScriptedEngine, pool: ThreadPoolExecutor):
    with client_of(patient) as client:
        run, _ = busy_thread(client, engine, Reply(calls=[Call("f")]))
        runs = client.beta.threads.runs
        wait_until(lambda: runs.retrieve(run.id, thread_id=run.thread_id).status == "requires_action", 10, "outputs are wanted")
        call = pool.submit(client.beta.threads.messages.create, run.thread_id, role="user", content="two")
        for _ in range(5):
            assert runs.retrieve(run.id, thread_id=run.thread_id).status == "requires_action"
        assert not call.done()
        runs.cancel(run.id, thread_id=run.thread_id)
        assert call.result(timeout=15).content[0].text.value == "two"


def test_waiting_ends_in_the_documented_refusal(hurried: Server, engine: ScriptedEngine):
    reply, gate = held()
    with client_of(hurried) as client:
        run, assistant_id = busy_thread(client, engine, reply)
        begun = time.monotonic()
        with pytest.raises(openai.BadRequestError) as message:
            client.beta.threads.messages.create(run.thread_id, role="user", content="two")
        assert time.monotonic() - begun >= LITTLE_PATIENCE_SECONDS
        assert message.value.body["message"] == f"Can't add messages to {run.thread_id} while a run {run.id} is active."
        with pytest.raises(openai.BadRequestError) as second:
            client.beta.threads.runs.create(run.thread_id, assistant_id=assistant_id)
        assert second.value.body["message"] == f"Thread {run.thread_id} already has an active run {run.id}."
        gate.set()
        # Neither left anything behind.
        wait_until(lambda: client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "completed", 10, "the run ends")
        assert texts(client, run.thread_id) == ["one", "text"]


def test_who_gave_up_waiting_adds_nothing_and_makes_room(narrow: Server, engine: ScriptedEngine):
    reply, gate = held()
    with client_of(narrow) as client:
        run, _ = busy_thread(client, engine, reply)
        events = f"/v1/threads/{run.thread_id}/runs/{run.id}/events"
        impatient = _open(narrow, "POST", f"/v1/threads/{run.thread_id}/messages", {"role": "user", "content": "two"})
        wait_until(lambda: _status(narrow, events) == 429, 10, "the only place is taken by the one that waits")
        # Nobody else can wait then.
        begun = time.monotonic()
        with pytest.raises(openai.BadRequestError):
            client.beta.threads.messages.create(run.thread_id, role="user", content="three")
        assert time.monotonic() - begun < PATIENCE_SECONDS / 2
        impatient.close()
        wait_until(lambda: _status(narrow, events) == 200, 10, "the place is free")
        gate.set()
        wait_until(lambda: client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "completed", 10, "the run ends")
        assert texts(client, run.thread_id) == ["one", "text"]


def test_a_thread_that_is_deleted_meanwhile(patient: Server, engine: ScriptedEngine, pool: ThreadPoolExecutor):
    reply, gate = held()
    with client_of(patient) as client:
        run, _ = busy_thread(client, engine, reply)
        call = pool.submit(client.beta.threads.messages.create, run.thread_id, role="user", content="two")
        waits(call, client, run)
        client.beta.threads.delete(run.thread_id)
        assert isinstance(call.exception(timeout=15), openai.NotFoundError)
        gate.set()


def test_two_runs_at_once_are_never_a_conflict(strict: Server, engine: ScriptedEngine, pool: ThreadPoolExecutor):
    gate = threading.Event()
    engine.script(Reply(["text"], gates={0: gate}))
    with client_of(strict) as client:
        assistant = client.beta.assistants.create(model="scripted-chat", instructions="Answer.")
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "one"}])
        calls = [pool.submit(client.beta.threads.runs.create, thread.id, assistant_id=assistant.id) for _ in range(6)]
        refusals = [call.exception(timeout=15) for call in calls]
        gate.set()
    assert refusals.count(None) == 1
    assert {type(refusal) for refusal in refusals if refusal is not None} == {openai.BadRequestError}


def test_no_error_is_a_conflict():
    # Both SDKs try a 409 again, and a second message or run would come of it (behaviour.md, section 1).
    assert 409 not in {status for status, _ in TABLE.values()}


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e3", "soon", "1."])
def test_what_is_no_number_of_seconds(text: str):
    with pytest.raises(SettingsInvalid, match="OXILLAMA_BUSY_WAIT_SECONDS must be a number of seconds"):
        read({"OXILLAMA_BUSY_WAIT_SECONDS": text})


def test_seconds_may_have_a_fraction():
    assert read({}).busy_wait_seconds == 0
    assert read({"OXILLAMA_BUSY_WAIT_SECONDS": "0.25"}).busy_wait_seconds == 0.25


def _open(server: Server, method: str, path: str, body: Any = None) -> http.client.HTTPConnection:
    """A request whose answer is not read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
    return connection


def _status(server: Server, path: str) -> int:
    """The status of an answer, which is hung up on."""
    connection = _open(server, "GET", path)
    try:
        return connection.getresponse().status
    finally:
        connection.close()
