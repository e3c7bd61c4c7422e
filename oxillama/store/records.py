"""What is in a file of the store: a JSON object, or a record that is not what it should be."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson

from oxillama.errors import CorruptRecord


def parsed(content: bytes, where: str, **allowed: Collection[str]) -> dict[str, Any]:
    """The object in a record.

    Args:
        content: of the record.
        where: it lies, for the error: a path, or the id of a line.
        allowed: what fields of it may be, so that one of another form, or of another object, is not taken for it.

    Raises:
        CorruptRecord: it is not such an object.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise CorruptRecord(where, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CorruptRecord(where, "not a JSON object")
    for name, texts in allowed.items():
        found = value.get(name)
        if not (isinstance(found, str) and found in texts):
            raise CorruptRecord(where, f"`{name}` is not {' or '.join(texts)}")
    return value


#: From here on an object is looked through without making its values, which may take 48 times as much.
_LARGE_BYTES = 64 * 1024


def checked(content: bytes, where: str, **allowed: Collection[str]) -> dict[str, str]:
    """The fields of a record that `allowed` names, once all of it was looked at. See `parsed`, whose answer it gives for less memory."""
    if len(content) > _LARGE_BYTES:
        # Most processes never meet one.
        from oxillama.store.large_json import head_of

        try:
            found = head_of(content, tuple(allowed))
        except ValueError as error:
            raise CorruptRecord(where, str(error)) from None
        except RecursionError:
            # The other parser goes deeper.
            value = parsed(content, where, **allowed)
            return {name: value[name] for name in allowed}
        for name, texts in allowed.items():
            if found[name] not in texts:
                raise CorruptRecord(where, f"`{name}` is not {' or '.join(texts)}")
        return found
    value = parsed(content, where, **allowed)
    return {name: value[name] for name in allowed}


def whole(content: bytes, where: str, **allowed: Collection[str]) -> bytes:
    """A record as it is, once `parsed` took it: what is spoilt must not be sent as if it were not. Raises CorruptRecord."""
    parsed(content, where, **allowed)
    return content
