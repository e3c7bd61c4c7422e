"""Noticing that a client has gone while nothing is being written to it, so that nobody works for nobody."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

from flask import request

#: How often the connections are looked at.
_LOOK_SECONDS = 0.25


def client_socket() -> socket.socket | None:
    """The connection that the current request came on; None under a server that does not show it."""
    return request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")


def has_gone(client: socket.socket | None) -> bool:
    """Whether a client has closed its connection. One that has sent another request already still counts as there."""
    if client is None:
        return False
    try:
        poll = select.poll()
        poll.register(client, select.POLLIN)
        # The method of a TLS socket does not allow a look ahead; an encrypted farewell counts as there until the connection is closed.
        return bool(poll.poll(0)) and not socket.socket.recv(client, 1, socket.MSG_PEEK)
    except (OSError, ValueError):
        return True


class HangUpWatch:
    """Gives up what is done for a client once that has gone, or once this process is to stop. One thread, while there is what to watch.

    Args:
        stopping: whether this process is about to end.
    """

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._lock = threading.Lock()
        self._watched: dict[object, tuple[socket.socket | None, Callable[[], None]]] = {}
        self._looking = False

    @contextlib.contextmanager
    def watching(self, client: socket.socket | None, give_up: Callable[[], None]) -> Iterator[None]:
        """Call `give_up`, from another thread, if `client` goes or the process stops before the block is left; never after it."""
        entry = object()
        with self._lock:
            self._watched[entry] = client, give_up
            if not self._looking:
                self._looking = True
                threading.Thread(target=self._look, name="hang-up-watch", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(entry, None)

    def _look(self) -> None:
        while True:
            with self._lock:
                if not self._watched:
                    self._looking = False
                    return
                # Under the lock, so that nothing of what is given up can be closed meanwhile, and its number be used for something else.
                for entry, (client, give_up) in list(self._watched.items()):
                    if self._stopping() or has_gone(client):
                        del self._watched[entry]
                        give_up()
            time.sleep(_LOOK_SECONDS)
