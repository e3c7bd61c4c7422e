"""Run: one answer of an assistant on a thread; and the table of moves between its statuses."""

from __future__ import annotations

from typing import Any

from oxillama import clock, ids
from oxillama.errors import RunTransitionRefused

#: While a run has one of these, its thread takes no message and no other run (behaviour.md, section 8).
ACTIVE = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
TERMINAL = frozenset({"completed", "incomplete", "failed", "cancelled", "expired"})

_ANY_END = frozenset({"cancelled", "failed", "expired"})

#: status -> the statuses it may change to. `in_progress` to `queued` is recovery: the runner died before it streamed anything.
TRANSITIONS: dict[str, frozenset[str]] = {
    "queued": frozenset({"in_progress", "cancelling"}) | _ANY_END,
    "in_progress": frozenset({"requires_action", "completed", "incomplete", "cancelling", "queued"}) | _ANY_END,
    "requires_action": frozenset({"queued", "cancelling"}) | _ANY_END,
    "cancelling": frozenset({"cancelled"}),
    **{status: frozenset() for status in TERMINAL},
}

#: What a run takes from its assistant when the request does not say (behaviour.md, section 3: what a new run copies).
FROM_ASSISTANT = ("model", "instructions", "tools", "temperature", "top_p", "reasoning_effort", "response_format")


def new_run(thread_id: str, assistant: dict[str, Any], values: dict[str, Any], *, stamp: int, expiry_seconds: int) -> dict[str, Any]:
    """A queued Run. It holds its own copy of everything it needs, so that later edits of the assistant do not reach it.

    Args:
        thread_id: the thread it answers.
        assistant: the Assistant.
        values: a checked create-run request.
        stamp: microseconds from which the id is made, later than every id of the thread.
        expiry_seconds: life of the run.
    """
    chosen = {name: values.get(name, assistant[name]) for name in FROM_ASSISTANT}
    instructions = [text for text in (chosen["instructions"], values.get("additional_instructions")) if text]
    now = clock.now()
    return {
        "id": ids.new_id("run", stamp),
        "object": "thread.run",
        "created_at": now,
        "assistant_id": assistant["id"],
        "thread_id": thread_id,
        "status": "queued",
        "started_at": None,
        "expires_at": now + expiry_seconds,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "required_action": None,
        "last_error": None,
        "model": chosen["model"],
        "instructions": "\n".join(instructions) or None,
        "tools": chosen["tools"],
        "tool_resources": values.get("tool_resources", {}),
        "metadata": values.get("metadata", {}),
        "temperature": chosen["temperature"],
        "top_p": chosen["top_p"],
        "reasoning_effort": chosen["reasoning_effort"],
        "max_completion_tokens": values.get("max_completion_tokens"),
        "max_prompt_tokens": values.get("max_prompt_tokens"),
        "truncation_strategy": values.get("truncation_strategy", {"type": "auto", "last_messages": None}),
        "incomplete_details": None,
        "usage": None,
        "response_format": chosen["response_format"],
        "tool_choice": values.get("tool_choice", "auto"),
        "parallel_tool_calls": values.get("parallel_tool_calls", True),
    }


def moved(run: dict[str, Any], status: str, **changes: Any) -> dict[str, Any]:
    """The run in another status, with the time fields that belong to it (behaviour.md, section 3: fields by status).

    Raises:
        RunTransitionRefused: the table does not have this move.
    """
    if status not in TRANSITIONS[run["status"]]:
        raise RunTransitionRefused(f"A run cannot change from '{run['status']}' to '{status}'.", run["status"])
    now = clock.now()
    times: dict[str, Any] = {}
    if status == "in_progress":
        times["started_at"] = now
    elif status in ("completed", "incomplete"):
        times["completed_at"] = now
    elif status in ("failed", "cancelled"):
        times[f"{status}_at"] = now
    if status in TERMINAL:
        times["expires_at"] = None
    if status != "requires_action":
        times["required_action"] = None
    return {**run, "status": status, **times, **changes}


def as_created(run: dict[str, Any]) -> dict[str, Any]:
    """The run as it was when it was new, but for the time of its end: that is forgotten once it has ended."""
    since = ("started_at", "completed_at", "failed_at", "cancelled_at", "required_action", "last_error", "incomplete_details", "usage")
    return {**run, "status": "queued", **dict.fromkeys(since)}


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0, reasoning_tokens: int = 0) -> dict[str, Any]:
    """Token counts of a step or run, as on the wire (`prompt_token_details` is spelled as the hosted API spells it)."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_token_details": {"cached_tokens": cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
    }


def total_usage(usages: list[dict[str, Any] | None]) -> dict[str, Any]:
    """The sum over a run's steps; steps without a count add nothing."""
    counted = [one for one in usages if one is not None]
    return usage(
        sum(one.get("prompt_tokens", 0) for one in counted),
        sum(one.get("completion_tokens", 0) for one in counted),
        sum(one.get("prompt_token_details", {}).get("cached_tokens", 0) for one in counted),
        sum(one.get("completion_tokens_details", {}).get("reasoning_tokens", 0) for one in counted),
    )
