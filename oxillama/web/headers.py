"""What every request and every answer pass: who is asking, and the headers that every answer has.

A layer around the application rather than Flask's hooks: it needs two headers of a request, and adds to the list that goes out anyway.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from oxillama import ids
from oxillama.errors import AuthenticationFailed, InvalidRequest, RequestRefused
from oxillama.settings import Settings
from oxillama.web.auth import check_beta_header, project_of
from oxillama.web.base_urls import AZURE, OPENAI
from oxillama.web.cors import CorsPolicy
from oxillama.web.error_handlers import answer_to
from oxillama.web.origin import page_check

#: Where the project of a request stands in its environment.
PROJECT = "oxillama.project"
#: Where an ExitStack stands of what is to be given back when its view is done, if there is anything.
WHEN_DONE = "oxillama.when_done"

_BETA_ONLY = tuple(f"{base}/{noun}" for base in (OPENAI, AZURE) for noun in ("assistants", "threads"))


def api_headers(seconds: float, project: str) -> list[tuple[str, str]]:
    """The headers that every answer has.

    Args:
        seconds: how long the answer took.
        project: who asked.
    """
    return [
        ("x-request-id", ids.new_request_id()),
        ("openai-version", "2020-10-01"),
        ("openai-processing-ms", str(int(seconds * 1000))),
        ("openai-organization", "oxillama"),
        ("openai-project", project),
    ]


class Frontage:
    """Checks who asks, and for which beta, before `application` hears of it; adds the API's headers behind it (behaviour.md, section 1)."""

    def __init__(self, application: WSGIApplication, settings: Settings) -> None:
        self._application, self._settings = application, settings
        self._check_page = page_check(settings.bind) if settings.api_keys is None else None
        self._cors = CorsPolicy(settings.cors_origins) if settings.cors_origins else None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        began = time.monotonic()
        environ[PROJECT] = "default"
        cors = [] if self._cors is None else self._cors.headers(environ)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            return start_response(status, headers + api_headers(time.monotonic() - began, environ[PROJECT]) + cors, *exc_info)

        granted = None if self._cors is None else self._cors.preflight(environ)
        if granted is not None:
            # Browsers send no key with it.
            start("204 No Content", granted)
            return []
        path = environ["PATH_INFO"]
        if path == "/health":
            return self._application(environ, start)
        try:
            if self._check_page is not None:
                self._check_page(environ)
            environ[PROJECT] = project_of(environ, self._settings)
            if path.startswith(_BETA_ONLY):
                check_beta_header(environ)
            if not environ.get("QUERY_STRING", "").isascii():
                _check_query(environ["QUERY_STRING"])
        except (AuthenticationFailed, RequestRefused) as error:
            return answer_to(error)(environ, start)
        try:
            return self._application(environ, start)
        finally:
            if WHEN_DONE in environ:
                environ[WHEN_DONE].close()


def _check_query(query: str) -> None:
    """Raise InvalidRequest unless a query is UTF-8; werkzeug leaves that to whoever reads it first."""
    try:
        query.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The query of your request is not valid UTF-8.") from None
