"""The endpoints of messages."""

from __future__ import annotations

from flask import Blueprint, Response

from oxillama import ids
from oxillama.lifecycle import threads as lifecycle
from oxillama.schemas.messages import CreateMessage, ModifyMessage
from oxillama.web.answers import json_value
from oxillama.web.busy_wait import when_free
from oxillama.web.context import context, thread_folder
from oxillama.web.large_answers import json_stored
from oxillama.web.parsing import body, message_list_query

bp = Blueprint("messages", __name__, url_prefix="/threads/<thread_id>/messages")


@bp.get("")
def list_messages(thread_id: str) -> Response:
    """A part of the list; with `run_id`, of those that one run wrote."""
    thread = thread_folder(thread_id)
    query, run_id = message_list_query()
    return json_stored(thread.page_messages(query, run_id).wire_form())


@bp.post("")
def create_message(thread_id: str) -> Response:
    """Add a Message; refused while a run is active."""
    thread = thread_folder(thread_id)
    values = body(CreateMessage)
    most = context().settings.max_messages_per_thread
    return json_stored(when_free(thread, lambda: lifecycle.create_message(thread, values, most)))


@bp.get("/<message_id>")
def get_message(thread_id: str, message_id: str) -> Response:
    """A Message."""
    thread = thread_folder(thread_id)
    return json_stored(thread.sendable_message(ids.check("message", message_id, "message_id")))


@bp.post("/<message_id>")
def modify_message(thread_id: str, message_id: str) -> Response:
    """Change the given fields of a Message."""
    thread = thread_folder(thread_id)
    ids.check("message", message_id, "message_id")
    return json_stored(lifecycle.modify_message(thread, message_id, body(ModifyMessage)))


@bp.delete("/<message_id>")
def delete_message(thread_id: str, message_id: str) -> Response:
    """Delete a Message."""
    thread = thread_folder(thread_id)
    return json_value(lifecycle.delete_message(thread, ids.check("message", message_id, "message_id")))
