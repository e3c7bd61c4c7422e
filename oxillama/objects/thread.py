"""Thread: a conversation."""

from __future__ import annotations

from typing import Any

from oxillama import clock, ids


def new_thread(values: dict[str, Any]) -> dict[str, Any]:
    """A Thread made from a checked create request; its messages are objects of their own."""
    return {
        "id": ids.new_id("thread"),
        "object": "thread",
        "created_at": clock.now(),
        "metadata": values.get("metadata", {}),
        "tool_resources": values.get("tool_resources", {}),
    }
