"""RunStep: one thing a run did: write a message, or call tools."""

from __future__ import annotations

from typing import Any

from oxillama import clock, ids

TYPES = ("message_creation", "tool_calls")
STATUSES = ("in_progress", "completed", "failed", "cancelled", "expired")


def message_step(run: dict[str, Any], message_id: str, stamp: int) -> dict[str, Any]:
    """The open step of a message that is about to be written."""
    details = {"type": "message_creation", "message_creation": {"message_id": message_id}}
    return _step(run, "message_creation", details, stamp)


def tool_calls_step(run: dict[str, Any], stamp: int) -> dict[str, Any]:
    """The open step of a model turn that calls tools; its calls are added when they are whole."""
    return _step(run, "tool_calls", {"type": "tool_calls", "tool_calls": []}, stamp)


def function_call(call_id: str, name: str, arguments: str, output: str | None = None) -> dict[str, Any]:
    """One call of a function, as a step stores it."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments, "output": output}}


def without_output(call: dict[str, Any]) -> dict[str, Any]:
    """A stored call as a run's `required_action` names it, and as Chat Completions does."""
    function = call["function"]
    return {"id": call["id"], "type": "function", "function": {"name": function["name"], "arguments": function["arguments"]}}


def finish(step: dict[str, Any], status: str, *, usage: dict[str, Any] | None, last_error: dict[str, Any] | None = None) -> dict[str, Any]:
    """The step at its end.

    Args:
        step: the open step.
        status: `completed`, `failed`, `cancelled` or `expired`; sets the time field of that name.
        usage: the tokens of its turn.
        last_error: for `failed`, `{"code", "message"}`.
    """
    return {
        **step,
        "status": status,
        f"{status}_at": clock.now(),
        "expires_at": None,
        "last_error": last_error,
        "usage": usage,
    }


def has_details(step: dict[str, Any]) -> bool:
    """Whether a step, of a type that there is, holds the details of this type."""
    details = step.get("step_details")
    if not isinstance(details, dict) or details.get("type") != step["type"]:
        return False
    inner = details.get(step["type"])
    if step["type"] == "message_creation":
        return isinstance(inner, dict) and isinstance(inner.get("message_id"), str)
    return isinstance(inner, list)


def _step(run: dict[str, Any], kind: str, details: dict[str, Any], stamp: int) -> dict[str, Any]:
    return {
        "id": ids.new_id("run step", stamp),
        "object": "thread.run.step",
        "created_at": clock.now(),
        "run_id": run["id"],
        "assistant_id": run["assistant_id"],
        "thread_id": run["thread_id"],
        "type": kind,
        "status": "in_progress",
        "cancelled_at": None,
        "completed_at": None,
        "expires_at": run["expires_at"],
        "expired_at": None,
        "failed_at": None,
        "last_error": None,
        "step_details": details,
        "usage": None,
        "metadata": None,
    }
