"""What the client learns of an engine's models, and what it must not learn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from raw_engine import Connection, RawEngine, Script, raw_engine

from oxillama.engine.chat_completions import ChatCompletionsEngine
from oxillama.engine.interface import ChatRequest, TextDelta
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineRefused

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


@pytest.mark.parametrize("saying", ["maximum context length is 10 tokens", "this model does not support tools, whatever you do"])
def test_a_caller_teaches_nothing_in_the_engines_name(saying: str) -> None:
    async def run(engine: ChatCompletionsEngine, _server: RawEngine) -> None:
        with pytest.raises(EngineRefused):
            await text(engine, request(tools=[function("f", **{saying: {}})]))
        assert await engine.context_tokens("m") is None
        assert await engine.takes_tools("m")

    against(quoting, run)
