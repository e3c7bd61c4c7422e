"""Answers: stored bytes as they are, or a value as JSON."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response


def json_bytes(content: bytes, status: int = 200) -> Response:
    """An answer that is in wire form already."""
    return Response(content, status, content_type="application/json")


def json_value(value: dict[str, Any], status: int = 200) -> Response:
    """An answer made from a value."""
    return json_bytes(orjson.dumps(value), status)
