"""Message: one turn of a thread, from the caller or from a run."""

from __future__ import annotations

from typing import Any

from oxillama import clock, ids


def text_part(value: str) -> dict[str, Any]:
    """A text content part in the form in which it is stored and sent."""
    return {"type": "text", "text": {"value": value, "annotations": []}}


def caller_message(thread_id: str, values: dict[str, Any], stamp: int) -> dict[str, Any]:
    """A Message that the caller adds: complete at once.

    Args:
        thread_id: the thread it goes to.
        values: a checked create-message request; `content` is a string or a list of parts in request form.
        stamp: microseconds from which the id is made, later than every id of the thread.
    """
    content = values["content"]
    parts = [text_part(content)] if isinstance(content, str) else [_stored_part(part) for part in content]
    now = clock.now()
    return {
        **_message(thread_id, ids.new_id("message", stamp), values["role"], now),
        "status": "completed",
        "completed_at": now,
        "content": parts,
        "attachments": values.get("attachments", []),
        "metadata": values.get("metadata", {}),
    }


def run_message(run: dict[str, Any], stamp: int) -> dict[str, Any]:
    """The Message that a run begins to write: `in_progress`, without content."""
    message = _message(run["thread_id"], ids.new_id("message", stamp), "assistant", clock.now())
    return {**message, "assistant_id": run["assistant_id"], "run_id": run["id"]}


def finish(message: dict[str, Any], content: list[dict[str, Any]], incomplete_reason: str | None) -> dict[str, Any]:
    """A run's Message at its end.

    Args:
        message: the message as it was begun.
        content: its parts, whole.
        incomplete_reason: None when it is complete, else `content_filter`, `max_tokens`, `run_cancelled`, `run_expired` or `run_failed`.
    """
    now = clock.now()
    if incomplete_reason is None:
        return {**message, "status": "completed", "completed_at": now, "content": content}
    return {
        **message,
        "status": "incomplete",
        "incomplete_details": {"reason": incomplete_reason},
        "incomplete_at": now,
        "content": content,
    }


def _message(thread_id: str, message_id: str, role: str, created_at: int) -> dict[str, Any]:
    return {
        "id": message_id,
        "object": "thread.message",
        "created_at": created_at,
        "assistant_id": None,
        "thread_id": thread_id,
        "run_id": None,
        "status": "in_progress",
        "incomplete_details": None,
        "incomplete_at": None,
        "completed_at": None,
        "role": role,
        "content": [],
        "attachments": [],
        "metadata": {},
    }


def _stored_part(part: dict[str, Any]) -> dict[str, Any]:
    return text_part(part["text"]) if part["type"] == "text" else part
