"""JSON of an engine, which may be broken or hostile: bounded in depth and in what it becomes in memory, and lenient about text."""

from __future__ import annotations

import json

from oxillama.errors import EngineAnswerUnusable

#: No engine nests deeper; Python's parser gives up at about a thousand, and so may whoever walks through the value.
MAX_DEPTH = 100
#: Lists and objects in one document. Each takes up to thirty times the memory of its text.
MAX_CONTAINERS = 250_000

# `json.loads` makes a decoder each time it is told something about it.
_STRICT, _LENIENT = json.JSONDecoder(), json.JSONDecoder(strict=False)

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse(data: bytes, *, strict: bool = True) -> object:
    """The value. Half of a character, which engines cut in two by escapes, is kept.

    Args:
        data: the document.
        strict: False to allow control characters in strings.

    Raises:
        EngineAnswerUnusable: it is nested too deeply, or holds too many lists and objects.
        ValueError: neither UTF-8 nor JSON.
    """
    # Most documents have few brackets, so most cost no more than counting them.
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        _check(data)
    value: object = (_STRICT if strict else _LENIENT).decode(data.decode("utf-8", "surrogatepass"))
    return value


def _check(data: bytes) -> None:
    containers = depth = 0
    for bracket in _brackets(data):
        if bracket not in b"[{":
            depth -= 1
            continue
        containers += 1
        depth += 1
        if depth > MAX_DEPTH:
            raise EngineAnswerUnusable(f"The model engine's answer is nested more than {MAX_DEPTH} levels deep.")
        if containers > MAX_CONTAINERS:
            raise EngineAnswerUnusable(f"The model engine's answer holds more than {MAX_CONTAINERS:,} lists and objects.")


def _brackets(data: bytes) -> bytes:
    """Those that are not part of a string."""
    outside = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    return b"".join(outside).translate(None, _NOT_BRACKETS)
