"""The scripted engine, driven by the client that the runner uses: a test tool that lies would make every scenario worthless."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.scripted_engine import (
    Call,
    Hang,
    Raw,
    Reply,
    ScriptedEngine,
    Usage,
    broken_chunks,
    context_exceeded,
    empty_stream,
    html_page,
    rate_limited,
)

_USAGE: Any = {"include_usage": True}


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
def client(engine: ScriptedEngine) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(base_url=engine.url, api_key="sk-x", max_retries=0, http_client=http) as client:
        yield client


def _ask(client: openai.OpenAI, model: str = "scripted-chat") -> Any:
    messages: Any = [{"role": "user", "content": "Hi"}]
    return client.chat.completions.create(model=model, messages=messages, stream=True, stream_options=_USAGE)


def _text(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_text_finish_and_usage(engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.script(Reply(["Hel", "lö"], usage=Usage(3, 2)), Reply(["cut"], finish="length", usage=None))
    chunks = list(_ask(client))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert _text(chunks) == "Hellö"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 5

    chunks = list(_ask(client))
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks)

    assert _text(_ask(client)) == "Hello from the script."
    assert [request["model"] for request in engine.requests] == ["scripted-chat"] * 3
    assert engine.headers[0]["authorization"] == "Bearer sk-x"
    assert engine.wait_until_idle(2)
    assert engine.hung_up == 0


def test_empty_answer(engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.script(Reply())
    chunks = list(_ask(client))
    assert _text(chunks) == ""
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_tool_calls(engine: ScriptedEngine, client: openai.OpenAI) -> None:
    reply = Reply(["Let me see."], [Call("weather", ['{"city":', '"Lisbon"}'], id="call_a"), Call("time", '{"zone":"WET"}')])
    engine.script(reply, reply)
    chunks = list(_ask(client))
    deltas = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.function.name, call.function.arguments) for call in deltas] == [
        (0, "weather", ""),
        (0, None, '{"city":'),
        (0, None, '"Lisbon"}'),
        (1, "time", '{"zone":"WET"}'),
    ]
    assert deltas[0].id == "call_a"
    assert chunks[-2].choices[0].finish_reason == "tool_calls"

    whole = client.chat.completions.create(model="scripted-chat", messages=[{"role": "user", "content": "Hi"}])
    assert whole.choices[0].message.content == "Let me see."
    calls: Any = whole.choices[0].message.tool_calls
    assert [call.function.arguments for call in calls] == ['{"city":"Lisbon"}', '{"zone":"WET"}']


def test_gate_holds_one_piece_back(engine: ScriptedEngine, client: openai.OpenAI) -> None:
    gate = threading.Event()
    engine.script(Reply(["one", "two"], gates={1: gate}))
    stream = _ask(client)
    next(stream)
    assert next(stream).choices[0].delta.content == "one"
    assert engine.open_connections == 1
    gate.set()
    assert _text(stream) == "two"


def test_cut(engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.script(Reply(["one", "two"], cut_after=1), Reply(["one", "two"], end_after=1))
    stream, got = _ask(client), []
    with pytest.raises((httpx2.RemoteProtocolError, openai.APIConnectionError)):
        got.extend(stream)
    assert _text(got) == "one"
    assert _text(_ask(client)) == "one"
    assert engine.hung_up == 0


def test_hang_and_hanging_up(engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.script(Reply(["one", "two"], hang_after=1))
    stream = _ask(client)
    next(stream)
    next(stream)
    with pytest.raises(AssertionError):
        engine.wait_until_hung_up(0.05)
    stream.close()
    assert engine.wait_until_hung_up(2)
    assert engine.open_connections == 0

    engine.script(Hang())
    with pytest.raises(openai.APITimeoutError):
        _ask(client.with_options(timeout=0.1))
    assert engine.wait_until_hung_up(2, count=2)


def test_release(engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.script(Hang(Reply(["at last"])))
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(_text(_ask(client))))
    waiting.start()
    engine.wait_for_requests(1)
    engine.release()
    waiting.join(5)
    assert answers == ["at last"]


def test_ends_with_hung_connections() -> None:
    with ScriptedEngine() as engine:
        engine.default = Hang()
        errors: list[BaseException] = []

        def ask() -> None:
            with pytest.raises((urllib.error.URLError, OSError, httpx2.HTTPError)) as caught:
                httpx2.post(f"{engine.url}/chat/completions", json={"stream": True}, trust_env=False, timeout=20)
            errors.append(caught.value)

        waiting = [threading.Thread(target=ask) for _ in range(3)]
        for thread in waiting:
            thread.start()
        engine.wait_for_requests(3)
    for thread in waiting:
        thread.join(5)
    assert len(errors) == 3


def test_errors(engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.script(rate_limited(3), context_exceeded(9000, 4096), Reply(["one"], error_after=1))
    with pytest.raises(openai.RateLimitError) as limited:
        _ask(client)
    assert limited.value.response.headers["retry-after"] == "3"
    with pytest.raises(openai.BadRequestError) as refused:
        _ask(client)
    body: Any = refused.value.body
    assert (body["n_prompt_tokens"], body["n_ctx"], body["type"]) == (9000, 4096, "exceed_context_size_error")
    with pytest.raises(openai.APIError):
        list(_ask(client))

    engine.strict_models = True
    with pytest.raises(openai.NotFoundError) as unknown:
        _ask(client, "gpt-4o")
    assert unknown.value.code == "model_not_found"
    assert [model.id for model in client.models.list()] == ["scripted-chat"]


def test_nonsense(engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.script(html_page(), empty_stream(), broken_chunks(), Reply(["one", "two"], broken_after=1), Raw(503, b"busy", "text/plain"))
    assert list(_ask(client)) == []
    assert list(_ask(client)) == []
    for _ in range(2):
        with pytest.raises(ValueError, match=r"[Uu]nterminated|[Ee]xpecting"):
            list(_ask(client))
    with pytest.raises(openai.InternalServerError):
        _ask(client)


def test_reply_made_from_the_request(engine: ScriptedEngine, client: openai.OpenAI) -> None:
    engine.default = lambda request: Reply([request["messages"][-1]["content"]])
    assert _text(_ask(client)) == "Hi"


def test_mistake_in_a_script_is_loud() -> None:
    def mistake(_: dict[str, Any]) -> Reply:
        raise KeyError("mistake")

    with pytest.raises(KeyError, match="mistake"), ScriptedEngine() as engine:
        engine.script(mistake)
        with pytest.raises(httpx2.HTTPError):
            httpx2.post(f"{engine.url}/chat/completions", json={}, trust_env=False)
