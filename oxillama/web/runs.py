"""The endpoints of runs, plain and streamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from oxillama import ids
from oxillama.lifecycle import runs as lifecycle
from oxillama.objects import run as run_object
from oxillama.schemas.runs import CreateRun, CreateThreadAndRun, ModifyRun, SubmitToolOutputs
from oxillama.settings import Settings
from oxillama.store.records import parsed
from oxillama.store.threads import ThreadFolder
from oxillama.web.busy_wait import when_free
from oxillama.web.context import context, project, thread_folder
from oxillama.web.large_answers import json_object, json_stored
from oxillama.web.parsing import body, list_query, make_room_for
from oxillama.web.streaming import last_event_id

bp = Blueprint("runs", __name__, url_prefix="/threads")

#: How long a client that polls an unfinished run should wait, in milliseconds (behaviour.md, section 7).
_POLL_AFTER = "250"


@bp.post("/runs")
def create_thread_and_run() -> Response:
    """Create a Thread and a Run on it."""
    values = body(CreateThreadAndRun)
    assistant = _assistant(values["assistant_id"])
    parts = context()

    def create() -> tuple[dict[str, Any], int]:
        return lifecycle.create_thread_and_run(parts.store, project(), assistant, values, **_limits(parts.settings)), 0

    return _answer(create, stream=values.get("stream", False))


@bp.get("/<thread_id>/runs")
def list_runs(thread_id: str) -> Response:
    """A part of the list."""
    thread = thread_folder(thread_id)
    return json_stored(thread.page_runs(list_query("run")).wire_form())


@bp.post("/<thread_id>/runs")
def create_run(thread_id: str) -> Response:
    """Create a Run; refused while another is active."""
    thread = thread_folder(thread_id)
    values = body(CreateRun)
    thread.require()
    assistant = _assistant(values["assistant_id"])
    parts = context()

    def create() -> tuple[dict[str, Any], int]:
        limits = _limits(parts.settings)
        return when_free(thread, lambda: lifecycle.create_run(parts.store, thread, assistant, values, **limits)), 0

    return _answer(create, stream=values.get("stream", False))


@bp.get("/<thread_id>/runs/<run_id>")
def get_run(thread_id: str, run_id: str) -> Response:
    """A Run. While it is unfinished, a header tells a polling client when to look again."""
    thread = _thread_of_run(thread_id, run_id)
    content, status = thread.sendable_run(run_id)
    answer = json_stored(content)
    if status not in run_object.TERMINAL:
        answer.headers["openai-poll-after-ms"] = _POLL_AFTER
    return answer


@bp.post("/<thread_id>/runs/<run_id>")
def modify_run(thread_id: str, run_id: str) -> Response:
    """Change the given fields of a Run."""
    thread = _thread_of_run(thread_id, run_id)
    values = body(ModifyRun)
    make_room_for(thread.read_run(run_id))
    return json_stored(lifecycle.modify_run(thread, run_id, values))


@bp.post("/<thread_id>/runs/<run_id>/cancel")
def cancel_run(thread_id: str, run_id: str) -> Response:
    """Cancel a Run. Whatever the request's body holds is ignored, as the hosted API did."""
    thread = _thread_of_run(thread_id, run_id)
    make_room_for(thread.read_run(run_id))
    return json_object(lifecycle.cancel_run(context().store, thread, run_id))


@bp.post("/<thread_id>/runs/<run_id>/submit_tool_outputs")
def submit_tool_outputs(thread_id: str, run_id: str) -> Response:
    """Give a Run the outputs of its tool calls."""
    thread = _thread_of_run(thread_id, run_id)
    values = body(SubmitToolOutputs)
    make_room_for(thread.read_run(run_id))

    def submit() -> tuple[dict[str, Any], int]:
        return lifecycle.submit_tool_outputs(context().store, thread, run_id, values["tool_outputs"])

    return _answer(submit, stream=values.get("stream", False))


@bp.get("/<thread_id>/runs/<run_id>/events")
def list_run_events(thread_id: str, run_id: str) -> Response:
    """Everything a Run streams, from any point on, during the run or after it. Not in the hosted API."""
    thread = _thread_of_run(thread_id, run_id)
    position = last_event_id(request.headers.get("Last-Event-ID"), request.args.get("after"))
    thread.read_run(run_id)
    desk = context().streams
    with desk.reserve() as slot:
        return desk.events(slot, thread, run_id, position)


def _thread_of_run(thread_id: str, run_id: str) -> ThreadFolder:
    """The thread of the URL, once both ids are safe."""
    thread = thread_folder(thread_id)
    ids.check("run", run_id, "run_id")
    return thread


def _limits(settings: Settings) -> dict[str, int]:
    return {
        "expiry_seconds": settings.run_expiry_seconds,
        "most_messages": settings.max_messages_per_thread,
        "most_runs": settings.max_queued_runs,
    }


def _assistant(assistant_id: str) -> dict[str, Any]:
    assistants, project_id = context().store.assistants, project()
    stored = assistants.stored(project_id, ids.check("assistant", assistant_id, "assistant_id"))
    make_room_for(stored)
    return parsed(stored if isinstance(stored, bytes) else assistants.get(project_id, assistant_id), assistant_id)


def _answer(act: Callable[[], tuple[dict[str, Any], int]], *, stream: bool) -> Response:
    """Do `act`, which gives a run and a position in its log, and answer with the run or with what follows in the log."""
    if not stream:
        return json_object(act()[0])
    desk = context().streams
    # A stream that there is no room for must be refused before anything is created.
    with desk.reserve() as slot:
        run, position = act()
        return desk.hosted(slot, thread_folder(run["thread_id"]), run["id"], position)
