"""Patience with a busy thread: where it is configured, a message or a run waits a while before it is refused."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from oxillama.errors import LimitReached, ThreadBusy
from oxillama.store import ThreadFolder
from oxillama.web.context import context
from oxillama.web.hang_up import client_socket, has_gone

_POLL_SECONDS = 0.05

_T = TypeVar("_T")


def when_free(thread: ThreadFolder, act: Callable[[], _T]) -> _T:
    """Do `act`; while a run is active on the thread, wait for its end and do it then, for `OXILLAMA_BUSY_WAIT_SECONDS` at most.

    The thread's lock is not held while waiting, so of several that wait any one may be next. Each takes the place of a stream, because it
    too holds a thread of this process for long; where no place is free there is no waiting. Who goes away, or finds this process about to
    stop, has nothing added: a client that gave up may have sent the same again.

    Args:
        thread: that must be free.
        act: raises ThreadBusy when it is not, and has then done nothing.

    Returns:
        What `act` returns.

    Raises:
        ThreadBusy: the thread did not become free in time.
    """
    parts = context()
    seconds = parts.settings.busy_wait_seconds
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as place:
        waiting = False
        while True:
            try:
                return act()
            except ThreadBusy as busy:
                if not seconds:
                    raise
                if not waiting:
                    try:
                        place.enter_context(parts.streams.reserve())
                    except LimitReached:
                        raise busy from None
                    waiting = True
                if not _becomes_free(thread, deadline):
                    raise


def _becomes_free(thread: ThreadFolder, deadline: float) -> bool:
    streams, client = context().streams, client_socket()
    while not (streams.stopping or has_gone(client)):
        if thread.active_run_id() is None:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return False
