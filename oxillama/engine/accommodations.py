"""What a request can do without, or say in another way, where an engine's model does not take it as it is.

An accommodation is a named change of the request's body. Which one a refusal asks for is recognised by `refusals.wanted`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from oxillama.engine import roles

Body = dict[str, Any]

#: Parameters that a request can do without.
OPTIONAL = (
    "stream_options",
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "reasoning_effort",
    "max_completion_tokens",
    "max_tokens",
)

_MUST_CALL = "Call one of the functions in this turn; do not answer in words."
_JSON_ONLY = "Reply with one JSON value and nothing else."


def _json_object(body: Body) -> Body:
    """`json_schema` as `json_object`, the schema said in words."""
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return body
    return {**body, "response_format": {"type": "json_object"}, "messages": _told_form(body["messages"], wanted)}


def _any_object(body: Body) -> Body:
    """`json_object` as a `json_schema` that any object fits (webai-at-home/webai-at-home#219)."""
    if body.get("response_format") != {"type": "json_object"}:
        return body
    return {**body, "response_format": {"type": "json_schema", "json_schema": {"name": "object", "schema": {"type": "object"}}}}


def _form_in_words(body: Body) -> Body:
    """No `response_format`, the form said in words."""
    wanted = body.get("response_format")
    if not isinstance(wanted, dict):
        return without("response_format")(body)
    told = body["messages"]
    if wanted.get("type") == "json_schema" or not _has_told_form(told):
        told = _told_form(told, wanted)
    return {**without("response_format")(body), "messages": told}


def _told_form(messages: list[Body], wanted: Body) -> list[Body]:
    schema = (wanted.get("json_schema") or {}).get("schema")
    words = _JSON_ONLY if schema is None else f"{_JSON_ONLY} It has to fit this JSON schema: {json.dumps(schema, ensure_ascii=False)}"
    return roles.with_one_system([{"role": "system", "content": words}, *messages])


def _has_told_form(messages: list[Body]) -> bool:
    return any(message["role"] == "system" and _JSON_ONLY in str(message.get("content")) for message in messages)


def _completion_limit_renamed(body: Body) -> Body:
    """`max_completion_tokens`, the newer name of `max_tokens`."""
    if "max_tokens" not in body:
        return body
    return {**without("max_tokens")(body), "max_completion_tokens": body["max_tokens"]}


def _named_choice_as_required(body: Body) -> Body:
    """A choice of one function as `required` with no other function to choose."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return body
    name = choice.get("function", {}).get("name")
    return {**body, "tools": [tool for tool in body["tools"] if tool["function"]["name"] == name], "tool_choice": "required"}


def _choice_as_auto(body: Body) -> Body:
    """The model chooses whether to call, and is told in words to."""
    choice = body.get("tool_choice")
    if choice in (None, "auto", "none"):
        return body
    told = roles.with_one_system([*body["messages"], {"role": "system", "content": _MUST_CALL}])
    return {**_named_choice_as_required(body), "tool_choice": "auto", "messages": told}


def _without_choice(body: Body) -> Body:
    """No `tool_choice`; and no functions either, where none may be called."""
    changed = without("tool_choice")(body)
    if body.get("tool_choice") == "none":
        changed = without("parallel_tool_calls")(without("tools")(changed))
    return changed


def _without_strict(body: Body) -> Body:
    """Functions and form without `strict`."""
    changed = dict(body)
    if any("strict" in tool["function"] for tool in body.get("tools", ())):
        changed["tools"] = [{**tool, "function": without("strict")(tool["function"])} for tool in body["tools"]]
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and "strict" in (wanted.get("json_schema") or {}):
        changed["response_format"] = {**wanted, "json_schema": without("strict")(wanted["json_schema"])}
    return changed


def without(name: str) -> Callable[[Body], Body]:
    """The change that leaves a member out."""
    return lambda body: {key: value for key, value in body.items() if key != name}


def _messages(change: Callable[[list[Body]], list[Body]]) -> Callable[[Body], Body]:
    return lambda body: {**body, "messages": change(body["messages"])}


#: Name -> change. They are applied in this order: roles last, because a form in words adds instructions; and turns before
#: instructions move, so that these come before whatever the assistant said first.
CHANGES: dict[str, Callable[[Body], Body]] = {
    "strict left out": _without_strict,
    "response_format as json_object": _json_object,
    "json_object as json_schema": _any_object,
    "response_format in words": _form_in_words,
    "max_tokens as max_completion_tokens": _completion_limit_renamed,
    "tool_choice as required": _named_choice_as_required,
    "tool_choice as auto": _choice_as_auto,
    "tool_choice left out": _without_choice,
    **{f"{name} left out": without(name) for name in OPTIONAL},
    "reasoning not sent back": _messages(roles.without_reasoning),
    "content beside calls as text": _messages(roles.with_text_for_calls),
    "one system message": _messages(roles.with_one_system),
    "user and assistant in turn": _messages(roles.in_turns),
    "instructions in the first user message": _messages(roles.without_system),
}


def apply(body: Body, names: Iterable[str]) -> Body:
    """The body with these accommodations made.

    Args:
        body: of a chat completion; it is not changed.
        names: keys of `CHANGES`, in any order.
    """
    wanted = set(names)
    for name, change in CHANGES.items():
        if name in wanted:
            body = change(body)
    return body
