"""The endpoints that the engine answers itself: chat completions, embeddings, images, audio. Its answers pass through as they come.

Each takes the place of a stream for as long as the engine works on it, so that those who only want an object always find a request thread.

Of the engine's failures: a refusal (4xx) keeps its status, and its words go into the envelope. Everything else becomes a status from 500
on, which the SDKs try again after a pause; right here, because a completion changes nothing. They are told not to where it cannot help.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import orjson
import urllib3
from flask import Blueprint, Response

from oxillama import engine_words
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineAnswerUnusable, EngineError, EngineUnavailable
from oxillama.settings import Settings
from oxillama.web.answers import event_stream, in_pieces, json_value, whole
from oxillama.web.context import Context, context
from oxillama.web.engine_http import Exchange
from oxillama.web.engine_request import EngineRequest, for_engine
from oxillama.web.error_handlers import envelope
from oxillama.web.hang_up import client_socket
from oxillama.web.loading import check_loaded, once_loaded

log = logging.getLogger(__name__)

bp = Blueprint("pass_through", __name__)
#: The same as Azure's clients ask for it: they put the model's name into the path.
deployments_bp = Blueprint("deployments", __name__, url_prefix="/deployments/<path:deployment>")

#: path -> whether it takes files, and so bodies of several parts.
_ENDPOINTS = {
    "/chat/completions": False,
    "/completions": False,
    "/embeddings": False,
    "/moderations": False,
    "/audio/speech": False,
    "/audio/transcriptions": True,
    "/audio/translations": True,
    "/images/generations": False,
    "/images/edits": True,
    "/images/variations": True,
}
_JSON, _EVENT_STREAM = "application/json", "text/event-stream"
#: What may come back besides JSON, by the beginning of the path: sound, and its text in the formats of subtitles.
_MEDIA = {"/audio/": ("audio/", "text/plain", "text/vtt", "application/x-subrip", "application/octet-stream")}
#: Up to here an answer is read before it is sent, so that one that breaks off can be told as an error. What is longer leaves in pieces.
_MAX_HELD_BYTES = 1024 * 1024
#: Characters of what goes on of the engine's headers, and of the names in its refusals.
_MAX_HEADER = _MAX_NAME = 200
#: Seconds to pause before a failed engine is asked again, where it does not say so itself.
_RETRY_AFTER = "2"
_RESTARTING = "The server is being restarted. Please try again."


def _add(path: str) -> None:
    """Serve an endpoint, and the same below a deployment."""

    def create() -> Response:
        return _passed_on(path)

    def create_in_deployment(deployment: str) -> Response:
        return _passed_on(path, deployment)

    name = path[1:].replace("/", "_")
    bp.add_url_rule(path, name, create, methods=["POST"])
    deployments_bp.add_url_rule(path, name, create_in_deployment, methods=["POST"])


for _path in _ENDPOINTS:
    _add(_path)


def _passed_on(path: str, model: str | None = None) -> Response:
    """What the engine answers to the request's body, asked for at `path`; with `model` in place of the body's where the URL names one."""
    parts = context()
    asked = for_engine(parts.settings, model, takes_forms=_ENDPOINTS[path], is_completion=path.endswith("completions"))
    with parts.streams.reserve() as slot, contextlib.ExitStack() as held:
        exchange, answer = once_loaded(lambda: _begun(parts, path, asked, held), has_place=True)
        try:
            kind = _mimetype(answer)
            respond: Callable[[Iterable[bytes]], Response] = event_stream
            if asked.may_stream and answer.status == 200 and kind == _EVENT_STREAM:
                pieces = _events(exchange, parts)
            else:
                content, rest = _beginning(exchange)
                if answer.status >= 400:
                    return _refusal(answer, content if rest is None else b"", parts.settings)
                if not (200 <= answer.status < 300 and _is_expected(kind, path)):
                    raise EngineAnswerUnusable(f"The model engine answered with something that is not {_expected(path)}.")
                content_type = answer.headers["Content-Type"] if kind != _JSON and _is_plain(answer.headers["Content-Type"]) else kind
                if rest is None:
                    return whole(content, content_type, answer.status)
                pieces, respond = _rest(content, rest), lambda passing: in_pieces(passing, content_type, answer.status)
        except EngineError:
            if exchange.broken_off:
                raise EngineUnavailable(_RESTARTING) from None
            raise
        slot.used = True
        held.callback(slot.give_back)
        return respond(_Passing(pieces, held.pop_all()))


def _begun(parts: Context, path: str, asked: EngineRequest, held: contextlib.ExitStack) -> tuple[Exchange, urllib3.HTTPResponse]:
    """An exchange with the engine whose answer has begun. Its connection, and the watch on the client, go to `held`."""
    with contextlib.ExitStack() as attempt:
        exchange = attempt.enter_context(
            Exchange(parts.settings, "POST", path, asked.content, content_type=asked.content_type, answer_seconds=asked.answer_seconds)
        )
        attempt.enter_context(parts.hang_ups.watching(client_socket(), exchange.break_off))
        try:
            answer = exchange.receive()
        except EngineError:
            if exchange.broken_off:
                raise EngineUnavailable(_RESTARTING) from None
            raise
        check_loaded(answer.status)
        held.push(attempt.pop_all())
    return exchange, answer


def _beginning(exchange: Exchange) -> tuple[bytes, Iterator[bytes] | None]:
    """As much of an answer as is held, and the rest as it comes; None when that was all."""
    content, pieces = bytearray(), exchange.pieces()
    for piece in pieces:
        content += piece
        if len(content) > _MAX_HELD_BYTES:
            return bytes(content), pieces
    return bytes(content), None


def _is_expected(kind: str, path: str) -> bool:
    media = next((kinds for beginning, kinds in _MEDIA.items() if path.startswith(beginning)), ())
    return kind == _JSON or kind.startswith(media)


def _expected(path: str) -> str:
    return "JSON" if not path.startswith(tuple(_MEDIA)) else "JSON, sound or text"


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
        if _is_plain(answer.headers.get(name, "")):
            response.headers[name] = answer.headers[name]
    return response


def _is_plain(header: str) -> bool:
    """Whether a header of the engine may be a header of ours: gunicorn would refuse others, and blame the caller."""
    return 0 < len(header) <= _MAX_HEADER and header.isascii() and header.isprintable()


def _told(content: bytes, settings: Settings, status: int) -> tuple[str, str, str | None, str | None]:
    """Message, type, param and code of an engine's refusal. Engines are free with the form, callers rely on it."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    secrets = EngineEndpoint.of(settings).secrets
    given = error if isinstance(error, dict) else {}
    names = {name: value for name, value in given.items() if isinstance(value, str) and _is_name(value, secrets)}
    message = engine_words.quotable(engine_words.told(body), secrets) or f"The model engine refused the request with status {status}."
    return message, names.get("type", "invalid_request_error"), names.get("param"), names.get("code")


def _is_name(value: str, secrets: tuple[str, ...]) -> bool:
    """Whether a type, parameter or code of the engine may be told: proxies put whole messages there."""
    return len(value) <= _MAX_NAME and "://" not in value and not any(secret in value for secret in secrets)


def _error(status: int, message: str, kind: str, param: str | None = None, code: str | None = None) -> Response:
    return json_value(envelope(message, kind, param, code), status)


def _mimetype(answer: urllib3.HTTPResponse) -> str:
    content_type: str = answer.headers.get("Content-Type", "")
    return content_type.partition(";")[0].strip().lower()


class _Passing:
    """An answer that leaves in pieces. No bare generator: one that was never started would not give back what it holds.

    Args:
        pieces: of the answer.
        held: what to give back at the end: the connection, the watch on the client, the place.
    """

    def __init__(self, pieces: Generator[bytes, None, None], held: contextlib.ExitStack) -> None:
        self._pieces, self._held = pieces, held

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        """Called by the server when the response ends, or its client has gone."""
        self._pieces.close()
        self._held.close()


def _rest(beginning: bytes, rest: Iterator[bytes]) -> Generator[bytes, None, None]:
    """A long answer. It has no form for an error in the middle, so that breaks the connection off: no client takes half of it for all."""
    yield beginning
    # However long the rest takes.
    del beginning
    try:
        yield from rest
    except EngineError as error:
        log.warning("an answer that is passed on breaks off: %s", error)
        raise ConnectionResetError(errno.ECONNRESET, "the engine's answer broke off") from None


def _events(exchange: Exchange, parts: Context) -> Generator[bytes, None, None]:
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
