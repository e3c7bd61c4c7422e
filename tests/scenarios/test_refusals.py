"""Refusals, and calls that the run cannot make: what an engine may say besides text, through the whole server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.contract.validation import validating_client
from tests.process_control import Server, wait_until
from tests.scripted_engine import Call, Reply, ScriptedEngine, context_exceeded, http_error

FUNCTION: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
BUILT_IN: list[Any] = [{"type": "file_search"}, {"type": "code_interpreter"}]


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture(scope="module")
def server(engine: ScriptedEngine) -> Iterator[Server]:
    with Server(engine_url=engine.url) as server:
        yield server.wait_ready()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with validating_client(base_url=server.base_url, api_key="any", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, tools: Any = (), content: Any = "Hi", **options: Any) -> Any:
    assistant = client.beta.assistants.create(model="m", tools=tools)
    return client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": content}]}, poll_interval_ms=20, **options
    )


def newest(client: openai.OpenAI, run: Any) -> Any:
    return client.beta.threads.messages.list(run.thread_id).data[0]


def parts(message: Any) -> list[dict[str, Any]]:
    return [part.model_dump() for part in message.content]


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": {"value": value, "annotations": []}}


def refusal(value: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": value}


def failure(run: Any) -> tuple[str, str]:
    assert run.status == "failed"
    return run.last_error.code, run.last_error.message


def test_a_refusal_is_streamed_and_stored_as_one(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script(Reply(refusal=["I cannot ", "do that."]))
    assistant = client.beta.assistants.create(model="m")
    deltas: list[Any] = []
    with client.beta.threads.create_and_run_stream(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}
    ) as stream:
        for event in stream:
            if event.event == "thread.message.delta":
                deltas += [part.model_dump() for part in event.data.delta.content or []]
        [message] = stream.get_final_messages()
        run: Any = stream.current_run
    assert deltas == [{"index": 0, **refusal("I cannot ")}, {"index": 0, **refusal("do that.")}]
    assert parts(message) == [refusal("I cannot do that.")]
    assert run.status == "completed"
    assert parts(newest(client, run)) == [refusal("I cannot do that.")]
    # In the next run it is part of the history.
    engine.script(Reply(["ok"]))
    client.beta.threads.runs.create_and_poll(thread_id=run.thread_id, assistant_id=assistant.id, poll_interval_ms=20)
    assert engine.requests[-1]["messages"][-1] == {"role": "assistant", "content": "I cannot do that."}


def test_text_and_refusal_are_two_parts(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script(Reply(["Well, ", "no: "], refusal=["I ", "won't."]))
    run = ask(client)
    assert run.status == "completed"
    assert parts(newest(client, run)) == [text("Well, no: "), refusal("I won't.")]


def test_a_message_cut_off_in_its_refusal_keeps_both(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script(Reply(["Well: "], refusal=["I ", "won't."], hang_after=2))
    assistant = client.beta.assistants.create(model="m")
    run = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]})
    wait_until(lambda: len(parts(newest(client, run))) == 2, 10, "both parts can be read while the run works")
    client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    engine.wait_until_hung_up()
    wait_until(lambda: newest(client, run).status == "incomplete", 10, "the message ends")
    assert parts(newest(client, run)) == [text("Well: "), refusal("I ")]


def test_a_message_is_kept_when_the_runner_dies_in_a_refusal(client: openai.OpenAI, engine: ScriptedEngine, server: Server) -> None:
    engine.script(Reply(refusal=["I ", "won't."], gates={1: threading.Event()}))
    assistant = client.beta.assistants.create(model="m")
    run = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]})
    wait_until(lambda: parts(newest(client, run)) == [refusal("I ")], 10, "the first piece is there")
    old = server.kill("runner")
    server.wait_for("runner", other_than=old)
    wait_until(lambda: newest(client, run).status == "incomplete", 15, "the message ends")
    assert parts(newest(client, run)) == [refusal("I ")]


@pytest.mark.parametrize("arguments", ['{"a": ', "", "not JSON", '{"a": 1}}'])
def test_arguments_are_passed_on_as_the_model_wrote_them(client: openai.OpenAI, engine: ScriptedEngine, arguments: str) -> None:
    engine.script(Reply(calls=[Call("f", arguments)]))
    run = ask(client, [FUNCTION])
    assert run.status == "requires_action"
    assert run.required_action.submit_tool_outputs.tool_calls[0].function.arguments == arguments
    assert engine.requests[-1]["tools"][0]["function"]["name"] == "f"


def test_a_function_that_the_run_does_not_have(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.script(Reply(calls=[Call("g")]))
    assert failure(ask(client, [FUNCTION])) == ("server_error", "The model called the function 'g', which this run does not have.")


@pytest.mark.parametrize("kind", ["file_search", "code_interpreter"])
def test_tools_that_are_not_built_yet(client: openai.OpenAI, engine: ScriptedEngine, kind: str) -> None:
    engine.script(Reply(["fine"]), Reply(calls=[Call(kind)]))
    run = ask(client, BUILT_IN)
    assert run.status == "completed"
    assert [tool.type for tool in run.tools] == ["file_search", "code_interpreter"]
    assert "tools" not in engine.requests[-1]
    message = f"The model called the tool '{kind}', which this server does not execute yet."
    assert failure(ask(client, [*BUILT_IN, FUNCTION])) == ("server_error", message)


def test_tool_choices_that_cannot_be_kept(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    asked = len(engine.requests)
    for choice, message in (
        ({"type": "file_search"}, "The tool choice is 'file_search', which this server does not execute yet."),
        ({"type": "function", "function": {"name": "g"}}, "The tool choice names the function 'g', which this run does not have."),
    ):
        assert failure(ask(client, [*BUILT_IN, FUNCTION], tool_choice=choice)) == ("invalid_prompt", message)
    code, message = failure(ask(client, BUILT_IN, tool_choice="required"))
    assert (code, "no function" in message) == ("invalid_prompt", True)
    assert len(engine.requests) == asked


def test_images_go_to_the_engine_and_its_refusal_comes_back(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    content = [{"type": "text", "text": "What is this?"}, image]
    engine.script(Reply(["a cat"]), http_error(400, "m is not a multimodal model", "BadRequestError", 400))
    assert ask(client, content=content).status == "completed"
    assert engine.requests[-1]["messages"][-1]["content"] == content
    code, message = failure(ask(client, content=content))
    assert (code, "does not take images" in message) == ("invalid_prompt", True)
    code, message = failure(ask(client, content=[{"type": "image_file", "image_file": {"file_id": "file-abc"}}]))
    assert (code, "does not keep files yet" in message) == ("invalid_prompt", True)


@pytest.mark.parametrize("form", ["auto", {"type": "text"}, {"type": "json_object"}])
def test_a_format_is_passed_on_as_it_is(client: openai.OpenAI, engine: ScriptedEngine, form: Any) -> None:
    engine.script(Reply(["{}"]))
    assert ask(client, response_format=form).status == "completed"
    assert engine.requests[-1].get("response_format", "auto") == form


def test_what_an_engine_finds_too_long_is_cut_until_it_fits(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    # It says neither how large its context is nor how it counts, and takes no more than three messages.
    def narrow(request: dict[str, Any]) -> Any:
        return Reply(["ok"]) if len(request["messages"]) <= 3 else context_exceeded(5000, 4096)

    assistant = client.beta.assistants.create(model="m", instructions="Be kind.")
    thread = client.beta.threads.create(messages=[{"role": "user", "content": f"{number} " + "word " * 200} for number in range(24)])
    engine.script(*[narrow] * 20)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
    assert run.status == "completed", run.last_error
    sent = engine.requests[-1]["messages"]
    assert sent[0] == {"role": "system", "content": "Be kind."}
    assert sent[-1]["content"].startswith("23 ")
    with engine._changed:
        engine._script.clear()
    # One message that is too long alone cannot be cut.
    engine.script(context_exceeded(5000, 4096), context_exceeded(5000, 4096))
    code, message = failure(ask(client, content="word " * 4000))
    assert code == "invalid_prompt"
    assert "does not fit the model's context" in message
    with engine._changed:
        engine._script.clear()
