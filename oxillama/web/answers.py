"""Answers: stored bytes as they are, a value as JSON, or events as they come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from flask import Response


def json_bytes(content: bytes, status: int = 200) -> Response:
    """An answer that is in wire form already."""
    return Response(content, status, content_type="application/json")


def json_value(value: dict[str, Any], status: int = 200) -> Response:
    """An answer made from a value."""
    return json_bytes(orjson.dumps(value), status)


def event_stream(pieces: Iterable[bytes]) -> Response:
    """An answer of server-sent events, which no proxy may hold back or keep. Its `close`, if it has one, is called at the end."""
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}
    return Response(pieces, content_type="text/event-stream; charset=utf-8", headers=headers)
