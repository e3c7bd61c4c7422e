"""Whether the service can do its job."""

from __future__ import annotations

import logging

from flask import Blueprint, Response

from oxillama.errors import StoreError
from oxillama.web.answers import json_value
from oxillama.web.context import context

log = logging.getLogger(__name__)

bp = Blueprint("health", __name__)


@bp.get("/health")
def health() -> Response:
    """200 when the store can be written and a runner lives; else 503, and what is wrong. Also how the embedded engine is."""
    problems = []
    store = context().store
    try:
        store.check_writable()
    except (StoreError, FileNotFoundError) as error:
        problems.append(_told("the data directory cannot be written", error))
    try:
        if not store.queue.runners():
            problems.append("no runner is alive, so runs stay queued")
    except StoreError as error:
        problems.append(_told("runners cannot be looked for", error))
    answer: dict[str, object] = {"status": "unavailable" if problems else "ok", "problems": problems}
    engine = context().engine_state.told()
    return json_value(answer if engine is None else {**answer, "engine": engine}, 503 if problems else 200)


def _told(problem: str, error: StoreError | FileNotFoundError) -> str:
    """The problem and its reason, for whoever asks; the file is for the log alone."""
    log.error("%s: %s", problem, error)
    return f"{problem}: {error.reason if isinstance(error, StoreError) else 'a part of it is missing'}"
