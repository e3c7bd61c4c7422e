"""The endpoints that the engine answers itself: chat completions, completions, embeddings. Its answers pass through as they come.

Each takes the place of a stream for as long as the engine works on it, so that those who only want an object always find a request thread.

Of the engine's failures: a refusal (4xx) keeps its status, and its words go into the envelope. Everything else becomes a status from 500
on, which the SDKs try again after a pause; right here, because a completion changes nothing. They are told not to where it cannot help.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Generator, Iterator
from typing import Any

import orjson
import urllib3
from flask import Blueprint, Response

from oxillama import engine_words
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineAnswerUnusable, EngineError, EngineUnavailable, InvalidRequest
from oxillama.schemas.loading import object_of
from oxillama.settings import Settings
from oxillama.web.answers import event_stream, json_bytes, json_value
from oxillama.web.context import Context, context
from oxillama.web.engine_http import Exchange
from oxillama.web.error_handlers import envelope
from oxillama.web.hang_up import client_socket
from oxillama.web.parsing import json_body

log = logging.getLogger(__name__)

bp = Blueprint("pass_through", __name__)
#: The same as Azure's clients ask for it: they put the model's name into the path.
deployments_bp = Blueprint("deployments", __name__, url_prefix="/deployments/<path:deployment>")

#: What is not streamed may take as long as the SDKs wait by default (behaviour.md, section 1).
_WHOLE_ANSWER_SECONDS = 600
#: Seconds to pause before a failed engine is asked again, where it does not say so itself.
_RETRY_AFTER = "2"
_EVENT_STREAM = "text/event-stream"
_RESTARTING = "The server is being restarted. Please try again."


@bp.post("/chat/completions")
def create_chat_completion() -> Response:
    """A chat completion, streamed or whole."""
    return _passed_on("/chat/completions")


@bp.post("/completions")
def create_completion() -> Response:
    """A completion, streamed or whole."""
    return _passed_on("/completions")


@bp.post("/embeddings")
def create_embedding() -> Response:
    """Embeddings."""
    return _passed_on("/embeddings")


@deployments_bp.post("/chat/completions")
def create_deployment_chat_completion(deployment: str) -> Response:
    """A chat completion of the model that the path names."""
    return _passed_on("/chat/completions", deployment)


@deployments_bp.post("/completions")
def create_deployment_completion(deployment: str) -> Response:
    """A completion of the model that the path names."""
    return _passed_on("/completions", deployment)


@deployments_bp.post("/embeddings")
def create_deployment_embedding(deployment: str) -> Response:
    """Embeddings of the model that the path names."""
    return _passed_on("/embeddings", deployment)


def _passed_on(path: str, model: str | None = None) -> Response:
    """What the engine answers to the request's body, asked for at `path`; with `model` in place of the body's where the URL names one."""
    parts = context()
    content, streamed = _for_engine(parts.settings, model)
    seconds = parts.settings.first_token_seconds if streamed else _WHOLE_ANSWER_SECONDS
    with parts.streams.reserve() as slot, contextlib.ExitStack() as held:
        exchange = held.enter_context(Exchange(parts.settings, "POST", path, content, answer_seconds=seconds))
        held.enter_context(parts.hang_ups.watching(client_socket(), exchange.break_off))
        try:
            answer = exchange.receive()
            if not (streamed and answer.status == 200 and _mimetype(answer) == _EVENT_STREAM):
                return _whole(answer, exchange.read(), parts.settings)
        except EngineError:
            if exchange.broken_off:
                raise EngineUnavailable(_RESTARTING) from None
            raise
        slot.used = True
        held.callback(slot.give_back)
        return event_stream(_Streamed(parts, exchange, held.pop_all()))


def _for_engine(settings: Settings, model: str | None) -> tuple[bytes, bool]:
    """The body to send, and whether it asks for a stream. It is the caller's own, byte for byte, unless the engine's name differs."""
    content, parsed = json_body()
    values = object_of(parsed)
    asked = model if model is not None else values.get("model")
    served = settings.model_map.get(asked, asked) if isinstance(asked, str) else asked
    if served != values.get("model"):
        try:
            # Not orjson, which would make floats of integers that do not fit 64 bits.
            content = json.dumps({**json.loads(content or b"{}"), "model": served}).encode()
        except (RecursionError, ValueError):
            raise InvalidRequest(
                "We could not parse the JSON body of your request: it is nested too deeply, or a number is too long."
            ) from None
    return content or b"{}", values.get("stream") is True


def _whole(answer: urllib3.HTTPResponse, content: bytes, settings: Settings) -> Response:
    """An answer that is not a stream: the engine's JSON as it is, or its refusal in the API's envelope."""
    if answer.status >= 400:
        return _refusal(answer, content, settings)
    if not (200 <= answer.status < 300 and _mimetype(answer) == "application/json"):
        raise EngineAnswerUnusable("The model engine answered with something that is not JSON.")
    return json_bytes(content, answer.status)


def _refusal(answer: urllib3.HTTPResponse, content: bytes, settings: Settings) -> Response:
    status = answer.status
    if status in (401, 403):
        # Our key for the engine is meant, which is none of the caller's.
        log.error("the engine refuses OXILLAMA_ENGINE_API_KEY with %d", status)
        response = _error(503, "The model engine refused the server's credentials.", "server_error")
    elif status < 500 or status == 501:
        # llama.cpp says 501 to what it was not started for: as final as a 4xx. And 409 would only be tried again.
        response = _error(400 if status == 409 else status, *_told(content, settings, status))
    else:
        log.warning("the engine answered %d", status)
        # 503 is what llama.cpp says while it reads its model.
        message = "The model engine is not ready." if status == 503 else "The model engine answered with a server error."
        response = _error(503, message, "server_error")
        response.headers["Retry-After"] = _RETRY_AFTER
    if status in (401, 403, 501):
        response.headers["x-should-retry"] = "false"
    for name in ("Retry-After", "retry-after-ms"):
        if name in answer.headers:
            response.headers[name] = answer.headers[name]
    return response


def _told(content: bytes, settings: Settings, status: int) -> tuple[str, str, str | None, str | None]:
    """Message, type, param and code of an engine's refusal. Engines are free with the form, callers rely on it."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    fields = {name: value for name, value in error.items() if isinstance(value, str)} if isinstance(error, dict) else {}
    message = (
        engine_words.quotable(engine_words.told(body), EngineEndpoint.of(settings).secrets)
        or f"The model engine refused the request with status {status}."
    )
    return message, fields.get("type", "invalid_request_error"), fields.get("param"), fields.get("code")


def _error(status: int, message: str, kind: str, param: str | None = None, code: str | None = None) -> Response:
    return json_value(envelope(message, kind, param, code), status)


def _mimetype(answer: urllib3.HTTPResponse) -> str:
    content_type: str = answer.headers.get("Content-Type", "")
    return content_type.partition(";")[0].strip().lower()


class _Streamed:
    """One streamed answer. An object rather than a bare generator: one that was never started would not give back what it holds.

    Args:
        parts: of the application.
        exchange: with the engine, which has answered with a stream.
        held: what to give back at the end: the connection, the watch on the client, the place.
    """

    def __init__(self, parts: Context, exchange: Exchange, held: contextlib.ExitStack) -> None:
        self._held = held
        self._pieces = _pieces(exchange, parts)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        """Called by the server when the response ends, or its client has gone."""
        self._pieces.close()
        self._held.close()


def _pieces(exchange: Exchange, parts: Context) -> Generator[bytes, None, None]:
    """The engine's bytes as they come, and behind them an error in the stream's own form if they are not the whole answer."""
    # The answer's headers go out with its first piece, however long the first token takes.
    yield b""
    last, problem = b"\n\n", None
    try:
        for piece in exchange.pieces(parts.settings.stall_seconds):
            yield piece
            last = (last + piece)[-4:]
    except EngineError as error:
        problem = error.message
    if exchange.broken_off:
        problem = _RESTARTING
    if problem is not None:
        # Also behind half an event; which fails its reader, as it should.
        yield (b"" if last.endswith((b"\n\n", b"\r\n\r\n")) else b"\n\n") + _error_event(problem)


def _error_event(message: str) -> bytes:
    """An error as chat completions stream it: both SDKs raise it."""
    value: dict[str, Any] = envelope(message, "server_error")
    return b"data: " + orjson.dumps(value) + b"\n\n"
