"""HTTP itself: headers, sizes, encodings, betas and empty bodies (behaviour.md, section 1)."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.web.test_refusals import ASSISTANTS, MESSAGES, RUN, RUNS, THREADS, USER, filled

JSON_HEAD = "Host: localhost\r\nContent-Type: application/json\r\n"
LARGEST = 8 * 1024 * 1024
TOO_LARGE = (413, "The request body is larger than this server accepts.", "invalid_request_error", None, "request_too_large")
#: The application never sees these requests: the server in front of it refuses them.
UNREADABLE = {
    "not HTTP": b"hello\r\n\r\n",
    "a request line too long": b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header too long": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "too many headers": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "a header without a name": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n: y\r\n\r\n",
    "two lengths": b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length that is none": b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "a version to come": b"GET /v1/models HTTP/9.1\r\nHost: localhost\r\n\r\n",
}


def check_headers(answer):
    assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["openai-version"] == "2020-10-01"
    assert answer.headers["openai-processing-ms"].isdecimal()
    assert answer.headers["openai-organization"] and answer.headers["openai-project"] == "default"
    assert answer.headers["content-type"] in ("application/json", "text/event-stream; charset=utf-8")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", THREADS + "/{thread}", 200),
        ("GET", MESSAGES, 200),
        ("GET", RUN + "/events", 200),
        ("GET", "/v1/models", 200),
        ("GET", THREADS + "/undefined", 400),
        ("GET", THREADS + "/thread_x", 404),
        ("GET", "/nowhere", 404),
        ("PUT", THREADS, 405),
        ("POST", RUN + "/cancel", 400),
        ("GET", "/health", 200),
    ],
)
def test_every_answer_has_the_headers_of_the_api(bare, objects, engine, method, path, status):
    answer = bare.request(method, filled(path, objects))
    assert answer.status == status
    check_headers(answer)
    assert answer.headers["x-request-id"] != bare.request(method, filled(path, objects)).headers["x-request-id"]


def test_streams_have_them_too(bare, objects, engine):
    answer = bare.post("/v1/threads/runs", {"assistant_id": objects.assistant, "stream": True})
    assert answer.status == 200
    check_headers(answer)


@pytest.mark.parametrize("sent", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_request_is_refused_in_the_envelope_with_the_headers(bare, objects, unchanged, sent):
    answer = bare.exchange(sent)
    status, message, kind, param, code = answer.error
    assert status in (400, 414, 431, 505) and (kind, param, code) == ("invalid_request_error", None, None)
    assert "xxx" not in message, "what was sent is not quoted"
    check_headers(answer)


def body_of(size):
    frame = json.dumps({**USER, "metadata": {}})
    return frame.encode() + b" " * (size - len(frame))


def test_a_body_as_large_as_allowed(bare, objects):
    answer = bare.post(f"{THREADS}/{objects.other}/messages", body_of(LARGEST))
    assert answer.status == 200
    assert bare.delete(f"{THREADS}/{objects.other}/messages/{answer.json['id']}").status == 200


def test_a_body_too_large(bare, objects, unchanged):
    answer = bare.post(filled(MESSAGES, objects), body_of(LARGEST + 1))
    assert answer.error == TOO_LARGE
    check_headers(answer)


def test_a_body_too_large_that_only_says_so(bare, objects, unchanged):
    """The answer does not wait for what is announced."""
    head = f"POST {filled(MESSAGES, objects)} HTTP/1.1\r\n{JSON_HEAD}Content-Length: {10**12}\r\n\r\n"
    assert bare.exchange(head.encode()).error == TOO_LARGE


def test_a_chunked_body_too_large(bare, objects, unchanged):
    head = f"POST {filled(MESSAGES, objects)} HTTP/1.1\r\n{JSON_HEAD}Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    assert bare.exchange(head.encode() + chunk * 9 + b"0\r\n\r\n").error == TOO_LARGE


def test_a_chunked_body(bare, objects):
    answer = bare.request("POST", f"{THREADS}/{objects.other}/messages", iter([b'{"role": "us', b'er", "content": "H', b'i"}']))
    assert answer.status == 200 and answer.json["content"][0]["text"]["value"] == "Hi"
    assert bare.delete(f"{THREADS}/{objects.other}/messages/{answer.json['id']}").status == 200


@pytest.mark.parametrize("beta", [None, "", "assistants=v2", "realtime=v1, assistants=v2", "assistants=v2,x=y", "  assistants=v2  "])
def test_betas_that_are_accepted(bare, objects, beta):
    headers = {} if beta is None else {"OpenAI-Beta": beta}
    assert bare.get(f"{THREADS}/{objects.thread}", headers).status == 200


@pytest.mark.parametrize("beta", ["assistants=v1", "assistants=v3", "assistants=", "realtime=v1, assistants=v1"])
@pytest.mark.parametrize("path", [ASSISTANTS, THREADS, THREADS + "/runs"])
def test_another_version_of_the_assistants_api(bare, unchanged, beta, path):
    text = (
        "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
        "Please try again by setting the header 'OpenAI-Beta: assistants=v2'."
    )
    assert bare.post(path, {}, {"OpenAI-Beta": beta}).error == (400, text, "invalid_request_error", None, "invalid_beta")


def test_an_unknown_beta(bare, unchanged):
    expected = (400, "Unknown beta requested: 'telepathy=v2'.", "invalid_request_error", None, "invalid_beta")
    assert bare.post(THREADS, {}, {"OpenAI-Beta": "telepathy=v2"}).error == expected


def test_models_do_not_ask_for_a_beta(bare, engine):
    assert bare.get("/v1/models", {"OpenAI-Beta": "assistants=v1"}).status == 200


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "0"}, {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}])
@pytest.mark.parametrize("body", [None, b""])
def test_a_thread_from_no_body_at_all(bare, headers, body):
    answer = bare.request("POST", THREADS, body, headers)
    assert answer.status == 200
    assert (answer.json["metadata"], answer.json["tool_resources"]) == ({}, {})
    assert bare.delete(f"{THREADS}/{answer.json['id']}").status == 200


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_content_types_that_are_json(bare, kind):
    assert bare.post(THREADS, b"{}", {"Content-Type": kind}).status == 200


def test_the_accept_header_decides_nothing(bare, objects, engine):
    body = {"assistant_id": objects.assistant, "stream": True}
    streamed = bare.post("/v1/threads/runs", body, {"Accept": "application/json"})
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    plain = bare.get(f"{THREADS}/{objects.thread}", {"Accept": "text/event-stream"})
    assert plain.headers["content-type"] == "application/json"


def test_explicit_nulls_are_as_not_given(bare, objects, engine):
    names = ("name", "description", "instructions", "tools", "tool_resources", "metadata", "temperature", "top_p", "response_format")
    assistant = bare.post(ASSISTANTS, {"model": "m", "reasoning_effort": None, **dict.fromkeys(names)}).json
    defaults = {"tools": [], "tool_resources": {}, "metadata": {}, "temperature": 1.0, "top_p": 1.0, "response_format": "auto"}
    assert {name: assistant[name] for name in defaults} == defaults
    thread = bare.post(THREADS, {"messages": None, "metadata": None, "tool_resources": None}).json
    path = f"{THREADS}/{thread['id']}"
    message = bare.post(f"{path}/messages", {**USER, "attachments": None, "metadata": None}).json
    assert (message["attachments"], message["metadata"]) == ([], {})
    options = ("model", "instructions", "additional_instructions", "additional_messages", "tools", "metadata", "temperature", "top_p")
    more = ("stream", "max_prompt_tokens", "max_completion_tokens", "truncation_strategy", "tool_choice", "parallel_tool_calls")
    run = bare.post(f"{path}/runs", {"assistant_id": objects.assistant, **dict.fromkeys((*options, *more))}).json
    assert run["truncation_strategy"] == {"type": "auto", "last_messages": None}
    assert (run["tool_choice"], run["parallel_tool_calls"], run["instructions"]) == ("auto", True, "Answer.")
    bare.get(f"{path}/runs/{run['id']}/events")
    kept = bare.post(path, {"metadata": {"a": "b"}}).json
    assert bare.post(path, {"metadata": None}).json == kept
    bare.delete(path)


def test_a_doubled_key_counts_once_and_its_last_value(bare):
    answer = bare.post(THREADS, b'{"metadata": {"a": "1"}, "metadata": {"a": "2"}}')
    assert (answer.status, answer.json["metadata"]) == (200, {"a": "2"})


def test_text_of_every_kind_comes_back_as_it_was(bare):
    thread = bare.post(THREADS, {}).json
    for text in (
        " ",
        "\n",
        "ä\u2028\u2029",
        "\U0001f600" * 3,
        "\x00 and \x7f",
        '"\\/',
        "</script>",
        "event: done\ndata: [DONE]\n\n",
        "\ufeff",
    ):
        message = bare.post(f"{THREADS}/{thread['id']}/messages", {"role": "user", "content": text}).json
        assert message["content"] == [{"type": "text", "text": {"value": text, "annotations": []}}]
        assert bare.get(f"{THREADS}/{thread['id']}/messages/{message['id']}").json == message
    assert len(bare.get(f"{THREADS}/{thread['id']}/messages").json["data"]) == 9
    bare.delete(f"{THREADS}/{thread['id']}")


def test_nested_as_deep_as_json_schemas_go(bare):
    parameters: dict = {"type": "object"}
    for _ in range(40):
        parameters = {"type": "object", "properties": {"a": parameters}}
    body = {"model": "m", "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}
    answer = bare.post(ASSISTANTS, body)
    assert answer.json["tools"][0]["function"]["parameters"] == parameters
    assert bare.get(f"{ASSISTANTS}/{answer.json['id']}").json == answer.json


def test_many_requests_at_once(bare, objects):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: bare.get(filled(RUNS, objects)), range(200)))
    assert {answer.status for answer in answers} == {200} and len({answer.body for answer in answers}) == 1
    assert len({answer.headers["x-request-id"] for answer in answers}) == 200
