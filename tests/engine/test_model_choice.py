"""Which model is asked, against a scripted server on a real port."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Any

import pytest
from raw_engine import Connection, RawEngine, Script, raw_engine

from oxillama.engine.chat_completions import ChatCompletionsEngine
from oxillama.engine.interface import ChatRequest
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineRefused, EngineUnavailable

MISSING = {
    "OpenAI": (404, {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}),
    "Ollama": (404, {"error": {"message": 'model "x" not found, try pulling it first'}}),
    "by code": (400, {"error": {"message": "no", "code": "model_not_found"}}),
    "LiteLLM": (400, {"error": {"message": "Invalid model name passed in model=x. Call `/v1/models` to view available models."}}),
}


def engine_with(models: object, has: str, missing: str = "OpenAI") -> Script:
    """An engine that lists `models` and answers only for `has`."""

    def script(connection: Connection) -> None:
        if connection.request.path == "/v1/models":
            connection.answer(200, models)
        elif connection.request.body["model"] == has:
            connection.begin_stream()
            connection.delta(content="x")
            connection.delta("stop")
            connection.done()
        else:
            connection.answer(*MISSING[missing])

    return script


def ask(server: RawEngine, *names: str, model_map: dict[str, str] | None = None) -> list[str]:
    """Ask once for each name; returns the requests as the engine saw them: path or model."""

    async def run() -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url), model_map=model_map)
        try:
            for name in names:
                async with aclosing(engine.stream(ChatRequest(name, []))) as stream:
                    async for _ in stream:
                        pass
        finally:
            await engine.close()

    asyncio.run(asyncio.wait_for(run(), 30))
    return seen(server)


def seen(server: RawEngine) -> list[str]:
    return [asked.body["model"] if asked.body else asked.path for asked in server.requests]


def data(*entries: Any) -> dict[str, Any]:
    return {"data": [{"id": entry} if isinstance(entry, str) else entry for entry in entries]}


def test_the_name_is_sent_as_it_is() -> None:
    with raw_engine(engine_with(data("other"), "gpt-4o")) as server:
        assert ask(server, "gpt-4o") == ["gpt-4o"]


@pytest.mark.parametrize("missing", MISSING)
def test_the_first_chat_model_stands_in_and_is_remembered(missing: str, caplog: pytest.LogCaptureFixture) -> None:
    with raw_engine(engine_with(data("nomic-embed-text", "qwen", "llama"), "qwen", missing)) as server:
        assert ask(server, "gpt-4o", "gpt-4o") == ["gpt-4o", "/v1/models", "qwen", "qwen"]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["The engine does not have the model 'gpt-4o'; 'qwen' answers instead."]


@pytest.mark.parametrize(
    "models",
    [
        data("BAAI/bge-m3", "intfloat/e5-large", "all-MiniLM-L6-v2", "bge-reranker", "whisper-1", "tts-1", "chat"),
        data({"id": "a", "type": "embeddings"}, {"id": "chat", "type": "llm"}),
        data({"id": "a", "capabilities": {"completion_chat": False}}, {"id": "chat", "capabilities": {"completion_chat": True}}),
        data({"id": "a", "architecture": {"output_modalities": ["embeddings"]}}, "chat"),
        {
            "models": [{"name": "a", "capabilities": ["embedding"]}, {"name": "chat", "type": "model", "capabilities": ["completion"]}],
            **data("a", "chat"),
        },
        [{"id": "a", "type": "image"}, {"id": "chat", "type": "chat"}],
        data(None, 5, {"id": None}, {}, {"id": ""}, "chat"),
    ],
    ids=["by name", "by type", "Mistral", "by output", "llama.cpp", "a bare list", "malformed"],
)
def test_models_that_cannot_chat_are_passed_over(models: object) -> None:
    with raw_engine(engine_with(models, "chat")) as server:
        assert ask(server, "gpt-4o")[-1] == "chat"


@pytest.mark.parametrize("models", [data(), data("bge-m3"), data("gone"), {}, {"data": None}, "x", 5])
def test_no_model_that_can_chat(models: object) -> None:
    with raw_engine(engine_with(models, "nothing")) as server, pytest.raises(EngineUnavailable) as raised:
        ask(server, "gpt-4o")
    assert raised.value.message == "The model engine has no model that can chat."


def test_a_list_that_cannot_be_had() -> None:
    def script(connection: Connection) -> None:
        if connection.request.path == "/v1/models":
            connection.answer(401, {})
        else:
            connection.answer(*MISSING["OpenAI"])

    with raw_engine(script) as server, pytest.raises(EngineUnavailable, match="no model that can chat"):
        ask(server, "gpt-4o")


def test_a_stand_in_that_went_away_is_replaced() -> None:
    has = ["first"]

    def script(connection: Connection) -> None:
        engine_with(data(has[0]), has[0])(connection)

    async def run(server: RawEngine) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        for name in ("first", "second"):
            has[0] = name
            async with aclosing(engine.stream(ChatRequest("gpt-4o", []))) as stream:
                async for _ in stream:
                    pass
        await engine.close()

    with raw_engine(script) as server:
        asyncio.run(run(server))
        assert seen(server) == ["gpt-4o", "/v1/models", "first", "first", "/v1/models", "second"]


def test_the_map_decides() -> None:
    with raw_engine(engine_with(data("other"), "qwen3-8b")) as server:
        assert ask(server, "gpt-4o", model_map={"gpt-4o": "qwen3-8b"}) == ["qwen3-8b"]


def test_a_wrong_map_is_not_papered_over() -> None:
    with raw_engine(engine_with(data("other"), "other")) as server:
        with pytest.raises(EngineUnavailable, match=r"'qwen3-8b', which OXILLAMA_MODEL_MAP names for 'gpt-4o'"):
            ask(server, "gpt-4o", model_map={"gpt-4o": "qwen3-8b"})
        assert seen(server) == ["qwen3-8b"]


def test_another_bad_request_asks_for_no_other_model() -> None:
    def script(connection: Connection) -> None:
        connection.answer(400, {"error": {"message": "bad schema"}})

    with raw_engine(script) as server:
        with pytest.raises(EngineRefused):
            ask(server, "gpt-4o")
        assert seen(server) == ["gpt-4o"]
