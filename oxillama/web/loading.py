"""Patience with the embedded engine while it reads its model: a request waits as long as a run does, and is only then refused."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from oxillama.errors import EngineUnavailable, EngineUnreachable, LimitReached
from oxillama.web.context import context
from oxillama.web.hang_up import client_socket, has_gone

_POLL_SECONDS = 0.25

_T = TypeVar("_T")


class EngineLoading(EngineUnavailable):
    """The embedded engine is still reading its model."""


def check_loaded(status: int) -> None:
    """Raise EngineLoading when this is the status that llama.cpp's server has for that, and it is ours."""
    if status == 503 and context().settings.embedded:
        raise EngineLoading("The model engine is not ready.")


def once_loaded(ask: Callable[[], _T], *, has_place: bool = False) -> _T:
    """Do `ask`; while the embedded engine is loading, do it again, for the seconds of `Settings.loading_seconds` at most.

    It waits in the place of a stream, so that request threads stay free for others; where no place is free there is no waiting.

    Args:
        ask: raises EngineUnreachable or EngineLoading while the engine is not there yet, and has then changed nothing.
        has_place: whether the request is in the place of a stream already.

    Returns:
        What `ask` returns.

    Raises:
        EngineError: that of `ask`, for another reason or after that time, or when the client has gone or the process is to stop.
    """
    parts = context()
    deadline = time.monotonic() + parts.settings.loading_seconds
    client = client_socket()
    with contextlib.ExitStack() as place:
        while True:
            try:
                return ask()
            except (EngineUnreachable, EngineLoading) as loading:
                if time.monotonic() >= deadline or parts.streams.stopping or has_gone(client):
                    raise
                if not has_place:
                    try:
                        place.enter_context(parts.streams.reserve())
                    except LimitReached:
                        raise loading from None
                    has_place = True
            time.sleep(_POLL_SECONDS)
