"""One table from the domain's errors to HTTP, and one shape for all of them (behaviour.md, section 9)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from oxillama import errors
from oxillama.web.answers import json_value
from oxillama.web.base_urls import right_base_url

log = logging.getLogger(__name__)

_SERVER_ERROR = "The server had an error processing your request. Sorry about that! You can retry your request."

#: error class -> HTTP status and the envelope's type. The nearest class counts.
TABLE: dict[type[errors.OxillamaError], tuple[int, str]] = {
    errors.ThreadFull: (413, "invalid_request_error"),
    errors.RequestRefused: (400, "invalid_request_error"),
    errors.ForeignPage: (403, "invalid_request_error"),
    errors.AuthenticationFailed: (401, "invalid_request_error"),
    errors.NotFound: (404, "invalid_request_error"),
    errors.LimitReached: (429, "requests"),
    errors.StoreFull: (507, "server_error"),
    errors.StoreUnavailable: (503, "server_error"),
    errors.StoreError: (500, "server_error"),
    errors.EngineTimedOut: (504, "server_error"),
    errors.EngineAnswerUnusable: (502, "server_error"),
    errors.EngineError: (503, "server_error"),
    errors.OxillamaError: (500, "server_error"),
}


def envelope(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The body of every error. All four keys are always there."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def register(app: Flask, require_place: Callable[[], None]) -> None:
    """Answer every error of `app` in the API's envelope.

    Args:
        app: the application.
        require_place: raises StoreUnavailable when the data directory is not where it was.
    """

    def not_found(error: errors.NotFound | FileNotFoundError) -> Response:
        # Of a directory that was moved away everything is missing: a client that is told 404 would believe it.
        try:
            require_place()
        except errors.StoreError as away:
            return answer_to(away)
        return answer_to(error) if isinstance(error, errors.OxillamaError) else _unforeseen(error)

    app.register_error_handler(errors.OxillamaError, answer_to)
    app.register_error_handler(errors.NotFound, not_found)
    app.register_error_handler(FileNotFoundError, not_found)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unforeseen)


def answer_to(error: errors.OxillamaError) -> Response:
    """An error of the domain as the API tells it."""
    status, kind = next(TABLE[one] for one in type(error).__mro__ if one in TABLE)
    if isinstance(error, errors.StoreError):
        log.error("%s %s: %s", request.method, request.path, error)
    response = json_value(envelope(*_told(error, kind)), status)
    if isinstance(error, errors.LimitReached):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, errors.EngineTimedOut):
        # The SDKs would ask again, and make an engine that is too slow slower.
        response.headers["x-should-retry"] = "false"
    return response


def _told(error: errors.OxillamaError, kind: str) -> tuple[str, str, str | None, str | None]:
    """Message, type, param and code for the caller."""
    if isinstance(error, errors.RequestRefused):
        return error.message, kind, error.param, error.code
    if isinstance(error, errors.AuthenticationFailed):
        return _key_refused(error.key), kind, None, None if error.key is None else "invalid_api_key"
    if isinstance(error, errors.NotFound):
        if error.noun == "model":
            return f"The model '{error.object_id}' does not exist", kind, "model", "model_not_found"
        return str(error), kind, None, None
    if isinstance(error, errors.LimitReached):
        return str(error), kind, None, "rate_limit_exceeded"
    if isinstance(error, errors.StoreFull):
        return "The server's disk is full, so nothing was stored. Try again when there is room.", kind, None, None
    if isinstance(error, errors.StoreUnavailable):
        return "The server cannot read or write its data just now. Try again later.", kind, None, None
    if isinstance(error, errors.CorruptRecord):
        return "What the server has stored of this is damaged. Its log names the file.", kind, None, None
    if isinstance(error, errors.EngineError):
        return error.message, kind, None, None
    return _SERVER_ERROR, kind, None, None


def _key_refused(key: str | None) -> str:
    if key is None:
        return "You didn't provide an API key. Provide it in an Authorization header using Bearer auth (Authorization: Bearer YOUR_KEY)."
    masked = f"{key[:3]}***{key[-2:]}" if len(key) >= 12 else "***"
    return f"Incorrect API key provided: {masked}."


def _http_error(error: HTTPException) -> Response:
    if isinstance(error, NotFound):
        message = f"Invalid URL ({request.method} {request.path[:256]})"
        base_url = right_base_url(request, current_app.url_map)
        if base_url is not None:
            message += f". Set the base URL to {base_url}"
        return json_value(envelope(message, "invalid_request_error"), 404)
    if isinstance(error, MethodNotAllowed):
        message = f"Not allowed to {request.method} on {request.path[:256]}. (HINT: Perhaps you meant to use a different HTTP method?)"
        response = json_value(envelope(message, "invalid_request_error", None, "method_not_supported"), 405)
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or []))
        return response
    if isinstance(error, RequestEntityTooLarge):
        message = "The request body is larger than this server accepts."
        return json_value(envelope(message, "invalid_request_error", None, "request_too_large"), 413)
    return json_value(envelope(error.description or error.name, "invalid_request_error"), error.code or 400)


def _unforeseen(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return json_value(envelope(_SERVER_ERROR, "server_error"), 500)
