"""A run lives for a fixed time, whatever it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.contract.validation import ValidatingClient, validating_client
from tests.process_control import Server
from tests.raw_http import Http
from tests.scenarios.conversation import (
    CALLS,
    LISBON,
    MESSAGE_STARTS,
    RUN_STARTS,
    WEATHER,
    ended,
    followed,
    last_message,
    order,
    outputs,
    reach,
    refused,
    steps_of,
    still_works,
    text_of,
)
from tests.scripted_engine import AnyReply, Hang, Reply, ScriptedEngine

EXPIRY_SECONDS = 5
HELLO = Reply(["Hello ", "from the ", "script."])
#: What the engine answers to which question; `still_works` asks another. All but the first keep one of the runner's four places.
ANSWERS = {
    "call": Reply(calls=[LISBON]),
    "hang": Hang(),
    "stream": Reply(["It is ", "warm."], hang_after=1),
    "busy": Hang(),
    "busy too": Hang(),
    # Only when a place becomes free a moment before its own time is over.
    "queued": Hang(),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    def answer(request: dict[str, Any]) -> AnyReply:
        return ANSWERS.get(request["messages"][-1]["content"], HELLO)

    with ScriptedEngine() as engine:
        engine.default = answer
        yield engine


@pytest.fixture(scope="module")
def server(engine: ScriptedEngine) -> Iterator[Server]:
    environ = {"OXILLAMA_RUN_EXPIRY_SECONDS": str(EXPIRY_SECONDS), "OXILLAMA_DURABILITY": "relaxed"}
    with Server(engine_url=engine.url, workers=1, environ=environ) as server:
        yield server.wait_ready()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[ValidatingClient]:
    with validating_client(server.base_url, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def http(server: Server) -> Http:
    return Http(server.port)


@pytest.fixture(scope="module")
def runs(client: Any, http: Http, engine: ScriptedEngine) -> Any:
    """Runs that were begun together, so that they end together: one a question, and `waiting`, which is `call` while it waited."""

    def begin(question: str) -> Any:
        assistant = client.beta.assistants.create(model="scripted-chat", tools=[WEATHER])
        messages: Any = [{"role": "user", "content": question}]
        return client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": messages})

    begun = SimpleNamespace(**{question.replace(" ", "_"): begin(question) for question in ANSWERS if question != "queued"})
    reach(http, begun.call, "thread.run.requires_action")
    begun.waiting = client.beta.threads.runs.retrieve(begun.call.id, thread_id=begun.call.thread_id)
    engine.wait_for_requests(len(ANSWERS) - 1)
    begun.queued = begin("queued")
    for run in (begun.call, begun.hang, begun.stream, begun.busy, begun.busy_too, begun.queued):
        followed(http, run)
    return begun


def check_ending(client: Any, http: Any, run: Any) -> Any:
    expired = ended(client, http, run)
    assert expired.status == "expired"
    assert (expired.expires_at, expired.failed_at, expired.cancelled_at, expired.completed_at) == (None, None, None, None)
    assert expired.usage is not None and expired.last_error is None and expired.required_action is None
    assert expired.started_at is not None
    return expired


def test_while_it_waits_for_outputs(client, http, runs):
    run = runs.call
    assert (runs.waiting.status, runs.waiting.expires_at) == ("requires_action", run.created_at + EXPIRY_SECONDS)
    check_ending(client, http, run)
    ending = ["thread.run.requires_action", "thread.run.step.expired", "thread.run.expired"]
    assert order(followed(http, run)) == ["thread.created", *RUN_STARTS, *CALLS, *ending]
    (step,) = steps_of(client, run)
    assert step.status == "expired" and step.expired_at is not None

    submit = client.beta.threads.runs.submit_tool_outputs
    message = 'Runs in status "expired" do not accept tool outputs.'
    assert refused(submit, run.id, thread_id=run.thread_id, tool_outputs=outputs(runs.waiting, "21 C")) == (400, message)
    still_works(client, http, run.thread_id, run.assistant_id)


def test_while_the_engine_hangs(client, http, engine, runs):
    check_ending(client, http, runs.hang)
    assert engine.wait_until_hung_up(count=4)
    assert order(followed(http, runs.hang)) == ["thread.created", *RUN_STARTS, "thread.run.expired"]
    still_works(client, http, runs.hang.thread_id, runs.hang.assistant_id)


def test_while_text_streams(client, http, engine, runs):
    run = runs.stream
    check_ending(client, http, run)
    assert engine.wait_until_hung_up(count=4)
    ending = ["thread.message.delta", "thread.message.incomplete", "thread.run.step.expired", "thread.run.expired"]
    assert order(followed(http, run)) == ["thread.created", *RUN_STARTS, *MESSAGE_STARTS, *ending]
    message = last_message(client, run.thread_id)
    assert (message.status, message.incomplete_details.reason, text_of(message)) == ("incomplete", "run_expired", "It is ")
    still_works(client, http, run.thread_id, run.assistant_id)


def test_while_it_is_queued(client, http, runs):
    expired = ended(client, http, runs.queued)
    assert (expired.status, expired.usage.total_tokens) == ("expired", 0)
