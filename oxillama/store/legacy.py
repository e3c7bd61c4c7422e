"""Objects of oxillama-server 0.1.3 in the form of today's API. They are recognised by the shape of their ids; the files stay as they are.

That server left optional fields out, called a step's `type` `step_type` and gave its details none, allowed any JSON as metadata, and had
error codes of its own.
"""

from __future__ import annotations

from typing import Any

import orjson

from oxillama.objects import run as run_object
from oxillama.objects.message import text_part

_KNOWN_ERROR_CODES = frozenset({"server_error", "rate_limit_exceeded", "invalid_prompt"})


def thread(stored: dict[str, Any]) -> dict[str, Any]:
    """A Thread."""
    return {
        "id": stored["id"],
        "object": "thread",
        "created_at": stored["created_at"],
        "metadata": _metadata(stored),
        "tool_resources": stored.get("tool_resources") or {},
    }


def message(stored: dict[str, Any]) -> dict[str, Any]:
    """A Message; that server stored whole ones only."""
    content = stored.get("content") or []
    return {
        "id": stored["id"],
        "object": "thread.message",
        "created_at": stored["created_at"],
        "assistant_id": stored.get("assistant_id"),
        "thread_id": stored["thread_id"],
        "run_id": stored.get("run_id"),
        "status": "completed",
        "incomplete_details": None,
        "incomplete_at": None,
        "completed_at": stored["created_at"],
        "role": stored["role"],
        "content": [text_part(content)] if isinstance(content, str) else content,
        "attachments": stored.get("attachments") or [],
        "metadata": _metadata(stored),
    }


def run(stored: dict[str, Any]) -> dict[str, Any]:
    """A Run. It had no assistant, and its parameters were never stored."""
    no_assistant = {
        "id": stored.get("assistant_id") or "",
        "model": stored.get("model") or "",
        "instructions": stored.get("instructions"),
        "tools": stored.get("tools") or [],
        "temperature": 1.0,
        "top_p": 1.0,
        "reasoning_effort": None,
        "response_format": "auto",
    }
    values = {"metadata": _metadata(stored)}
    blank = run_object.new_run(stored["thread_id"], no_assistant, values, stamp=0, expiry_seconds=0)
    times = {name: stored.get(name) for name in ("started_at", "completed_at", "failed_at", "cancelled_at", "expires_at")}
    known = {"id": stored["id"], "created_at": stored["created_at"], "status": stored["status"], "usage": stored.get("usage")}
    return {**blank, **known, **times, "last_error": _last_error(stored)}


def abandoned(unfinished: dict[str, Any]) -> dict[str, Any]:
    """A Run in today's form that nobody works on any more, ended."""
    if unfinished["status"] == "cancelling":
        return run_object.moved(unfinished, "cancelled")
    error = {"code": "server_error", "message": "The server that worked on this run was stopped."}
    return run_object.moved(unfinished, "failed", last_error=error)


def step(stored: dict[str, Any], owner: dict[str, Any]) -> dict[str, Any]:
    """A RunStep of the Run `owner`. One that was left open by a run which is over is shown to have ended with it."""
    details = stored.get("step_details") or {}
    kind = stored.get("type") or stored.get("step_type") or "message_creation"
    inner = details.get(kind, {"message_id": details.get("message_id", "")} if kind == "message_creation" else [])
    status = stored["status"]
    if status == "in_progress" and owner["status"] in run_object.TERMINAL:
        status = {"incomplete": "completed"}.get(owner["status"], owner["status"])
    return {
        "id": stored["id"],
        "object": "thread.run.step",
        "created_at": stored["created_at"],
        "run_id": stored["run_id"],
        "assistant_id": owner["assistant_id"],
        "thread_id": stored["thread_id"],
        "type": kind,
        "status": status,
        "cancelled_at": stored.get("cancelled_at"),
        "completed_at": stored.get("completed_at"),
        "expires_at": None,
        "expired_at": None,
        "failed_at": stored.get("failed_at"),
        "last_error": _last_error(stored),
        "step_details": {"type": kind, kind: inner},
        "usage": stored.get("usage"),
        "metadata": None,
    }


def _metadata(stored: dict[str, Any]) -> dict[str, str]:
    """Metadata values are strings; what is not one becomes its JSON text, so that nothing is lost."""
    metadata = stored.get("metadata") or {}
    if not isinstance(metadata, dict):
        metadata = {"metadata": metadata}
    return {key: value if isinstance(value, str) else orjson.dumps(value).decode() for key, value in metadata.items()}


def _last_error(stored: dict[str, Any]) -> dict[str, str] | None:
    error = stored.get("last_error")
    if not error:
        return None
    code = error.get("code")
    return {"code": code if code in _KNOWN_ERROR_CODES else "server_error", "message": error.get("message") or ""}
