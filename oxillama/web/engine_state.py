"""Whether the embedded engine has read its model, for whoever asks after the server's health."""

from __future__ import annotations

import threading
import time

from oxillama.errors import EngineError, EngineUnreachable
from oxillama.settings import Settings
from oxillama.web.engine_http import Exchange

#: How long an answer of the engine is good for.
_REMEMBERED_SECONDS = 2.0
_ANSWER_SECONDS = 1


class EngineState:
    """What the embedded engine says of itself, remembered for a moment. Nothing is asked of engines elsewhere.

    Args:
        settings: where it is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._exists = settings.embedded and settings.embedded_port is not None
        self._asking = threading.Lock()
        self._known: str | None = None
        self._asked_at = float("-inf")

    def told(self) -> str | None:
        """`ready`, `loading` or `not answering`; None for an engine elsewhere, or while another thread asks for the first time."""
        due = time.monotonic() >= self._asked_at + _REMEMBERED_SECONDS
        if self._exists and due and self._asking.acquire(blocking=False):
            try:
                self._known = self._ask()
                self._asked_at = time.monotonic()
            finally:
                self._asking.release()
        return self._known

    def _ask(self) -> str:
        try:
            with Exchange(self._settings, "GET", "/health", answer_seconds=_ANSWER_SECONDS) as exchange:
                return "loading" if exchange.receive().status == 503 else "ready"
        except EngineUnreachable:
            # It listens only some time after it was started.
            return "loading"
        except EngineError:
            return "not answering"
