"""The bytes of an answer as engines really send them: what surrounds the chunks, and what is no stream at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import STOP, TOOL, ask, failing, fault, heard, streaming
from raw_engine import Connection, Script, raw_engine

from oxillama import errors
from oxillama.engine.interface import CallDelta, Finished, TextDelta, TokenUsage

CHUNK = json.dumps({"choices": [{"index": 0, "delta": {"content": "x"}}]})
END = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})


def sending(body: str | bytes, content_type: str = "text/event-stream") -> Script:
    return failing(200, body if isinstance(body, bytes) else body.encode(), content_type)


@pytest.mark.parametrize(
    "body",
    [
        f"\ufeffdata: {CHUNK}\n\ndata: {END}\n\ndata: [DONE]\n\n",
        f"\ufeff\n\ndata: {CHUNK}\n\ndata: {END}\n\n",
        f"data:{CHUNK}\n\ndata:{END}\n\ndata:[DONE]\n\n",
        f"data: {CHUNK}\r\n\r\ndata: {END}\r\n\r\ndata: [DONE]\r\n\r\n",
        f": OPENROUTER PROCESSING\n\n:\n\ndata: {CHUNK}\n\n: ping\n\ndata: {END}\n\n",
        f"event: message\nid: 7\nretry: 100\ndata: {CHUNK}\n\ndata: {END}\n\n",
        f"data: {CHUNK}\n\ndata: {END}\n\ndata: [DONE]",
        f"data: {CHUNK}\n\ndata: {END}",
        f"data: {CHUNK}\n\ndata: [DONE]\n\n",
        f'data: {CHUNK}\n\ndata: {{"choices": [{{"index": 0, "delta": {{}}, "finish_reason": ""}}]}}\n\ndata: [DONE]\n\n',
        f"data: {CHUNK}\n\ndata: [DONE]",
    ],
    ids=["mark", "mark alone", "no space", "crlf", "comments", "fields", "no end", "no end at all", "no reason", "empty reason", "neither"],
)
def test_it_is_one_answer(body: str) -> None:
    assert heard(sending(body)) == [TextDelta("x"), STOP]


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain; charset=utf-8"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_whole_completion_instead_of_a_stream(content_type: str, indent: int | None) -> None:
    message = {"role": "assistant", "content": "Hé", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    whole = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": usage}
    found = heard(sending(json.dumps(whole, indent=indent), content_type), tools=[TOOL])
    assert found == [TextDelta("Hé"), CallDelta(0, "f", "{}", "a"), Finished("tool_calls", TokenUsage(3, 2))]


def test_a_whole_completion_without_a_reason() -> None:
    assert heard(sending('{"choices": [{"message": {"content": "x"}}]}')) == [TextDelta("x"), STOP]


@pytest.mark.parametrize("body", ["{}", '{"message": {"content": "x"}}', '{"choices": []}', "{", "<html>", "[1]", "x" * 100])
def test_what_is_no_completion(body: str) -> None:
    assert "not a chat completion" in fault(sending(body)).message


SHAPES: list[tuple[str, Any, type[errors.EngineError]]] = [
    ("data", {"error": {"message": "x", "code": 400}}, errors.EngineRefused),
    ("data", {"error": {"message": "x", "type": "invalid_request_error"}}, errors.EngineRefused),
    ("data", {"error": "out of memory"}, errors.EngineUnavailable),
    ("data", {"error": {"message": "x", "status_code": 422}}, errors.EngineRefused),
    ("data", {"id": "gen-1", "choices": [{"delta": {}, "finish_reason": "error"}], "error": {"code": 502}}, errors.EngineUnavailable),
    ("data", {"object": "error", "message": "x", "type": "BadRequestError", "code": 400}, errors.EngineRefused),
    ("data", {"detail": "Internal Server Error"}, errors.EngineUnavailable),
    ("data", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, errors.EngineUnavailable),
    ("error", {"code": 400, "message": "x", "type": "invalid_request_error"}, errors.EngineRefused),
    ("event: error\ndata", {"code": 400, "message": "x"}, errors.EngineRefused),
    ("event: error\ndata", "not even an object", errors.EngineUnavailable),
]


@pytest.mark.parametrize(("field", "error", "kind"), SHAPES)
def test_an_error_in_the_middle_of_a_stream(field: str, error: object, kind: type[errors.EngineError]) -> None:
    assert type(fault(sending(f"data: {CHUNK}\n\n{field}: {json.dumps(error)}\n\n"))) is kind


def test_an_error_event_in_words() -> None:
    assert type(fault(sending(f"data: {CHUNK}\n\nevent: error\ndata: upstream failed\n\n"))) is errors.EngineUnavailable


@pytest.mark.parametrize("error", [{"error": {"message": "x", "code": 400}}, {"object": "error", "message": "x", "code": 400}])
def test_an_error_inside_a_200(error: object) -> None:
    found = fault(failing(200, error))
    assert type(found) is errors.EngineRefused
    assert found.message.endswith(": x")


def test_an_error_in_a_list() -> None:
    found = fault(failing(400, [{"error": {"code": 400, "message": "roles, please", "status": "INVALID_ARGUMENT"}}]))
    assert found.message == "The model engine refused the request: roles, please"


@pytest.mark.parametrize("tail", ["", 'data: {"choices": [{"ind', ": ping\n\n"])
def test_an_end_without_a_reason_is_none(tail: str) -> None:
    assert type(fault(sending(f"data: {CHUNK}\n\n{tail}"))) is errors.EngineBrokenOff


def test_an_error_behind_the_end_does_no_harm() -> None:
    assert heard(sending(f'data: {CHUNK}\n\ndata: {END}\n\ndata: {{"error": "late"}}\n\n')) == [TextDelta("x"), STOP]


def test_an_engine_may_compress() -> None:
    import gzip

    def script(connection: Connection) -> None:
        data = gzip.compress(f"data: {CHUNK}\n\ndata: {END}\n\n".encode())
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n")
        connection.send(data)

    with raw_engine(script) as server:
        assert ask(server)[0] == TextDelta("x")


def test_calls_with_empty_ids_and_signatures() -> None:
    """Gemini's: no index, an empty id, and an `extra_content` that it wants back."""
    extra = {"google": {"thought_signature": "abc"}}
    calls = [{"id": "", "function": {"name": "f", "arguments": "{}"}}, {"id": "", "function": {"name": "f", "arguments": '{"a":1}'}}]
    calls[0]["extra_content"] = extra
    found = heard(streaming({"tool_calls": calls}), tools=[TOOL])
    assert found[:2] == [CallDelta(0, "f", "{}", None, extra), CallDelta(1, "f", '{"a":1}')]


def test_usage_in_a_member_of_groqs() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    last = json.dumps({"choices": [], "x_groq": {"id": "req_1", "usage": usage}})
    assert heard(sending(f"data: {CHUNK}\n\ndata: {END}\n\ndata: {last}\n\n"))[-1] == Finished("stop", TokenUsage(3, 2))
