"""The endpoints of run steps."""

from __future__ import annotations

from flask import Blueprint, Response

from oxillama import ids
from oxillama.web.context import thread_folder
from oxillama.web.large_answers import json_stored
from oxillama.web.parsing import list_query

bp = Blueprint("steps", __name__, url_prefix="/threads/<thread_id>/runs/<run_id>/steps")


@bp.get("")
def list_run_steps(thread_id: str, run_id: str) -> Response:
    """A part of the list. `include[]` is accepted: nothing that it would add is stored yet."""
    thread = thread_folder(thread_id)
    ids.check("run", run_id, "run_id")
    return json_stored(thread.page_steps(run_id, list_query("run step")).wire_form())


@bp.get("/<step_id>")
def get_run_step(thread_id: str, run_id: str, step_id: str) -> Response:
    """A RunStep."""
    thread = thread_folder(thread_id)
    ids.check("run", run_id, "run_id")
    return json_stored(thread.read_step(run_id, ids.check("run step", step_id, "step_id")))
