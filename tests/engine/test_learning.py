"""What the client learns of an engine's models, and what it must not learn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from raw_engine import Connection, RawEngine, Script, raw_engine

from oxillama.engine.chat_completions import ChatCompletionsEngine
from oxillama.engine.interface import ChatRequest, TextDelta
from oxillama.engine.prompted_tools import PromptedTools
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineRefused, PromptTooLong

QUESTION = {"role": "user", "content": "What time is it?"}


def request(**more: Any) -> ChatRequest:
    return ChatRequest(**{"model": "m", "messages": [QUESTION], **more})


def function(name: str, **properties: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


async def text(engine: ChatCompletionsEngine, asked: ChatRequest) -> str:
    return "".join([delta.text async for delta in engine.stream(asked) if isinstance(delta, TextDelta)])


def fine(connection: Connection) -> None:
    connection.begin_stream()
    connection.delta(content="fine")
    connection.delta("stop")
    connection.done()


def only_chat(script: Script) -> Script:
    """The script for completions; whatever else is asked is not known."""

    def answer(connection: Connection) -> None:
        if connection.request.method == "POST" and connection.request.path.endswith("/chat/completions"):
            script(connection)
        else:
            connection.answer(404, {"detail": "Not Found"})

    return answer


def against(script: Script, run: Callable[[ChatCompletionsEngine, RawEngine], Awaitable[None]]) -> None:
    async def with_engine(server: RawEngine) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        try:
            await run(engine, server)
        finally:
            await engine.close()

    with raw_engine(only_chat(script)) as server:
        asyncio.run(asyncio.wait_for(with_engine(server), 30))


def quoting(connection: Connection) -> None:
    """An engine that quotes a function's schema when it refuses it, as OpenAI does."""
    names = [name for tool in connection.request.body.get("tools", ()) for name in tool["function"]["parameters"]["properties"]]
    if names:
        message = f"Invalid schema for function 'f': In context=('properties', '{names[0]}'), schema must have a 'type' key."
        connection.answer(400, {"error": {"message": message, "type": "invalid_request_error"}})
    else:
        fine(connection)


@pytest.mark.parametrize(
    "saying",
    [
        "maximum context length is 10 tokens",
        "this model does not support tools, whatever you do",
        "the model does not exist, ask another",
    ],
)
def test_a_caller_teaches_nothing_in_the_engines_name(saying: str) -> None:
    async def run(engine: ChatCompletionsEngine, _server: RawEngine) -> None:
        with pytest.raises(EngineRefused):
            await text(engine, request(tools=[function("f", **{saying: {}})]))
        assert await engine.context_tokens("m") is None
        assert await engine.takes_tools("m")

    against(quoting, run)


ECHOES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: f"Bad prompt: {text}",
    # pydantic, and so FastAPI and vLLM
    "repr": lambda text: f"1 validation error [type=value_error, input_value={text!r}, input_type=str]",
    "json": lambda text: f"Bad request: {json.dumps([{'content': text}])}",
    "another case": lambda text: f"Bad prompt: '{text.upper()}'",
    "cut off": lambda text: f"Bad prompt: '{text[:70]}",
    "put together": lambda text: f"Bad prompt: {' '.join(text.split())}",
}


@pytest.mark.parametrize("quoted", ECHOES)
def test_a_caller_teaches_no_window_whatever_way_the_engine_quotes(quoted: str) -> None:
    pause = "\n\t" if quoted == "put together" else " "
    saying = f'it\'s "so"\nmaximum context{pause}length is 10 tokens'

    def answer(connection: Connection) -> None:
        connection.answer(400, {"error": {"message": ECHOES[quoted](saying)}})

    async def run(engine: ChatCompletionsEngine, _server: RawEngine) -> None:
        with pytest.raises(PromptTooLong):
            await text(engine, request(messages=[{"role": "user", "content": saying}]))
        assert await engine.context_tokens("m") is None

    against(answer, run)


@pytest.mark.parametrize("quoted", ECHOES)
@pytest.mark.parametrize("claim", ["this model does not support tools", "the model does not exist"])
def test_a_caller_teaches_nothing_of_models_whatever_way_the_engine_quotes(quoted: str, claim: str) -> None:
    saying = f'it\'s "so"\n{claim}'

    def answer(connection: Connection) -> None:
        connection.answer(400, {"error": {"message": ECHOES[quoted](saying)}})

    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        asked = request(messages=[{"role": "user", "content": saying}], tools=[function("f")])
        with pytest.raises(EngineRefused):
            await text(engine, asked)
        assert await engine.takes_tools("m")
        assert not [one.path for one in server.requests if one.path.endswith("/models")]

    against(answer, run)


CALLED = [
    QUESTION,
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c", "content": "12:00"},
]


def begins_before_it_looks(connection: Connection) -> None:
    """LM Studio's way: a stream is begun, then the template refuses."""
    connection.begin_stream()
    if len(connection.request.body["messages"]) > 1:
        connection.delta(role="assistant")
        connection.chunk(error={"message": "Error rendering prompt with jinja template: Conversation roles must alternate"})
    else:
        connection.delta(content="fine")
        connection.delta("stop")
        connection.done()


def test_a_refusal_inside_the_stream_is_one() -> None:
    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        for _ in range(2):
            assert await text(engine, request(messages=[QUESTION, QUESTION])) == "fine"
        assert [len(body["messages"]) for body in server.bodies] == [2, 1, 1]

    against(begins_before_it_looks, run)


def test_what_is_refused_after_the_answer_began_is_not_asked_again() -> None:
    def answer(connection: Connection) -> None:
        connection.begin_stream()
        connection.delta(content="fi")
        connection.chunk(error={"message": "Conversation roles must alternate", "code": 400})

    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        with pytest.raises(EngineRefused):
            await text(engine, request(messages=[QUESTION, QUESTION]))
        assert len(server.bodies) == 1

    against(answer, run)


@pytest.mark.parametrize("words", ["Conversation roles must alternate user/assistant/...", "Only user and assistant roles are supported!"])
def test_a_template_without_calls_gets_them_in_words(words: str) -> None:
    """Gemma's: the first turn may have called all the same."""

    def answer(connection: Connection) -> None:
        if any(message["role"] == "tool" for message in connection.request.body["messages"]):
            connection.answer(400, {"error": {"message": words}})
        else:
            connection.begin_stream()
            connection.delta(content='{"answer": "fine"}')
            connection.delta("stop")
            connection.done()

    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        prompted = PromptedTools(engine, unless=engine.takes_tools)
        for _ in range(2):
            async with aclosing(prompted.stream(request(messages=CALLED, tools=[function("f")]))) as deltas:
                assert "".join([delta.text async for delta in deltas if isinstance(delta, TextDelta)]) == "fine"
        assert ["tools" in body for body in server.bodies] == [True, False, False]

    against(answer, run)


def test_without_prompted_tools_the_engines_own_words_are_told() -> None:
    def answer(connection: Connection) -> None:
        connection.answer(400, {"error": {"message": "gemma3:4b does not support tools"}})

    async def run(engine: ChatCompletionsEngine, _server: RawEngine) -> None:
        with pytest.raises(EngineRefused, match="gemma3:4b does not support tools"):
            await text(engine, request(tools=[function("f")]))

    against(answer, run)


def test_the_name_of_the_limit_is_learnt_in_both_directions() -> None:
    taken = "max_completion_tokens"

    def answer(connection: Connection) -> None:
        refused = {"max_tokens", "max_completion_tokens"} & connection.request.body.keys() - {taken}
        if refused:
            place = ["body", refused.pop()]
            connection.answer(422, {"detail": [{"type": "extra_forbidden", "loc": place, "msg": "Extra inputs are not permitted"}]})
        else:
            fine(connection)

    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        nonlocal taken
        assert await text(engine, request(max_tokens=5)) == "fine"
        taken = "max_tokens"
        for _ in range(2):
            assert await text(engine, request(max_tokens=5)) == "fine"
        names = [next(name for name in body if name.startswith("max_")) for body in server.bodies]
        assert names == ["max_tokens", "max_completion_tokens", "max_completion_tokens", "max_tokens", "max_tokens"]
        taken = "neither"
        assert await text(engine, request(max_tokens=5)) == "fine"
        assert not {"max_tokens", "max_completion_tokens"} & server.bodies[-1].keys()

    against(answer, run)


def test_a_model_that_takes_no_images_is_not_a_missing_one() -> None:
    def answer(connection: Connection) -> None:
        connection.answer(404, {"error": {"message": "No endpoints found that support image input", "code": 404}})

    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        with pytest.raises(EngineRefused, match="does not take images"):
            await text(engine, request())
        assert len(server.requests) == 1

    against(answer, run)


def test_where_no_function_may_be_called_none_is_offered_to_an_engine_that_takes_no_choice() -> None:
    def answer(connection: Connection) -> None:
        if "tool_choice" in connection.request.body:
            connection.answer(400, {"error": {"message": "Unsupported parameter: 'tool_choice'", "param": "tool_choice"}})
        else:
            fine(connection)

    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        assert await text(engine, request(tools=[function("f")], tool_choice="none")) == "fine"
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & server.bodies[-1].keys()
        assert await text(engine, request(tools=[function("f")])) == "fine"
        assert "tools" in server.bodies[-1]

    against(answer, run)


def test_any_object_is_asked_for_as_a_schema_where_only_schemas_are_taken() -> None:
    """LM Studio, lmstudio-ai/lmstudio-bug-tracker#189."""

    def answer(connection: Connection) -> None:
        if connection.request.body["response_format"]["type"] == "json_object":
            connection.answer(400, {"error": "'response_format.type' must be 'json_schema' or 'text'"})
        else:
            fine(connection)

    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        assert await text(engine, request(response_format={"type": "json_object"})) == "fine"
        assert server.bodies[-1]["response_format"]["json_schema"]["schema"] == {"type": "object"}

    against(answer, run)
