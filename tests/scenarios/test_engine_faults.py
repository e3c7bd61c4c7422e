"""Whatever the engine does, the run ends as documented, says why without saying where, and leaves its thread free."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.contract.validation import validating_client
from tests.process_control import Server
from tests.raw_http import Http
from tests.scenarios.conftest import engine_of
from tests.scenarios.conversation import (
    CALLS,
    INSTRUCTIONS,
    LISBON,
    MESSAGE_STARTS,
    QUESTION,
    RUN_STARTS,
    ended,
    followed,
    last_message,
    order,
    steps_of,
    still_works,
    text_of,
)
from tests.scripted_engine import (
    Call,
    Cut,
    Hang,
    Raw,
    Reply,
    ScriptedEngine,
    broken_chunks,
    empty_stream,
    html_page,
    http_error,
    json_instead_of_stream,
    loading,
    rate_limited,
    server_error,
)

SERVER_ERROR = "The model engine answered with a server error."
BUSY = "The model engine is busy."
NONSENSE = "The model engine answered with something that is not a chat completion."
BROKEN_OFF = "The model engine broke off in the middle of its answer."
UNREACHABLE = "The model engine cannot be reached."
HUNG_UP = "The model engine closed the connection without an answer."
TOO_SLOW = "The model engine took too long to answer."

#: Before the first token: what the engine answers, and the code and message of the run's `last_error`.
NO_ANSWER = {
    "500": (server_error(), "server_error", SERVER_ERROR),
    "502 with a page": (Raw(502, b"<html>Bad gateway at 10.1.2.3:8080</html>", "text/html"), "server_error", SERVER_ERROR),
    "429 with a long wait": (rate_limited(retry_after=3600), "rate_limit_exceeded", BUSY),
    "401": (
        http_error(401, "Incorrect API key sk-abcdef", "invalid_request_error", "invalid_api_key"),
        "server_error",
        "The model engine refused the server's credentials.",
    ),
    "400": (
        http_error(400, "The template at http://10.0.0.7:9999 does not know this role", "invalid_request_error"),
        "invalid_prompt",
        "The model engine refused the request: The template at … does not know this role",
    ),
    "a page instead of a stream": (html_page(), "server_error", NONSENSE),
    "JSON instead of a stream": (json_instead_of_stream(), "server_error", NONSENSE),
    "chunks that are not JSON": (broken_chunks(), "server_error", NONSENSE),
    "an empty stream": (empty_stream(), "server_error", NONSENSE),
}

#: What passes: asked again, the engine answers.
NOT_NOW = {
    "503 while loading": loading(),
    "429": rate_limited(),
    "429 with a wait": rate_limited(retry_after=1),
    "the connection closed": Cut(),
    "the connection closed before a token": Reply(["It is warm."], cut_after=0),
}

#: After "It is ": how the rest fails to come.
HALF_AN_ANSWER = {
    "cut": (Reply(["It is ", "warm."], cut_after=1), BROKEN_OFF),
    "ended without a reason": (Reply(["It is ", "warm."], end_after=1), BROKEN_OFF),
    "an error instead of a chunk": (Reply(["It is ", "warm."], error_after=1), SERVER_ERROR),
    "a chunk that is not JSON": (Reply(["It is ", "warm."], broken_after=1), NONSENSE),
}

PATIENCE_SECONDS = 3

#: On a server with no more patience than that: question -> answer.
SLOW = {
    "hang": Hang(),
    "stall": Reply(["It is ", "warm."], hang_after=1),
    # In all it takes longer than the patience with any one token.
    "steady": Reply(["very "] * 9, delay=0.45),
}


def check_failed(run, code, message):
    assert run.status == "failed"
    assert (run.last_error.code, run.last_error.message) == (code, message)
    assert not re.search(r"\d+\.\d+\.\d+\.\d+|localhost|:\d{2,5}\b|http|sk-", run.last_error.message)
    assert run.failed_at is not None and run.usage is not None
    assert (run.expires_at, run.completed_at, run.cancelled_at, run.required_action) == (None, None, None, None)


@pytest.mark.parametrize(("reply", "code", "message"), NO_ANSWER.values(), ids=NO_ANSWER)
def test_no_answer(client, http, thread, assistant, engine, reply, code, message):
    engine.script(reply)
    run = ended(client, http, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    check_failed(run, code, message)
    assert order(followed(http, run)) == [*RUN_STARTS, "thread.run.failed"]
    assert len(client.beta.threads.messages.list(thread.id).data) == 1, "a run that said nothing leaves no message"
    assert len(engine.requests) == 1, "what failed is not tried again: that is for the caller to decide"
    still_works(client, http, thread.id, assistant.id)


@pytest.mark.parametrize("reply", NOT_NOW.values(), ids=NOT_NOW)
def test_no_answer_just_now(client, http, thread, assistant, engine, reply):
    engine.script(reply, Reply(["It is ", "warm."]))
    run = ended(client, http, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    assert text_of(last_message(client, thread.id)) == "It is warm."
    assert len(engine.requests) == 2


def test_a_connection_that_is_closed_each_time(client, http, thread, assistant, engine):
    engine.script(Cut(), Cut())
    run = ended(client, http, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    check_failed(run, "server_error", HUNG_UP)
    still_works(client, http, thread.id, assistant.id)


@pytest.mark.parametrize(("reply", "message"), HALF_AN_ANSWER.values(), ids=HALF_AN_ANSWER)
def test_half_an_answer(client, http, thread, assistant, engine, reply, message):
    engine.script(reply)
    run = ended(client, http, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    check_failed(run, "server_error", message)
    ending = ["thread.message.delta", "thread.message.incomplete", "thread.run.step.failed", "thread.run.failed"]
    assert order(followed(http, run)) == [*RUN_STARTS, *MESSAGE_STARTS, *ending]
    written = last_message(client, thread.id)
    assert (written.status, written.incomplete_details.reason, text_of(written)) == ("incomplete", "run_failed", "It is ")
    (step,) = steps_of(client, run)
    assert step.status == "failed" and step.failed_at is not None and step.last_error.message == message
    still_works(client, http, thread.id, assistant.id)


def test_half_a_call(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON], cut_after=2))
    run = ended(client, http, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    check_failed(run, "server_error", BROKEN_OFF)
    assert order(followed(http, run)) == [*RUN_STARTS, *CALLS, "thread.run.step.failed", "thread.run.failed"]
    still_works(client, http, thread.id, assistant.id)


def test_a_call_of_a_function_that_the_run_does_not_have(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[Call("launch_rockets")]))
    run = ended(client, http, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    check_failed(run, "server_error", "The model called the function 'launch_rockets', which this run does not have.")
    still_works(client, http, thread.id, assistant.id)


def test_a_failure_after_outputs_were_submitted_keeps_what_was_done(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON]), server_error())
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": call.id, "output": "21 C"}])
    run = ended(client, http, run)
    check_failed(run, "server_error", SERVER_ERROR)
    assert run.usage.total_tokens == 18
    (step,) = steps_of(client, run)
    assert (step.status, step.step_details.tool_calls[0].function.output) == ("completed", "21 C")
    still_works(client, http, thread.id, assistant.id)


@pytest.mark.parametrize("done", [True, False], ids=["with DONE", "without DONE"])
def test_an_engine_that_does_not_count_tokens(client, http, thread, assistant, engine, done):
    engine.script(Reply(["It is ", "warm."], usage=None, done=done))
    run = ended(client, http, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    assert run.status == "completed"
    asked = len(INSTRUCTIONS) + len(QUESTION)
    assert (run.usage.prompt_tokens, run.usage.completion_tokens) == (-(-asked // 3), 4), "a third of the characters, rounded up"


@pytest.fixture
def strict_run(strict_client):
    """Begins a run on the strict server."""

    def begin():
        assistant = strict_client.beta.assistants.create(model="scripted-chat", instructions=INSTRUCTIONS)
        return strict_client.beta.threads.create_and_run(
            assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": QUESTION}]}
        )

    return begin


def test_the_engine_is_down(strict_server, strict_client, strict_http, strict_run):
    run = ended(strict_client, strict_http, strict_run())
    check_failed(run, "server_error", UNREACHABLE)
    with engine_of(strict_server):
        still_works(strict_client, strict_http, run.thread_id, run.assistant_id)


@pytest.fixture(scope="module")
def impatient() -> Iterator[Any]:
    """A client of a server with little patience, and runs on it that were begun together, so that they wait together; see `SLOW`."""
    environ = {name: str(PATIENCE_SECONDS) for name in ("OXILLAMA_FIRST_TOKEN_SECONDS", "OXILLAMA_STALL_SECONDS")}
    with ScriptedEngine() as engine:
        hello = engine.default
        engine.default = lambda request: SLOW.get(request["messages"][-1]["content"], hello)
        with (
            Server(engine_url=engine.url, workers=1, environ=environ) as server,
            validating_client(server.base_url, max_retries=0) as client,
        ):
            server.wait_ready()
            assistant = client.beta.assistants.create(model="scripted-chat", instructions=INSTRUCTIONS)
            runs = {
                question: client.beta.threads.create_and_run(
                    assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": question}]}
                )
                for question in SLOW
            }
            yield SimpleNamespace(client=client, http=Http(server.port), engine=engine, runs=runs)


def test_the_first_token_does_not_come(impatient):
    run = ended(impatient.client, impatient.http, impatient.runs["hang"])
    check_failed(run, "server_error", TOO_SLOW)
    assert impatient.engine.wait_until_hung_up(count=2)
    still_works(impatient.client, impatient.http, run.thread_id, run.assistant_id)


def test_the_next_token_does_not_come(impatient):
    run = ended(impatient.client, impatient.http, impatient.runs["stall"])
    check_failed(run, "server_error", TOO_SLOW)
    assert impatient.engine.wait_until_hung_up(count=2)
    message = last_message(impatient.client, run.thread_id)
    assert (message.status, text_of(message)) == ("incomplete", "It is ")
    still_works(impatient.client, impatient.http, run.thread_id, run.assistant_id)


def test_slow_but_steady_is_no_stall(impatient):
    run = ended(impatient.client, impatient.http, impatient.runs["steady"])
    assert run.status == "completed"
    assert run.completed_at - run.created_at >= PATIENCE_SECONDS
