"""What of an engine's words the caller wrote: engines quote requests when they refuse them, and quotations say nothing about the engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

#: What quoting changes: white space, quotation marks, and characters that JSON or Python's `repr` write as escapes.
_CHANGED = re.compile(r"\\+(?:u[0-9a-f]{4}|x[0-9a-f]{2}|[nrtbf])?|[^!#-&(-_a-~]")
#: So many pieces are compared with a request; the others count as quoted.
_MAX_COMPARED = 40


class Echo:
    """The texts of one request, as an engine may quote them.

    Args:
        request: the body that was sent.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self._written: str | None = None
        self._compared = 0

    def holds(self, piece: str) -> bool:
        """Whether the caller wrote this, in whatever quotation: `repr`, JSON, other cases, text parts put together."""
        self._compared += 1
        if self._compared > _MAX_COMPARED:
            return True
        if self._written is None:
            # One text at a time: each is a call that keeps the interpreter's lock.
            self._written = "".join(map(_plain, _texts(self._request)))
        return _plain(piece) in self._written


def _plain(text: str) -> str:
    return _CHANGED.sub("", text.lower())


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, and the names of its members. No deeper than the JSON of a request may be."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from _texts(one)
