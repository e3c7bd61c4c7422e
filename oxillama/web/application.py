"""Api: Flask without what this application has none of. Every request would pay for looking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface, SessionMixin


class _NoSessions(SessionInterface):
    """One session for all, which can hold nothing."""

    def __init__(self) -> None:
        self._none = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:
        return self._none


class Api(Flask):
    """No sessions, no coroutines, and no hooks before, after or at the end of a request: `headers.Frontage` is around it instead."""

    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Views are plain functions."""
        return func

    def preprocess_request(self) -> None:
        """Nothing comes before a view."""

    def process_response(self, response: Response) -> Response:
        """Nothing comes behind it."""
        return response

    def do_teardown_request(self, exc: object = None) -> None:
        """Nothing is to be given back."""

    def do_teardown_appcontext(self, exc: object = None) -> None:
        """Nor here."""
