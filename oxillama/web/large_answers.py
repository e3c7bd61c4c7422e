"""Answers of any size: what an ordinary client asks for is held and sent at once; what is large leaves in pieces from the file it lies in.

So a client that takes its answer slowly, or not at all, holds a piece of it and what the kernel buffers for a connection.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from typing import Any

import orjson
from flask import Response

from oxillama.errors import StoreError
from oxillama.objects.page import MAX_HELD_BYTES, Part, Sendable
from oxillama.web.answers import in_pieces, json_bytes
from oxillama.web.context import context

_JSON = "application/json"

log = logging.getLogger(__name__)


def json_stored(content: Sendable) -> Response:
    """An answer that is in wire form, in memory or where it lies."""
    if isinstance(content, bytes):
        if len(content) <= MAX_HELD_BYTES:
            return json_bytes(content)
        try:
            return in_pieces(_leaving(context().store.scratch(content)), _JSON)
        except StoreError:
            # What it tells was done, so it must be told, whatever it takes.
            return json_bytes(content)
    return in_pieces(_leaving(content), _JSON)


def json_object(value: dict[str, Any]) -> Response:
    """An answer made from an object that may be large."""
    return json_stored(orjson.dumps(value))


def _leaving(part: Part) -> Iterator[bytes]:
    """The pieces. JSON has no form for an error in the middle, so that breaks the connection off: no client takes half of it for all."""
    try:
        yield from part.pieces()
    except (StoreError, FileNotFoundError) as error:
        log.warning("a large answer breaks off: %s", error)
        raise ConnectionResetError(errno.ECONNRESET, "the answer broke off") from None
