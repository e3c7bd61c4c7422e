"""Asking a scripted engine one thing through the client, and what comes of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from raw_engine import Connection, RawEngine, Script, raw_engine

from oxillama import errors
from oxillama.engine.chat_completions import ChatCompletionsEngine
from oxillama.engine.interface import Activity, ChatRequest, Delta, Finished
from oxillama.engine_endpoint import EngineEndpoint

PROMPT = "a-secret-prompt"
MESSAGES = [{"role": "user", "content": PROMPT}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
STOP = Finished("stop", None)


async def collect(engine: ChatCompletionsEngine, request: ChatRequest) -> list[Delta]:
    async with aclosing(engine.stream(request)) as stream:
        return [delta async for delta in stream]


def ask(
    server: RawEngine, model: str = "m", *, api_key: str | None = None, options: dict[str, Any] | None = None, **fields: Any
) -> list[Delta]:
    async def run() -> list[Delta]:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url, api_key), **(options or {}))
        try:
            return await collect(engine, ChatRequest(model, MESSAGES, **fields))
        finally:
            await engine.close()

    return asyncio.run(asyncio.wait_for(run(), 30))


def heard(script: Script, **fields: Any) -> list[Delta]:
    with raw_engine(script) as server:
        return [delta for delta in ask(server, **fields) if delta != Activity()]


def streaming(*deltas: dict[str, Any], finish: str | None = "stop", usage: Any = None) -> Script:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        for delta in deltas:
            connection.delta(**delta)
        if finish:
            connection.delta(finish)
        if usage:
            connection.chunk(choices=[], usage=usage)
        connection.done()

    return script


def failing(status: int, body: object, content_type: str = "application/json") -> Script:
    return lambda connection: connection.answer(status, body, content_type)


def fault(script: Script, **fields: Any) -> errors.EngineError:
    """The failure, which must not name the engine's address or show the prompt."""
    with raw_engine(script) as server:
        with pytest.raises(errors.EngineError) as raised:
            ask(server, **fields)
        message = raised.value.message
        assert str(server.port) not in message
        assert "127.0.0.1" not in message
        assert PROMPT not in message
        return raised.value
