"""Violation: one thing that should not be."""

from __future__ import annotations

from typing import NamedTuple


class Violation(NamedTuple):
    """What and where.

    Attributes:
        kind: `lost`, `doubled`, `stuck`, `wrong` or `surprise`.
        text: for a person.
    """

    kind: str
    text: str
