"""What happens before and after every view: who is asking, and the headers that every answer has."""

from __future__ import annotations

import time

from flask import Flask, Response, g, request

from oxillama import ids
from oxillama.settings import Settings
from oxillama.web.auth import check_beta_header, project_of
from oxillama.web.base_urls import AZURE, OPENAI
from oxillama.web.origin import page_check

_BETA_ONLY = tuple(f"{base}/{noun}" for base in (OPENAI, AZURE) for noun in ("assistants", "threads"))


def api_headers(seconds: float, project: str) -> dict[str, str]:
    """The headers that every answer has.

    Args:
        seconds: how long the answer took.
        project: who asked.
    """
    return {
        "x-request-id": ids.new_request_id(),
        "openai-version": "2020-10-01",
        "openai-processing-ms": str(int(seconds * 1000)),
        "openai-organization": "oxillama",
        "openai-project": project,
    }


def register(app: Flask, settings: Settings) -> None:
    """Check keys and beta header before each view of `app`; add the API's headers behind it (behaviour.md, section 1)."""
    check_page = page_check(settings.bind) if settings.api_keys is None else None

    @app.before_request
    def identify() -> None:
        g.started = time.monotonic()
        g.project = "default"
        if request.path == "/health":
            return
        if check_page is not None:
            check_page(request)
        g.project = project_of(request, settings)
        if request.path.startswith(_BETA_ONLY):
            check_beta_header(request)

    @app.after_request
    def add_headers(response: Response) -> Response:
        elapsed = time.monotonic() - g.get("started", time.monotonic())
        response.headers.extend(api_headers(elapsed, g.get("project", "default")))
        return response
