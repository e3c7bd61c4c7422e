"""The validation accepts what the hosted API sends and refuses what it does not: else its verdicts on the server mean nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from oxillama.objects import assistant, message, page, run, step, stream_event, thread
from tests.contract import validation
from tests.contract.validation import ContractViolation, StreamCheck, check, check_error, check_event

#: The examples of behaviour.md, section 13: one a line, schema and JSON.
_EXAMPLES = [line.split(" ", 1) for line in Path(__file__).with_name("examples.txt").read_text().splitlines()]
_STAMP = 1_790_000_000_000_000
_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}}

Value = dict[str, Any]

# The SDK says so at every call; here it is the point.
pytestmark = pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning")


def _example(kind: str, number: int = 0) -> Value:
    value: Value = json.loads([text for name, text in _EXAMPLES if name == kind][number])
    return value


@pytest.fixture(autouse=True)
def nothing_left_over() -> Iterator[None]:
    yield
    validation.take_violations()


@pytest.mark.parametrize(("kind", "text"), _EXAMPLES)
def test_accepts_the_documented_examples(kind: str, text: str) -> None:
    check(kind, json.loads(text))


def _objects() -> Iterator[tuple[str, Value]]:
    helper = assistant.new_assistant({"model": "local", "tools": [_TOOL] * 30})
    talk = thread.new_thread({})
    asked = message.caller_message(talk["id"], {"role": "user", "content": "Hi"}, _STAMP)
    queued = run.new_run(talk["id"], helper, {}, stamp=_STAMP, expiry_seconds=600)
    working = run.moved(queued, "in_progress")
    written = message.run_message(working, _STAMP)
    writing = step.message_step(working, written["id"], _STAMP)
    calling = step.tool_calls_step(working, _STAMP)
    call = {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
    failure = {"code": "server_error", "message": "The engine cannot be reached."}
    usage = run.usage(3, 2)
    yield "AssistantObject", helper
    yield "ThreadObject", talk
    yield "DeleteAssistantResponse", assistant.deleted("assistant", helper["id"])
    yield "DeleteThreadResponse", assistant.deleted("thread", talk["id"])
    yield "DeleteMessageResponse", assistant.deleted("thread.message", asked["id"])
    yield "MessageObject", asked
    yield "MessageObject", written
    yield "MessageObject", message.finish(written, [message.text_part("Hello")], None)
    yield "MessageObject", message.finish(written, [], "max_tokens")
    yield "RunObject", queued
    yield "RunObject", run.moved(working, "requires_action", required_action=action)
    yield "RunObject", run.moved(working, "completed", usage=run.total_usage([usage, None]))
    yield "RunObject", run.moved(working, "failed", last_error=failure, usage=usage)
    yield "RunObject", run.moved(working, "incomplete", incomplete_details={"reason": "max_completion_tokens"}, usage=usage)
    yield "RunStepObject", writing
    yield "RunStepObject", {**calling, "step_details": {"type": "tool_calls", "tool_calls": [step.function_call("call_a", "f", "{}")]}}
    for status in ("completed", "failed", "cancelled", "expired"):
        yield "RunStepObject", step.finish(writing, status, usage=usage, last_error=failure if status == "failed" else None)
    yield "ListMessagesResponse", json.loads(page.Page([], has_more=False).wire_form())
    yield "ListMessagesResponse", json.loads(page.Page([(asked["id"], json.dumps(asked).encode())], has_more=True).wire_form())


@pytest.mark.parametrize(("kind", "value"), list(_objects()))
def test_accepts_what_our_objects_are_made_of(kind: str, value: Value) -> None:
    check(kind, value)


def test_accepts_our_events() -> None:
    call, content = step.function_call("call_a", "f", ""), message.GrowingContent()
    log = b"".join(
        [
            stream_event.content_delta("msg_a", content.add("text", "Hel")),
            stream_event.content_delta("msg_a", content.add("text", "lo")),
            stream_event.content_delta("msg_a", content.add("refusal", "no")),
            stream_event.call_opened("step_a", 0, call),
            stream_event.call_arguments("step_a", 0, "{}"),
            stream_event.error_event("The data directory cannot be read."),
        ]
    )
    for name, data, _ in stream_event.frames(log):
        check_event(name, json.loads(data))


@pytest.mark.parametrize("kind", ["AssistantObject", "ThreadObject", "MessageObject", "RunObject", "RunStepObject"])
def test_refuses_each_missing_key_and_any_other(kind: str) -> None:
    whole = _example(kind)
    for name in whole:
        with pytest.raises(ContractViolation, match=f"'{name}' is a required property"):
            check(kind, {key: value for key, value in whole.items() if key != name})
    with pytest.raises(ContractViolation, match="'surplus' was unexpected"):
        check(kind, {**whole, "surplus": None})


_RUN, _STEP, _MESSAGE, _DELTA = "RunObject", "RunStepObject", "MessageObject", "RunStepDeltaObject"


@pytest.mark.parametrize(
    ("kind", "number", "spoil", "said"),
    [
        (_RUN, 0, lambda v: v.update(status="pending"), r"\$.status: 'pending' is not one of"),
        (_RUN, 0, lambda v: v.update(created_at="1790000012"), r"\$.created_at: '1790000012' is not of type 'integer'"),
        (_RUN, 0, lambda v: v.update(created_at=1790000012.0), r"\$.created_at: 1790000012.0 is not of type 'integer'"),
        (_RUN, 0, lambda v: v.update(created_at=True), r"\$.created_at: True is not of type 'integer'"),
        (_RUN, 0, lambda v: v.update(model=None), r"\$.model: None is not of type 'string'"),
        (_RUN, 0, lambda v: v.update(tools=v["tools"] * 129), r"\$.tools: .* is too long"),
        (_RUN, 0, lambda v: v["tools"][0]["function"].pop("strict"), r"\$.tools\[0\]"),
        (_RUN, 0, lambda v: v["required_action"]["submit_tool_outputs"]["tool_calls"][0].update(output=None), "'output' was unexpected"),
        (_RUN, 1, lambda v: v["usage"].update(prompt_tokens="310"), r"\$.usage"),
        (_RUN, 1, lambda v: v["usage"].update(prompt_tokens_details={}), r"\$.usage"),
        (_RUN, 2, lambda v: v["last_error"].update(code="rate_limit"), r"\$.last_error.code"),
        (_RUN, 2, lambda v: v["last_error"].update(param=None), "'param' was unexpected"),
        (_RUN, 2, lambda v: v.update(metadata={"n": 1}), r"\$.metadata"),
        (_STEP, 0, lambda v: v["step_details"]["tool_calls"][0]["function"].pop("output"), r"\$.step_details"),
        (_STEP, 0, lambda v: v.update(status="queued"), r"\$.status"),
        (_MESSAGE, 0, lambda v: v["content"][0].update(text="a string"), r"\$.content\[0\]"),
        (_MESSAGE, 0, lambda v: v["content"][0]["text"].pop("annotations"), r"\$.content\[0\]"),
        (_MESSAGE, 1, lambda v: v["incomplete_details"].update(reason="cancelled"), r"\$.incomplete_details"),
        (_DELTA, 0, lambda v: v["delta"].update(id="step_a"), "'id' was unexpected"),
        (_DELTA, 0, lambda v: v["delta"]["step_details"]["tool_calls"][0].pop("index"), "step_details"),
    ],
)
def test_refuses_wrong_values(kind: str, number: int, spoil: Callable[[Value], object], said: str) -> None:
    value = _example(kind, number)
    spoil(value)
    with pytest.raises(ContractViolation, match=said):
        check(kind, value)


def test_lists() -> None:
    item = _example("ThreadObject")
    empty: Value = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    full = {"object": "list", "data": [_example("RunObject")], "first_id": "run_a", "last_id": "run_a", "has_more": True}
    check("ListRunsResponse", empty)
    check("ListRunsResponse", full)
    for wrong in ({**empty, "first_id": "run_a"}, {**empty, "has_more": True}, {**full, "last_id": None}, {**full, "data": [item]}):
        with pytest.raises(ContractViolation):
            check("ListRunsResponse", wrong)


def test_error_envelope() -> None:
    error: Value = {"message": "No thread found with id 'thread_x'.", "type": "invalid_request_error", "param": None, "code": None}
    check_error({"error": error})
    bodies: list[Any] = [{"error": {**error, "status": 404}}, {"error": {"message": "m", "type": "t"}}, error, {"error": "text"}, []]
    for wrong in bodies:
        with pytest.raises(ContractViolation):
            check_error(wrong)


def test_events() -> None:
    check_event("thread.run.requires_action", _example("RunObject"))
    check_event("error", {"error": {"message": "m", "type": "server_error", "param": None, "code": None}})
    with pytest.raises(ContractViolation, match="carries status"):
        check_event("thread.run.completed", _example("RunObject"))
    with pytest.raises(ContractViolation, match="no such event"):
        check_event("ping", {})
    with pytest.raises(ContractViolation, match="ErrorResponse"):
        check_event("error", {"message": "m", "type": "server_error", "param": None, "code": None})


def test_kinds_by_path() -> None:
    assert validation.kind_of("POST", "/threads/runs") == "RunObject"
    assert validation.kind_of("POST", "/threads/thread_a") == "ThreadObject"
    assert validation.kind_of("GET", "/threads/thread_a/runs/run_a/steps") == "ListRunStepsResponse"
    assert validation.kind_of("DELETE", "/threads/thread_a/messages/msg_a") == "DeleteMessageResponse"
    assert validation.kind_of("GET", "/threads/thread_a/runs/run_a/events") is None


def _stream() -> list[bytes]:
    """A short faithful stream."""
    work = _example("RunStepObject", 1)
    text = {**_example("MessageObject", 1), "status": "in_progress", "incomplete_details": None, "incomplete_at": None, "content": []}
    done = {**text, "status": "completed", "completed_at": 1790000022}
    return [
        stream_event.frame("thread.run.step.created", work),
        stream_event.frame("thread.run.step.in_progress", work),
        stream_event.frame("thread.message.created", text),
        stream_event.frame("thread.message.in_progress", text),
        b": keep-alive\n\n",
        stream_event.content_delta(text["id"], message.GrowingContent().add("text", "Hé")),
        stream_event.frame("thread.message.completed", done),
        stream_event.frame("thread.run.step.completed", {**work, "status": "completed"}),
        stream_event.frame("thread.run.completed", _example("RunObject", 1)),
        stream_event.DONE,
    ]


def _problems(frames: list[bytes], *, hosted: bool = True) -> str:
    """What a stream check finds, fed byte by byte: no cut may matter."""
    stream = StreamCheck(hosted=hosted)
    for byte in b"".join(frames):
        stream.feed(bytes([byte]))
    stream.end()
    return "\n".join(map(str, stream.violations))


def test_streams_accepted() -> None:
    assert _problems(_stream()) == ""
    # A submit stream begins with the end of a step that an earlier stream created.
    assert _problems([stream_event.frame("thread.run.step.completed", _example("RunStepObject")), *_stream()]) == ""
    # A run's log may be joined anywhere, and has ids.
    framed = [b"id: %d\n" % number + frame for number, frame in enumerate(_stream()[5:9])]
    assert _problems([framed[0], b": keep-alive\n", *framed[1:]], hosted=False) == ""


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f.pop(), "ends without done"),
        (lambda f: f.append(f[8]), "thread.run.completed after done"),
        (lambda f: f.pop(2), "but open is None"),
        (lambda f: f.insert(3, f[2]), "is open"),
        (lambda f: f.insert(7, f[2]), "a second time"),
        (lambda f: f.insert(7, f[5]), "thread.message.delta for"),
        (lambda f: f.insert(1, b"event: ping\ndata: {}\n\n"), "no such event"),
        (lambda f: f.insert(1, b'data: {"a":\ndata: 1}\n\n'), "not a frame"),
        (lambda f: f.insert(1, b"event: thread.created\ndata: {\n\n"), "is not JSON"),
        (lambda f: f.insert(1, b"id: 7\n" + f[1]), "no id lines"),
        (lambda f: f.append(b"event: "), "inside a frame"),
    ],
)
def test_streams_refused(spoil: Callable[[list[bytes]], object], said: str) -> None:
    frames = _stream()
    spoil(frames)
    assert said in _problems(frames)


def test_blank_line_after_an_id_is_refused() -> None:
    frames = [b"id: 7\n" + _stream()[0], b": keep-alive\n\n"]
    assert "a blank line without a frame, after an id" in _problems(frames, hosted=False)


class _Server(ThreadingHTTPServer):
    """Answers every request with what it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        self.status, self.kind, self.chunks = 200, "application/json", [b"{}"]
        self.gate = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.server.status)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("x-request-id", "req_" + "0" * 32)
        self.end_headers()
        with contextlib.suppress(OSError):
            for number, chunk in enumerate(self.server.chunks):
                if number == 1:
                    self.server.gate.wait(5)
                self.wfile.write(chunk)

    do_POST = do_GET


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    server.server_close()


def test_client_checks_json(server: _Server) -> None:
    with validation.validating_client(server.url, max_retries=0) as client:
        server.chunks = [json.dumps(_example("ThreadObject")).encode()]
        assert client.beta.threads.retrieve("thread_a").id.startswith("thread_")
        assert client.violations == []

    with pytest.raises(ContractViolation, match="'metadata' is a required"), validation.validating_client(server.url) as client:
        server.chunks = [b'{"id":"thread_a","object":"thread","created_at":1,"tool_resources":{}}']
        # A client made from this one reports to the same list.
        client.with_options(timeout=5).beta.threads.retrieve("thread_a")
    assert len(validation.take_violations()) == 1


def test_client_checks_errors(server: _Server) -> None:
    server.status, server.kind, server.chunks = 404, "text/html", [b"<h1>Not Found</h1>"]
    client = validation.validating_client(server.url, max_retries=0)
    with contextlib.suppress(Exception):
        client.beta.threads.retrieve("thread_a")
    assert [str(violation).split(": ")[1][:12] for violation in client.violations] == ["content-type", "not JSON"]


def test_client_checks_streams_as_they_pass(server: _Server) -> None:
    frames = _stream()
    server.kind, server.chunks = "text/event-stream; charset=utf-8", [b"".join(frames[:6]), b"".join(frames[6:])]
    with validation.validating_client(server.url) as client:
        stream = client.beta.threads.runs.create("thread_a", assistant_id="asst_a", stream=True)
        # Five events arrive while the server still holds the rest back: nothing is buffered.
        names = [next(iter(stream)).event for _ in range(5)]
        server.gate.set()
        names += [event.event for event in stream]
        assert names[-1] == "thread.run.completed"
        assert client.violations == []

    server.chunks = [b"".join([*frames[:4], frames[2], *frames[4:]])]
    with pytest.raises(ContractViolation, match="is open"), validation.validating_client(server.url) as client:
        list(client.beta.threads.runs.create("thread_a", assistant_id="asst_a", stream=True))


def test_async_client(server: _Server) -> None:
    frames = _stream()
    server.gate.set()

    async def scenario() -> None:
        async with validation.validating_async_client(server.url) as client:
            server.kind, server.chunks = "text/event-stream; charset=utf-8", [b"".join(frames[:6]), b"".join(frames[6:])]
            stream = await client.beta.threads.runs.create("thread_a", assistant_id="asst_a", stream=True)
            assert len([event async for event in stream]) == 8
            assert client.violations == []
            server.kind, server.chunks = "application/json", [b'{"id":"thread_a"}']
            await client.beta.threads.retrieve("thread_a")
            assert len(client.violations) == 1
            client.violations.clear()
            server.kind, server.chunks = "text/event-stream; charset=utf-8", [frames[0], frames[-1]]
            async for _ in await client.beta.threads.runs.create("thread_a", assistant_id="asst_a", stream=True):
                pass
            server.chunks = [frames[0]]
            async for _ in await client.beta.threads.runs.create("thread_a", assistant_id="asst_a", stream=True):
                pass

    with pytest.raises(ContractViolation, match="without done"):
        asyncio.run(scenario())
