"""A clock for each process and each thread of control: two that race need not agree on the time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from oxillama import clock


class _Ahead(threading.local):
    seconds = 0


_ahead = _Ahead()


def patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the product's clock one that `ahead` and `go_on` can move."""
    now, microseconds = clock.now, clock.microseconds
    monkeypatch.setattr(clock, "now", lambda: now() + _ahead.seconds)
    monkeypatch.setattr(clock, "microseconds", lambda: microseconds() + _ahead.seconds * 1_000_000)


@contextlib.contextmanager
def ahead(seconds: int) -> Iterator[None]:
    """Let it be later, for this thread of control alone."""
    before = _ahead.seconds
    _ahead.seconds = before + seconds
    try:
        yield
    finally:
        _ahead.seconds = before


def go_on(seconds: int) -> None:
    """Let it be later from now on."""
    _ahead.seconds += seconds


def reset() -> None:
    _ahead.seconds = 0
