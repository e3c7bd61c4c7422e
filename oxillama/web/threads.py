"""The endpoints of threads."""

from __future__ import annotations

from flask import Blueprint, Response

from oxillama.lifecycle import threads as lifecycle
from oxillama.schemas.threads import CreateThread, ModifyThread
from oxillama.web.answers import json_bytes, json_value
from oxillama.web.context import context, project, thread_folder
from oxillama.web.parsing import body

bp = Blueprint("threads", __name__, url_prefix="/threads")


@bp.post("")
def create_thread() -> Response:
    """Create a Thread with its first messages."""
    parts = context()
    return json_bytes(lifecycle.create_thread(parts.store, project(), body(CreateThread), parts.settings.max_messages_per_thread))


@bp.get("/<thread_id>")
def get_thread(thread_id: str) -> Response:
    """A Thread."""
    return json_bytes(thread_folder(thread_id).read())


@bp.post("/<thread_id>")
def modify_thread(thread_id: str) -> Response:
    """Change the given fields of a Thread."""
    return json_bytes(lifecycle.modify_thread(thread_folder(thread_id), body(ModifyThread)))


@bp.delete("/<thread_id>")
def delete_thread(thread_id: str) -> Response:
    """Delete a Thread and all that is in it."""
    return json_value(lifecycle.delete_thread(context().store, thread_folder(thread_id)))
