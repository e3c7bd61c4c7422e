"""The engine client against a scripted server on a real port."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from asking import MESSAGES, PROMPT, STOP, TOOL, ask, collect, failing, fault, heard, streaming
from raw_engine import Connection, RawEngine, raw_engine

from oxillama import errors
from oxillama.engine.chat_completions import ChatCompletionsEngine
from oxillama.engine.interface import Activity, CallDelta, ChatRequest, Delta, Finished, ReasoningDelta, RefusalDelta, TextDelta, TokenUsage
from oxillama.engine_endpoint import EngineEndpoint


def test_text_refusal_and_usage() -> None:
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    script = streaming({"role": "assistant"}, {"content": "Hé"}, {"content": "llo"}, {"refusal": "no"}, usage=usage)
    with raw_engine(script) as server:
        assert ask(server) == [
            Activity(),
            TextDelta("Hé"),
            TextDelta("llo"),
            RefusalDelta("no"),
            Activity(),
            Activity(),
            Finished("stop", TokenUsage(7, 3, 2, 1)),
        ]


def test_only_what_was_asked_for_is_sent() -> None:
    with raw_engine(streaming({"content": "x"})) as server:
        ask(server)
        ask(
            server,
            temperature=0.5,
            top_p=0.9,
            max_tokens=9,
            response_format={"type": "json_object"},
            tools=[TOOL],
            tool_choice="required",
            parallel_tool_calls=False,
            reasoning_effort="low",
        )
        plain = {"model": "m", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
        full = plain | {
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 9,
            "response_format": {"type": "json_object"},
            "tools": [TOOL],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "reasoning_effort": "low",
        }
        assert server.bodies == [plain, full]


def call(arguments: Any, name: str | None = None, **more: Any) -> dict[str, Any]:
    return {**more, "function": {"arguments": arguments} | ({"name": name} if name else {})}


@pytest.mark.parametrize(
    "deltas",
    [
        [[call("", "f", index=0, id="a")], [call('{"x":', index=0)], [call("1}", index=0)], [call("{}", "g", index=1, id="b")]],
        [[call('{"x":1}', "f", id="a"), call("{}", "g", id="b")]],
        [[call('{"x":', "f")], [call("1}")], [call("{}", "g")]],
        [[call('{"x":1}', "f", index=0, id="a")], [call("{}", "g", index=0, id="b")]],
        [[call({"x": 1}, "f", index=0, id="a")], [call({}, "g", index=1, id="b")]],
    ],
    ids=["as specified", "whole, no index", "in parts, no index, no id", "all index 0", "arguments as objects"],
)
def test_calls_are_numbered_and_put_together(deltas: list[Any]) -> None:
    answer = heard(streaming(*({"tool_calls": part} for part in deltas), finish="tool_calls"), tools=[TOOL])
    calls: dict[int, list[str]] = {}
    for delta in answer[:-1]:
        assert isinstance(delta, CallDelta)
        name, arguments = calls.setdefault(delta.index, ["", ""])
        calls[delta.index] = [name + (delta.name or ""), (arguments + delta.arguments).replace(" ", "")]
    assert calls == {0: ["f", '{"x":1}'], 1: ["g", "{}"]}
    assert answer[-1] == Finished("tool_calls", None)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("function_call", "tool_calls"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop"), ("stop", "stop")],
)
def test_finish_reasons(said: str, meant: str) -> None:
    assert heard(streaming({"content": "x"}, finish=said)) == [TextDelta("x"), Finished(meant, None)]


def test_usage_in_every_chunk_counts_once() -> None:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        for tokens in (1, 2):
            connection.chunk(
                choices=[{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop" if tokens == 2 else None}],
                usage={"prompt_tokens": 5, "completion_tokens": tokens},
            )
        connection.done()

    assert heard(script)[-1] == Finished("stop", TokenUsage(5, 2))


def test_malformed_chunks_are_skipped() -> None:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        for bad in ("null", "5", "[]", '"x"', '{"choices": null}', '{"choices": [null, 3, {"delta": null}, {"delta": {"content": 7}}]}'):
            connection.send(f"data: {bad}\n\n")
        connection.send(": a comment\n\n")
        connection.delta(tool_calls=[None, {}, {"index": None, "function": None}, {"index": 0, "function": {"name": 4}}])
        connection.chunk(choices=[{"delta": {"content": "x"}}], usage="many")
        connection.delta("stop")
        connection.done()

    assert heard(script) == [TextDelta("x"), STOP]


def test_a_connection_cut_after_the_end_does_no_harm() -> None:
    def script(connection: Connection) -> None:
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n")
        connection.delta(content="x")
        connection.delta("stop")

    assert heard(script) == [TextDelta("x"), STOP]


# --- failures


def test_a_closed_port_is_unavailable() -> None:
    with raw_engine(streaming(), listening=False) as server, pytest.raises(errors.EngineUnavailable) as raised:
        ask(server)
    assert raised.value.message == "The model engine cannot be reached."


@pytest.mark.parametrize(
    ("status", "body", "kind", "part"),
    [
        (500, {"error": {"message": "boom"}}, errors.EngineUnavailable, "server error"),
        (502, b"<html>", errors.EngineUnavailable, "server error"),
        (401, {"error": {"message": "bad key sk-abc"}}, errors.EngineUnavailable, "refused the server's credentials"),
        (403, b"", errors.EngineUnavailable, "refused the server's credentials"),
        (400, {"error": {"message": "bad schema"}}, errors.EngineRefused, "bad schema"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required", "input": PROMPT}]}, errors.EngineRefused, "field required"),
        (400, {"error": "in words only"}, errors.EngineRefused, "in words only"),
        (400, b"", errors.EngineRefused, "refused the request."),
        (418, b"", errors.EngineUnavailable, "failed"),
        (200, {"message": {"content": "x"}}, errors.EngineAnswerUnusable, "not a chat completion"),
        (200, b"", errors.EngineAnswerUnusable, "not a chat completion"),
        (200, b"data: {not json\n\n", errors.EngineAnswerUnusable, "not a chat completion"),
        (200, b"data: \xff\xfe\n\n", errors.EngineAnswerUnusable, "not a chat completion"),
        (200, b"data: [DONE]\n\n", errors.EngineAnswerUnusable, "not a chat completion"),
    ],
)
def test_faults(status: int, body: object, kind: type[errors.EngineError], part: str) -> None:
    found = fault(failing(status, body))
    assert type(found) is kind
    assert part in found.message


@pytest.mark.parametrize(
    ("status", "error", "context", "prompt"),
    [
        (
            400,
            {
                "code": 400,
                "type": "exceed_context_size_error",
                "message": "request (12030 tokens) exceeds",
                "n_prompt_tokens": 12030,
                "n_ctx": 1024,
            },
            1024,
            12030,
        ),
        (
            400,
            {
                "code": "context_length_exceeded",
                "message": "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens.",
            },
            4097,
            5000,
        ),
        (
            400,
            {"message": "This model's maximum context length is 2048 tokens. However, you requested 2100 tokens (2000 in the messages)"},
            2048,
            2000,
        ),
        (413, {"message": "over the maximum context length"}, None, None),
    ],
)
def test_a_prompt_that_is_too_long(status: int, error: dict[str, Any], context: int | None, prompt: int | None) -> None:
    found = fault(failing(status, {"error": error}))
    assert isinstance(found, errors.PromptTooLong)
    assert (found.context_tokens, found.prompt_tokens) == (context, prompt)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        (400, "tiny is not a multimodal model"),
        (500, "Failed to create new sequence: this model is missing data required for image input"),
        (400, "Invalid content type. image_url is only supported by certain models."),
    ],
)
def test_an_image_that_the_model_does_not_take(status: int, message: str) -> None:
    found = fault(failing(status, {"error": {"code": status, "message": message, "type": "server_error"}}))
    assert type(found) is errors.EngineRefused
    assert "does not take images" in found.message


def test_a_quoted_refusal_names_no_address_and_no_key() -> None:
    def script(connection: Connection) -> None:
        port = connection.engine.port
        text = f"see http://127.0.0.1:{port}/v1/x or 127.0.0.1:{port} or [::1]:{port} or gpu7.lan:{port} with my-key or sk-abc " + "y" * 900
        connection.answer(400, {"error": {"message": text}})

    message = fault(script, api_key="my-key").message
    for secret in ("gpu7", "::1", "my-key", "sk-abc", "http"):
        assert secret not in message
    assert message.startswith("The model engine refused the request: see …")
    assert len(message) < 600


def test_a_quoted_refusal_names_no_password_however_it_is_written() -> None:
    async def run(url: str) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(url))
        try:
            await collect(engine, ChatRequest("m", MESSAGES))
        finally:
            await engine.close()

    refusal = {"error": {"message": "neither p@ss nor p%40ss"}}
    with raw_engine(failing(400, refusal)) as server, pytest.raises(errors.EngineRefused) as raised:
        asyncio.run(asyncio.wait_for(run(server.url.replace("://", "://me:p%40ss@")), 30))
    assert raised.value.message.endswith("neither … nor …")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "x", "code": 429}, errors.EngineRateLimited),
        ({"message": "x", "type": "rate_limit_exceeded"}, errors.EngineRateLimited),
        ({"message": "x", "code": "context_length_exceeded"}, errors.PromptTooLong),
        ({"message": "x", "type": "invalid_request_error"}, errors.EngineRefused),
        ({"message": "x", "code": 500}, errors.EngineUnavailable),
        ("only words", errors.EngineUnavailable),
    ],
)
def test_an_error_inside_the_stream(error: object, kind: type[errors.EngineError]) -> None:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        connection.delta(content="x")
        connection.chunk(error=error)

    assert type(fault(script)) is kind


@pytest.mark.parametrize("announced", [True, False])
def test_a_stream_cut_short(announced: bool) -> None:
    def script(connection: Connection) -> None:
        length = "Content-Length: 9999\r\n" if announced else ""
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{length}\r\n")
        connection.delta(content="x")

    found = fault(script)
    assert type(found) is errors.EngineBrokenOff
    assert "broke off" in found.message


def test_what_came_before_the_connection_broke_is_heard_though_its_hearer_was_busy() -> None:
    broken_off = threading.Event()

    def script(connection: Connection) -> None:
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for text in ("It ", "is ", "warm"):
            data = f'data: {{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}\n\n'
            connection.send(f"{len(data):x}\r\n{data}\r\n")
            time.sleep(0.1)
        connection.socket.close()
        broken_off.set()

    async def run() -> list[Delta]:
        engine, deltas = ChatCompletionsEngine(EngineEndpoint.at(server.url)), []
        with pytest.raises(errors.EngineAnswerUnusable, match="broke off"):
            async with aclosing(engine.stream(ChatRequest("m", MESSAGES))) as stream:
                async for delta in stream:
                    deltas.append(delta)
                    if delta == TextDelta("It "):
                        await asyncio.to_thread(broken_off.wait, 20)
                        await asyncio.sleep(0.1)
        await engine.close()
        return deltas

    with raw_engine(script) as server:
        assert asyncio.run(asyncio.wait_for(run(), 30)) == [TextDelta("It "), TextDelta("is "), TextDelta("warm")]


@pytest.mark.parametrize(
    "answer",
    [
        "220 the-answer\r\n",
        f"HTTP/1.1 200 OK\r\nX-Padding: {'the-answer' * 1000}\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nthe-answer\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}the-answer",
        "HTTP/1.1 400 X\r\nContent-Length: 100\r\n\r\nthe-answer",
        "HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\nthe-answer\r\n",
        "HTTP/1.1 500 X\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\nthe-answer",
    ],
)
def test_an_answer_that_is_not_http_is_not_told(answer: str) -> None:
    error = fault(lambda connection: connection.send(answer))
    assert type(error) is errors.EngineUnavailable
    assert "the-answer" not in "".join(traceback.format_exception(error))


def test_a_head_that_cannot_be_understood() -> None:
    assert type(fault(lambda connection: connection.send("HTTP/1.1 200 Sch\xf6n\r\n\r\n".encode("latin-1")))) is errors.EngineAnswerUnusable


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with raw_engine(streaming({"content": "x"})) as elsewhere:
        head = f"HTTP/1.1 {status} X\r\nLocation: {elsewhere.url}/chat/completions\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        found = fault(lambda connection: connection.send(head))
        assert elsewhere.requests == []
    assert type(found) is errors.EngineUnavailable
    assert "redirects" in found.message


def test_an_engine_that_gives_up_in_passing() -> None:
    assert type(fault(streaming({"content": "x"}, finish="error"))) is errors.EngineAnswerUnusable


# --- silence


@pytest.mark.parametrize("headers", [True, False])
def test_no_first_token(headers: bool) -> None:
    def script(connection: Connection) -> None:
        if headers:
            connection.begin_stream()
        connection.hang()

    with raw_engine(script) as server:
        with pytest.raises(errors.EngineTimedOut):
            ask(server, options={"first_token_seconds": 0.2, "stall_seconds": 60})
        assert server.hung_up.wait(10)


def test_a_stall_after_the_first_token() -> None:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        connection.delta(content="x")
        connection.hang()

    with raw_engine(script) as server:
        with pytest.raises(errors.EngineTimedOut):
            ask(server, options={"first_token_seconds": 60, "stall_seconds": 0.2})
        assert server.hung_up.wait(10)


def test_reasoning_counts_as_life() -> None:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        for _ in range(22):
            connection.delta(reasoning_content="hm")
            time.sleep(0.1)
        connection.delta(content="x")
        connection.delta("stop")
        connection.done()

    thoughts = [ReasoningDelta("reasoning_content", "hm")] * 22
    assert heard(script, options={"first_token_seconds": 2, "stall_seconds": 2}) == [*thoughts, TextDelta("x"), STOP]


def test_silence_after_the_end_is_not_waited_for() -> None:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        connection.delta(content="x")
        connection.delta("stop")
        connection.hang()

    assert heard(script, options={"stall_seconds": 0.2}) == [TextDelta("x"), STOP]


@pytest.mark.parametrize("when", ["before the headers", "before a token", "between tokens"])
def test_cancelling_hangs_up_at_once(when: str) -> None:
    def script(connection: Connection) -> None:
        if when != "before the headers":
            connection.begin_stream()
        if when == "between tokens":
            connection.delta(content="x")
        connection.hang()

    async def run(server: RawEngine) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        task = asyncio.create_task(collect(engine, ChatRequest("m", MESSAGES)))
        assert await asyncio.to_thread(server.arrived.wait, 5)
        await asyncio.sleep(0.1)
        assert not server.hung_up.is_set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.hung_up.wait, 10)
        await engine.close()

    with raw_engine(script) as server:
        asyncio.run(run(server))


def test_closing_the_generator_hangs_up_at_once() -> None:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        connection.delta(content="x")
        connection.hang()

    async def run(server: RawEngine) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        stream = engine.stream(ChatRequest("m", MESSAGES))
        assert await anext(stream) == TextDelta("x")
        await stream.aclose()
        assert await asyncio.to_thread(server.hung_up.wait, 10)
        await engine.close()

    with raw_engine(script) as server:
        asyncio.run(run(server))


# --- what the engine does not take


def test_max_completion_tokens_is_learned_model_by_model() -> None:
    def script(connection: Connection) -> None:
        if "max_tokens" in connection.request.body and connection.request.body["model"] == "new":
            message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            connection.answer(400, {"error": {"message": message, "param": "max_tokens", "code": "unsupported_parameter"}})
        else:
            streaming({"content": "x"})(connection)

    async def run(server: RawEngine) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        for model in ("new", "new", "old"):
            assert (await collect(engine, ChatRequest(model, MESSAGES, max_tokens=5)))[-1] == STOP
        await engine.close()

    with raw_engine(script) as server:
        asyncio.run(run(server))
        limits = [{name: body[name] for name in body if name.startswith("max_")} for body in server.bodies]
        assert limits == [{"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_completion_tokens": 5}, {"max_tokens": 5}]


def test_several_unknown_parameters_are_left_out() -> None:
    def script(connection: Connection) -> None:
        for name in ("stream_options", "parallel_tool_calls"):
            if name in connection.request.body:
                connection.answer(
                    422, {"detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]}
                )
                return
        streaming({"content": "x"})(connection)

    with raw_engine(script) as server:
        assert ask(server, tools=[TOOL])[-1] == STOP
        assert len(server.bodies) == 3


def test_a_refusal_that_only_mentions_a_parameter_is_not_remembered() -> None:
    def script(connection: Connection) -> None:
        connection.answer(400, {"error": {"message": "no, whatever the stream_options"}})

    async def run(server: RawEngine) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        for _ in range(2):
            with pytest.raises(errors.EngineRefused):
                await collect(engine, ChatRequest("m", MESSAGES))
        await engine.close()

    with raw_engine(script) as server:
        asyncio.run(run(server))
        assert ["stream_options" in body for body in server.bodies] == [True, False, True, False]


# --- the rest


def test_a_proxy_is_ignored_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_engine(failing(500, {})) as proxy, raw_engine(streaming({"content": "x"})) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert ask(server)[-1] == STOP
        assert proxy.requests == []


def test_an_engine_elsewhere_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with raw_engine(streaming({"content": "x"})) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")

        async def run() -> list[Delta]:
            engine = ChatCompletionsEngine(EngineEndpoint.at("http://gpu.invalid/v1", "my-key"))
            try:
                return await collect(engine, ChatRequest("m", MESSAGES))
            finally:
                await engine.close()

        assert asyncio.run(asyncio.wait_for(run(), 30))[-1] == STOP
        assert [(asked.path, asked.headers["authorization"]) for asked in proxy.requests] == [
            ("http://gpu.invalid/v1/chat/completions", "Bearer my-key")
        ]


def test_the_key_is_sent_and_nothing_private_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with raw_engine(streaming({"content": "an-answer"})) as server:
        ask(server, api_key="my-key")
        assert server.requests[0].headers["authorization"] == "Bearer my-key"
    for private in (PROMPT, "an-answer", "my-key", "127.0.0.1"):
        assert private not in caplog.text


def test_a_connection_that_the_engine_keeps_open_is_hung_up_soon() -> None:
    def script(connection: Connection) -> None:
        data = 'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(data)}\r\n\r\n{data}")
        connection.hang()

    async def run() -> bool:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        await collect(engine, ChatRequest("m", MESSAGES))
        hung_up = await asyncio.to_thread(server.hung_up.wait, 10)
        await engine.close()
        return hung_up

    with raw_engine(script) as server:
        assert asyncio.run(asyncio.wait_for(run(), 30))


@pytest.mark.parametrize("api_key", [None, "my-key"])
def test_a_name_and_a_password_in_the_address_count_more_than_a_key(api_key: str | None) -> None:
    async def run(url: str) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(url, api_key))
        await collect(engine, ChatRequest("m", MESSAGES))
        await engine.close()

    with raw_engine(streaming({"content": "x"})) as server:
        asyncio.run(asyncio.wait_for(run(server.url.replace("://", "://me:p%40ss@")), 30))
        assert server.requests[0].headers["authorization"] == "Basic bWU6cEBzcw=="


def test_token_counts_are_estimated_where_the_engine_cannot_count() -> None:
    async def run(server: RawEngine) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        assert [await engine.count_tokens("1234567") for _ in range(2)] == [3, 3]
        assert [await engine.context_tokens("m") for _ in range(2)] == [None, None]
        await engine.close()

    with raw_engine(failing(404, {"error": {"message": "no such path"}})) as server:
        asyncio.run(run(server))
        assert [asked.path for asked in server.requests] == ["/tokenize", "/props", "/v1/models"]


def test_a_passing_failure_of_the_tokenizer_is_not_remembered() -> None:
    def script(connection: Connection) -> None:
        if len(connection.engine.requests) == 1:
            connection.answer(500, {})
        else:
            connection.answer(200, {"tokens": [1, 2]})

    async def run(server: RawEngine) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        assert [await engine.count_tokens("1234567") for _ in range(2)] == [3, 2]
        await engine.close()

    with raw_engine(script) as server:
        asyncio.run(run(server))
