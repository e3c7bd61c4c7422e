"""Answers: stored bytes as they are, a value as JSON, or events as they come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import orjson
from flask import Response


class WholeResponse(Response):
    """Bytes that are sent as they are. Leaves out what werkzeug does for redirections, ranges and bodies that come in pieces."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send it."""
        start_response(self.status, list(self.headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else self.response  # type: ignore[return-value]


def whole(content: bytes, content_type: str, status: int = 200) -> Response:
    """An answer of any kind whose bytes are all there."""
    return WholeResponse(content, status, content_type=content_type)


def json_bytes(content: bytes, status: int = 200) -> Response:
    """An answer that is in wire form already."""
    return whole(content, "application/json", status)


def json_value(value: dict[str, Any], status: int = 200) -> Response:
    """An answer made from a value."""
    return json_bytes(orjson.dumps(value), status)


def in_pieces(pieces: Iterable[bytes], content_type: str, status: int = 200) -> Response:
    """An answer of any kind that leaves as it comes. Its `close`, if it has one, is called at the end."""
    return Response(pieces, status, content_type=content_type)


def event_stream(pieces: Iterable[bytes]) -> Response:
    """An answer of server-sent events, which no proxy may hold back or keep. Its `close`, if it has one, is called at the end."""
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
    return Response(pieces, content_type="text/event-stream; charset=utf-8", headers=headers)
