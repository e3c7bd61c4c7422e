"""The endpoints of assistants."""

from __future__ import annotations

from flask import Blueprint, Response

from oxillama import ids
from oxillama.objects.assistant import deleted, new_assistant
from oxillama.schemas.assistants import CreateAssistant, ModifyAssistant
from oxillama.web.answers import json_value
from oxillama.web.context import context, project
from oxillama.web.large_answers import json_stored
from oxillama.web.parsing import body, list_query, make_room_for

bp = Blueprint("assistants", __name__, url_prefix="/assistants")


@bp.get("")
def list_assistants() -> Response:
    """A part of the list."""
    return json_stored(context().store.assistants.page(project(), list_query("assistant")).wire_form())


@bp.post("")
def create_assistant() -> Response:
    """Create an Assistant."""
    return json_stored(context().store.assistants.insert(project(), new_assistant(body(CreateAssistant))))


@bp.get("/<assistant_id>")
def get_assistant(assistant_id: str) -> Response:
    """An Assistant."""
    return json_stored(context().store.assistants.stored(project(), ids.check("assistant", assistant_id, "assistant_id")))


@bp.post("/<assistant_id>")
def modify_assistant(assistant_id: str) -> Response:
    """Change the given fields of an Assistant."""
    ids.check("assistant", assistant_id, "assistant_id")
    assistants, values = context().store.assistants, body(ModifyAssistant)
    make_room_for(assistants.stored(project(), assistant_id))
    return json_stored(assistants.update(project(), assistant_id, values))


@bp.delete("/<assistant_id>")
def delete_assistant(assistant_id: str) -> Response:
    """Delete an Assistant."""
    context().store.assistants.delete(project(), ids.check("assistant", assistant_id, "assistant_id"))
    return json_value(deleted("assistant", assistant_id))
