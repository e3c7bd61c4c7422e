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
    """200 when the store can be written and a runner lives; else 503, and what is wrong."""
    problems = []
    store = context().store
    try:
        store.check_writable()
    except (StoreError, FileNotFoundError) as error:
        log.error("the data directory cannot be written: %s", error)
        problems.append("the data directory cannot be written")
    if not store.queue.runners():
        problems.append("no runner is alive, so runs stay queued")
    return json_value({"status": "unavailable" if problems else "ok", "problems": problems}, 503 if problems else 200)
