"""Whether the service can do its job."""

from __future__ import annotations

from flask import Blueprint, Response

from oxillama.errors import StoreError
from oxillama.web.answers import json_value
from oxillama.web.context import context
from oxillama.web.writability import told

bp = Blueprint("health", __name__)


@bp.get("/health")
def health() -> Response:
    """200 when the store can be written and a runner moves; else 503. Also what is wrong with either, and how the embedded engine is.

    A runner that does not move is named, also beside others that do.
    """
    parts = context()
    problem = parts.writability.problem()
    problems = [] if problem is None else [problem]
    frozen = parts.caretaker.frozen
    works = not problems
    try:
        runners = parts.store.queue.runners()
        problems += [f"runner {runner_id} does not move" for runner_id in runners if runner_id in frozen]
        if not runners:
            problems.append("no runner is alive, so runs stay queued")
        works = works and any(runner_id not in frozen for runner_id in runners)
    except StoreError as error:
        problems.append(told("runners cannot be looked for", error))
        works = False
    status = "unavailable" if not works else "degraded" if problems else "ok"
    answer: dict[str, object] = {"status": status, "problems": problems}
    engine = parts.engine_state.told()
    return json_value(answer if engine is None else {**answer, "engine": engine}, 200 if works else 503)
