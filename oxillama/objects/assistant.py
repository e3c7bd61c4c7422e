"""Assistant: what a run answers with."""

from __future__ import annotations

from typing import Any

from oxillama import clock, ids

#: What an assistant has when its creator says nothing (behaviour.md, section 3: defaults on the wire).
DEFAULTS: dict[str, Any] = {
    "name": None,
    "description": None,
    "instructions": None,
    "tools": [],
    "top_p": 1.0,
    "temperature": 1.0,
    "reasoning_effort": None,
    "tool_resources": {},
    "metadata": {},
    "response_format": "auto",
}


#: What a tool reads, by the name of the tool.
_LISTS = {"code_interpreter": "file_ids", "file_search": "vector_store_ids"}


def new_assistant(values: dict[str, Any]) -> dict[str, Any]:
    """An Assistant made from a checked create request."""
    fields = {**DEFAULTS, **values}
    made = {
        "id": ids.new_id("assistant"),
        "object": "assistant",
        "created_at": clock.now(),
        "name": fields["name"],
        "description": fields["description"],
        "model": fields["model"],
        "instructions": fields["instructions"],
        "tools": fields["tools"],
        "top_p": fields["top_p"],
        "temperature": fields["temperature"],
        "reasoning_effort": fields["reasoning_effort"],
        "tool_resources": fields["tool_resources"],
        "metadata": fields["metadata"],
        "response_format": fields["response_format"],
    }
    return modified(made, {})


def modified(assistant: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """An Assistant with the values of a checked modify request in place of its own.

    `tool_resources` always has the lists of its tools, also before there is anything in them (recorded).
    """
    changed = {**assistant, **changes}
    lists: dict[str, Any] = {tool["type"]: {_LISTS[tool["type"]]: []} for tool in changed["tools"] if tool["type"] in _LISTS}
    return {**changed, "tool_resources": {**lists, **changed["tool_resources"]}}


def deleted(noun: str, object_id: str) -> dict[str, Any]:
    """The answer to a delete. `noun` is the object's own name on the wire: assistant, thread, thread.message."""
    return {"id": object_id, "object": f"{noun}.deleted", "deleted": True}
