"""An OpenAI-compatible engine that answers as a test tells it to, well or badly, on a real loopback port.

It owns a thread of the test process, so that a test can look at the requests that arrived and decide, in the middle of an answer,
when the next piece goes out. Races are forced with gates and with `hang_after`, not with sleeps.

    with ScriptedEngine() as engine:
        engine.script(Reply(["Hel", "lo"]), rate_limited())
        ...
        engine.requests[0]["messages"]
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import socketserver
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.waiting import is_readable

_POLL_SECONDS = 0.005
_HTML = b"<!doctype html><html><body><h1>Welcome to nginx!</h1></body></html>"


@dataclass(frozen=True)
class Usage:
    """The token counts of a reply."""

    prompt_tokens: int = 11
    completion_tokens: int = 7
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


@dataclass(frozen=True)
class Call:
    """One tool call of a reply.

    Attributes:
        name: of the function.
        arguments: fragments of the JSON text, each a piece of its own behind one that opens the call; or the whole text as one str,
            which goes out together with the name in a single piece, as some engines do it.
        id: None for a fresh one; may be empty, as some engines have none.
    """

    name: str
    arguments: str | Sequence[str] = "{}"
    id: str | None = None


@dataclass(frozen=True)
class Reply:
    """A completion, or the beginning of one.

    It is sent in pieces, counted from 0: first each fragment of reasoning, of text, of refusal; then for each call, the piece that opens
    it and one for each fragment of its arguments.

    Attributes:
        text: fragments; none for an empty answer.
        calls: tool calls, after the text.
        refusal: fragments, after the text and before the calls.
        reasoning: fragments of thoughts, before everything.
        finish: None for `tool_calls` or `stop`, as fits.
        usage: None when the engine does not count.
        delay: seconds before each piece.
        gates: piece number -> event to wait for before that piece goes out. The number behind the last piece holds back the end.
        hang_after: this many pieces go out, then nothing until `ScriptedEngine.release`.
        cut_after: this many pieces go out, then the connection is closed in the middle of the body.
        end_after: this many pieces go out, then the body ends properly, but without finish reason and [DONE].
        error_after: this many pieces go out, then an error in place of a chunk, as llama.cpp and vLLM do it.
        broken_after: this many pieces go out, then a chunk that is not JSON.
        done: whether [DONE] is sent; some engines just end.
    """

    text: Sequence[str] = ()
    calls: Sequence[Call] = ()
    finish: str | None = None
    usage: Usage | None = Usage()
    delay: float = 0.0
    gates: Mapping[int, threading.Event] = field(default_factory=dict)
    hang_after: int | None = None
    cut_after: int | None = None
    end_after: int | None = None
    error_after: int | None = None
    broken_after: int | None = None
    done: bool = True
    refusal: Sequence[str] = ()
    reasoning: Sequence[str] = ()

    @property
    def finish_reason(self) -> str:
        return self.finish or ("tool_calls" if self.calls else "stop")


@dataclass(frozen=True)
class Raw:
    """Any answer that is not a completion: errors, pages of other servers, nothing at all."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """Accepts the request and sends nothing, not even headers, until `ScriptedEngine.release`; then answers as `then`."""

    then: Reply = Reply(["late"])


@dataclass(frozen=True)
class Cut:
    """Closes the connection instead of answering."""


AnyReply = Reply | Raw | Hang | Cut
#: A reply, or what makes one from the request, for tests with several runs at once.
Scripted = AnyReply | Callable[[dict[str, Any]], AnyReply]


def http_error(status: int, message: str, kind: str, code: Any = None, headers: Mapping[str, str] | None = None, **more: Any) -> Raw:
    """An error answer with a JSON body in OpenAI's form."""
    error = {"message": message, "type": kind, "param": None, "code": code, **more}
    return Raw(status, json.dumps({"error": error}).encode(), headers=headers or {})


def server_error() -> Raw:
    return http_error(500, "something broke at http://10.0.0.7:9999", "server_error")


def rate_limited(retry_after: int | None = None) -> Raw:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return http_error(429, "Rate limit reached", "requests", "rate_limit_exceeded", headers)


def context_exceeded(prompt_tokens: int = 5000, context_tokens: int = 4096) -> Raw:
    """llama.cpp, when the prompt does not fit; wording and fields as in its server of 2026-10."""
    message = f"request ({prompt_tokens} tokens) exceeds the available context size ({context_tokens} tokens), try increasing it"
    error = {
        "code": 400,
        "message": message,
        "type": "exceed_context_size_error",
        "n_prompt_tokens": prompt_tokens,
        "n_ctx": context_tokens,
    }
    return Raw(400, json.dumps({"error": error}).encode())


def model_not_found(model: str) -> Raw:
    return http_error(
        404, f"The model `{model}` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"
    )


def loading() -> Raw:
    """llama.cpp, while it reads the model."""
    return Raw(503, json.dumps({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}).encode())


def redirect(status: int = 307, location: str = "http://127.0.0.1:1/") -> Raw:
    return Raw(status, b"", headers={"Location": location})


def html_page() -> Raw:
    return Raw(200, _HTML, "text/html")


def json_instead_of_stream() -> Raw:
    return Raw(200, b'{"status":"ok"}')


def broken_chunks() -> Raw:
    return Raw(200, b'data: {"id":"chatcmpl-1","choices":[{"delta":{"con\n\ndata: <html>\n\n', "text/event-stream")


def empty_stream() -> Raw:
    """Headers, and then the end."""
    return Raw(200, b"", "text/event-stream")


class ScriptedEngine:
    """The engine. Entering starts it, leaving ends it and everything it hangs on to.

    Attributes:
        default: the reply when the script is used up.
        models: what `GET /v1/models` lists.
        instead_of_models: what it answers instead, one after the other.
        strict_models: whether a model that is not listed is refused; such a request uses up no reply.
        other_endpoints: path below `/v1` -> what it answers; their requests are kept among the others.
        props: what `GET /props` answers, as llama.cpp has it; None for an engine without.
        tokenize: what `POST /tokenize` counts with, as llama.cpp has it; None for an engine without.
    """

    def __init__(self, port: int = 0) -> None:
        self.default: Scripted = Reply(["Hello ", "from the ", "script."])
        self.models: list[dict[str, Any]] = [{"id": "scripted-chat", "object": "model", "created": 1790000000, "owned_by": "tests"}]
        self.instead_of_models: deque[Raw] = deque()
        self.strict_models = False
        self.other_endpoints: dict[str, AnyReply] = {}
        self.props: dict[str, Any] | None = None
        self.tokenize: Callable[[str], list[int]] | None = None
        self._script: deque[Scripted] = deque()
        self._requests: list[Any] = []
        self._headers: list[dict[str, str]] = []
        self._paths: list[str] = []
        self._failures: list[BaseException] = []
        self._open = 0
        self._hung_up = 0
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._stopping = threading.Event()
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="scripted-engine", daemon=True)

    def __enter__(self) -> ScriptedEngine:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()
        if self._failures and error is None:
            raise self._failures[0]

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The base URL, up to and with `/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *replies: Scripted) -> None:
        """Append replies: one for each chat completion request, in the order in which those arrive."""
        with self._changed:
            self._script.extend(replies)

    def release(self) -> None:
        """Everything that hangs now goes on; what hangs later hangs again."""
        with self._changed:
            released, self._released = self._released, threading.Event()
        released.set()

    @property
    def requests(self) -> list[Any]:
        """The bodies of the chat completion requests so far, in order; of requests that are not JSON the bytes."""
        with self._changed:
            return list(self._requests)

    @property
    def headers(self) -> list[dict[str, str]]:
        """The headers of those requests, names in lower case."""
        with self._changed:
            return list(self._headers)

    @property
    def paths(self) -> list[str]:
        """`METHOD /path` of every request so far, of whatever kind."""
        with self._changed:
            return list(self._paths)

    @property
    def open_connections(self) -> int:
        """How many chat completions are being answered now."""
        with self._changed:
            return self._open

    @property
    def hung_up(self) -> int:
        """How many answers the client hung up on before their end, so far."""
        with self._changed:
            return self._hung_up

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> list[Any]:
        """The requests, once there are `count` of them."""
        self._wait(lambda: len(self._requests) >= count, timeout, lambda: f"{len(self._requests)} of {count} requests arrived")
        return self.requests

    def wait_until_hung_up(self, timeout: float = 10.0, count: int = 1) -> bool:
        """Blocks until the client has hung up on `count` answers in all; a hung or gated answer notices within some milliseconds."""
        self._wait(lambda: self._hung_up >= count, timeout, lambda: f"the client hung up on {self._hung_up} of {count} answers")
        return True

    def wait_until_idle(self, timeout: float = 10.0) -> bool:
        """Blocks until no answer is under way."""
        self._wait(lambda: self._open == 0, timeout, lambda: f"{self._open} answers are under way")
        return True

    def _wait(self, reached: Callable[[], bool], timeout: float, told: Callable[[], str]) -> None:
        with self._changed:
            if not self._changed.wait_for(reached, timeout):
                raise AssertionError(f"after {timeout} s: {told()}")

    # What follows is called by the threads that answer.

    def _arrived(self, line: str) -> None:
        with self._changed:
            self._paths.append(line)

    def _asked(self, body: Any, headers: dict[str, str], other: AnyReply | None) -> Scripted:
        with self._changed:
            self._requests.append(body)
            self._headers.append(headers)
            self._open += 1
            self._changed.notify_all()
            if other is not None:
                return other
            if self.strict_models and body.get("model") not in [model["id"] for model in self.models]:
                return model_not_found(str(body.get("model")))
            return self._script.popleft() if self._script else self.default

    def _answered(self, *, hung_up: bool) -> None:
        with self._changed:
            self._open -= 1
            self._hung_up += hung_up
            self._changed.notify_all()

    def _release_event(self) -> threading.Event:
        with self._changed:
            return self._released


class _HungUp(Exception):
    """The client closed the connection before the answer was complete."""


class _Stopped(Exception):
    """The engine ends while it answers."""


class _CutOff(Exception):
    """The script wants the connection closed here."""


class _Server(ThreadingHTTPServer):
    """Knows its open connections, so that it can end while some of them hang."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, engine: ScriptedEngine, port: int) -> None:
        self.engine = engine
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer would look its own name up in the DNS.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away is what half of the tests are about. Anything else is a mistake in a test's own script.
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.engine._failures.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        engine = self.server.engine
        engine._arrived(f"GET {self.path}")
        path = self.path.rstrip("/")
        if path == "/v1/models" and engine.instead_of_models:
            self._send_raw(engine.instead_of_models.popleft())
        elif path == "/v1/models":
            self._send_json(200, {"object": "list", "data": engine.models})
        elif path == "/props" and engine.props is not None:
            self._send_json(200, engine.props)
        elif path == "/health":
            self._send_json(200, {"status": "ok"})
        else:
            self._send_raw(http_error(404, "File Not Found", "not_found_error"))

    def do_POST(self) -> None:
        engine = self.server.engine
        engine._arrived(f"POST {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        other = engine.other_endpoints.get(self.path.removeprefix("/v1"))
        if self.path == "/v1/chat/completions" or other is not None:
            is_json = self.headers.get("Content-Type", "").startswith("application/json")
            self._chat(json.loads(body) if is_json else body, other)
        elif self.path == "/tokenize" and engine.tokenize is not None:
            self._send_json(200, {"tokens": engine.tokenize(json.loads(body)["content"])})
        else:
            self._send_raw(http_error(404, "File Not Found", "not_found_error"))

    def _chat(self, request: Any, other: AnyReply | None) -> None:
        engine = self.server.engine
        scripted = engine._asked(request, {name.lower(): value for name, value in self.headers.items()}, other)
        hung_up = False
        try:
            reply = scripted(request) if callable(scripted) else scripted
            self._answer(reply, request)
        except (_HungUp, ConnectionError):
            hung_up = not engine._stopping.is_set()
            self.close_connection = True
        except (_Stopped, _CutOff):
            self.close_connection = True
        finally:
            engine._answered(hung_up=hung_up)

    def _answer(self, reply: AnyReply, request: dict[str, Any]) -> None:
        if isinstance(reply, Hang):
            self._wait_for(self.server.engine._release_event())
            reply = reply.then
        if isinstance(reply, Raw):
            self._send_raw(reply)
        elif isinstance(reply, Cut):
            raise _CutOff
        elif request.get("stream"):
            self._stream(reply, request)
        else:
            self._complete(reply, request)

    def _stream(self, reply: Reply, request: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        head = {"id": f"chatcmpl-{secrets.token_hex(8)}", "object": "chat.completion.chunk", "created": int(time.time())}
        head["model"] = request.get("model", "")
        with_usage = reply.usage is not None and (request.get("stream_options") or {}).get("include_usage")

        def chunk(delta: dict[str, Any], finish: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            # Asked for usage, OpenAI has the key in every chunk, null but in the last.
            self._send_event({**head, "choices": [choice], **({"usage": None} if with_usage else {})})

        chunk({"role": "assistant", "content": "" if reply.text or not reply.calls else None})
        pieces = list(_pieces(reply))
        for sent in range(len(pieces) + 1):
            if self._trouble(reply, sent):
                return
            if sent < len(pieces):
                chunk(pieces[sent])
        chunk({}, reply.finish_reason)
        if with_usage and reply.usage is not None:
            self._send_event({**head, "choices": [], "usage": reply.usage.to_json()})
        # In one write: a client may close as soon as it has seen [DONE], and that is not hanging up.
        self.wfile.write((_chunk(b"data: [DONE]\n\n") if reply.done else b"") + _chunk(b""))

    def _trouble(self, reply: Reply, sent: int) -> bool:
        """What the reply wants to happen once `sent` pieces are out. True: that was the end of the body."""
        if sent == reply.hang_after:
            self._wait_for(self.server.engine._release_event())
        if sent == reply.cut_after:
            raise _CutOff
        if sent == reply.end_after:
            self._send_chunk(b"")
            return True
        if sent == reply.error_after:
            self._send_event({"error": {"code": 500, "message": "the slot at http://10.0.0.7:9999 broke", "type": "server_error"}})
            self._send_chunk(b"")
            return True
        if sent == reply.broken_after:
            self._send_chunk(b'data: {"id":"chatcmpl-1","choices":[{"delta":{"con\n\n')
        self._hold_back(reply, sent)
        return False

    def _hold_back(self, reply: Reply, sent: int) -> None:
        if reply.delay:
            self._wait_for(threading.Event(), reply.delay)
        if sent in reply.gates:
            self._wait_for(reply.gates[sent])

    def _complete(self, reply: Reply, request: dict[str, Any]) -> None:
        """The answer to a request that does not want a stream: the same waits, and then all at once."""
        for sent in range(len(list(_pieces(reply))) + 1):
            if sent == reply.hang_after:
                self._wait_for(self.server.engine._release_event())
            if sent in (reply.cut_after, reply.end_after):
                raise _CutOff
            if sent == reply.error_after:
                self._send_raw(server_error())
                return
            self._hold_back(reply, sent)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.text) if reply.text or not reply.calls else None}
        if reply.calls:
            message["tool_calls"] = [
                {"id": _call_id(call), "type": "function", "function": {"name": call.name, "arguments": "".join(call.arguments)}}
                for call in reply.calls
            ]
        completion = {
            "id": f"chatcmpl-{secrets.token_hex(8)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": request.get("model", ""),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}],
        }
        if reply.refusal:
            message["refusal"] = "".join(reply.refusal)
        if reply.usage is not None:
            completion["usage"] = reply.usage.to_json()
        self._send_json(200, completion)

    def _wait_for(self, event: threading.Event, seconds: float | None = None) -> None:
        """Until the event is set or the time is over; notices at once when the client hangs up or the engine ends."""
        until = None if seconds is None else time.monotonic() + seconds
        while not event.is_set():
            if self.server.engine._stopping.is_set():
                raise _Stopped
            left = _POLL_SECONDS if until is None else min(_POLL_SECONDS, until - time.monotonic())
            if left <= 0:
                return
            event.wait(left)
            if is_readable(self.connection, 0) and not self.connection.recv(1, socket.MSG_PEEK):
                raise _HungUp

    def _send_event(self, value: dict[str, Any]) -> None:
        self._send_chunk(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    def _send_chunk(self, data: bytes) -> None:
        """One chunk of the body; an empty one ends it."""
        self.wfile.write(_chunk(data))

    def _send_json(self, status: int, value: Any) -> None:
        self._send_raw(Raw(status, json.dumps(value).encode()))

    def _send_raw(self, raw: Raw) -> None:
        self.send_response(raw.status)
        self.send_header("Content-Type", raw.content_type)
        self.send_header("Content-Length", str(len(raw.body)))
        for name, value in raw.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw.body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _pieces(reply: Reply) -> Iterator[dict[str, Any]]:
    """The deltas of a reply, in order; see Reply."""
    for fragment in reply.reasoning:
        yield {"reasoning_content": fragment}
    for fragment in reply.text:
        yield {"content": fragment}
    for fragment in reply.refusal:
        yield {"refusal": fragment}
    for index, call in enumerate(reply.calls):
        whole = isinstance(call.arguments, str)
        opening = {"name": call.name, "arguments": call.arguments if whole else ""}
        yield {"tool_calls": [{"index": index, "id": _call_id(call), "type": "function", "function": opening}]}
        for fragment in () if whole else call.arguments:
            yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


def _call_id(call: Call) -> str:
    return f"call_{secrets.token_hex(12)}" if call.id is None else call.id
