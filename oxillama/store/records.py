"""What is in a file of the store: a JSON object, or a record that is not what it should be."""

from __future__ import annotations

from typing import Any

import orjson

from oxillama.errors import CorruptRecord


def parsed(content: bytes, where: str) -> dict[str, Any]:
    """The object in a record. Raises CorruptRecord, which names `where` it lies: a path, or the id of a line."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise CorruptRecord(where, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CorruptRecord(where, "not a JSON object")
    return value


def whole(content: bytes, where: str) -> bytes:
    """A record as it is, once it is known to hold an object: what is spoilt must not be sent as if it were not. Raises CorruptRecord."""
    parsed(content, where)
    return content
