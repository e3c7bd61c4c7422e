"""The JSON schema of a prompted reply: a call of one of the functions, or an answer.

Bounded where the caller's schemas are not: a small model that is held to a form goes on inside a string or a list until its context is
full, and half a JSON document is no call. Measured with SmolLM2-135M: no call of a bounded schema was left unfinished.
"""

from __future__ import annotations

from typing import Any

from oxillama.engine import bounded_json
from oxillama.engine.interface import ChatRequest
from oxillama.errors import EngineAnswerUnusable

#: For a string or list of a function's arguments whose schema sets no bound itself.
LONGEST_STRING = 1000
LONGEST_LIST = 32

_ONE = frozenset({"items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else"})
_SEVERAL = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})
#: A string with one of these is as long as that says.
_SAYS_HOW_LONG = frozenset({"maxLength", "enum", "const", "pattern", "format"})
#: What says nothing of its form.
_ABOUT_A_STRING = frozenset({"type", "title", "description", "default", "examples"})
#: Where the parameters of a function lie, and a string that has no bound of its own. No function's name holds a space.
_ARGUMENTS, _PLAIN_STRING = "arguments_of_", "plain string"
_COMBINED = frozenset({"anyOf", "oneOf", "allOf", "$ref"})


def is_answer_allowed(request: ChatRequest) -> bool:
    """Whether the model may choose not to call a function."""
    return request.tool_choice == "auto"


def structured_answer(request: ChatRequest) -> dict[str, Any] | None:
    """The schema that the run itself wants its answer to have; None when the answer is text."""
    wanted = request.response_format
    if isinstance(wanted, dict) and wanted["type"] != "text":
        return wanted["json_schema"].get("schema") or {"type": "object"} if wanted["type"] == "json_schema" else {"type": "object"}
    return None


def reply_format(request: ChatRequest) -> dict[str, Any]:
    """The `response_format` that holds the model to a reply that `ReplyReader` can read. A named choice names one of the functions."""
    repeated = _repeated(request.messages) if is_answer_allowed(request) else None
    functions = [tool["function"] for tool in request.tools if tool["function"]["name"] != repeated]
    if isinstance(request.tool_choice, dict):
        functions = [function for function in functions if function["name"] == request.tool_choice["function"]["name"]]
    definitions: dict[str, Any] = {_PLAIN_STRING: {"type": "string", "maxLength": LONGEST_STRING}}
    replies = []
    for function in functions:
        place = f"{_ARGUMENTS}{function['name']}"
        definitions[place] = _bounded(_moved(function.get("parameters") or {"type": "object", "properties": {}}, f"#/$defs/{place}"))
        replies.append(_exactly({"name": {"const": function["name"]}, "arguments": {"$ref": f"#/$defs/{place}"}}))
    if is_answer_allowed(request):
        wanted = structured_answer(request)
        if wanted is not None:
            definitions["answer"] = _moved(wanted, "#/$defs/answer")
        replies.append(_exactly({"answer": {"type": "string"} if wanted is None else {"$ref": "#/$defs/answer"}}))
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": {"anyOf": replies, "$defs": definitions}}}


def arguments(schema: dict[str, Any]) -> dict[str, Any]:
    """The parameters of each function by its name, out of a `reply_format`; none out of any other schema."""
    definitions = schema.get("$defs")
    if not isinstance(definitions, dict) or _PLAIN_STRING not in definitions:
        return {}
    return {place.removeprefix(_ARGUMENTS): part for place, part in definitions.items() if place.startswith(_ARGUMENTS)}


def _repeated(messages: list[dict[str, Any]]) -> str | None:
    """The function that the model called last, if it had made the same call just before; it is not offered for a third time.

    Small models copy their last call for ever (measured with SmolLM2-135M: 4 of 4 runs, in 4 of 4 rounds).
    """
    calls = [call["function"] for message in messages for call in message.get("tool_calls") or []]
    if len(calls) < 2 or calls[-1]["name"] != calls[-2]["name"]:
        return None
    last, before = (_parsed(call["arguments"]) for call in calls[-2:])
    return calls[-1]["name"] if last == before else None


def _parsed(arguments: str) -> Any:
    try:
        return bounded_json.parse(arguments.encode("utf-8", "surrogatepass"))
    except (EngineAnswerUnusable, ValueError):
        return arguments


def _exactly(properties: dict[str, Any]) -> dict[str, Any]:
    """An object with just these properties, in this order: grammars keep it."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _moved(schema: Any, place: str) -> Any:
    """The schema as part of a larger one: what refers to its own root refers to `place`."""
    if schema is True:
        # llama.cpp takes an object only.
        return {}
    if not isinstance(schema, dict):
        return schema
    moved = _inside(schema, lambda inner: _moved(inner, place))
    if isinstance(schema.get("$ref"), str) and schema["$ref"].startswith("#"):
        moved["$ref"] = place + schema["$ref"][1:]
    return {key: value for key, value in moved.items() if key not in ("$schema", "$id")}


def _bounded(schema: Any, *, alone: bool = True) -> Any:
    """The schema with bounds where it has none.

    Args:
        schema: any.
        alone: False for a part of an `allOf`: what such a part does not name, another may.
    """
    if not isinstance(schema, dict):
        return schema
    parts_alone = alone and "allOf" not in schema
    bounded = _inside(schema, lambda inner: _bounded(inner, alone=parts_alone))
    kinds = schema.get("type")
    if kinds == "string" and not schema.keys() - _ABOUT_A_STRING:
        # One rule for all: llama.cpp writes out each character that a bounded string may have.
        return {"$ref": f"#/$defs/{_PLAIN_STRING}"}
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "string" in kinds and not _SAYS_HOW_LONG & schema.keys():
        bounded["maxLength"] = _at_least(LONGEST_STRING, schema.get("minLength"))
    if "array" in kinds and "maxItems" not in schema:
        bounded["maxItems"] = _at_least(LONGEST_LIST, schema.get("minItems"))
    if "properties" in schema and alone and not _COMBINED & schema.keys():
        bounded.setdefault("additionalProperties", False)
    return bounded


def _at_least(usual: int, least: object) -> int:
    """A bound that leaves room for what the caller wants at least; whatever that says besides a number is for the engine to judge."""
    return max(usual, least) if isinstance(least, int) else usual


def _inside(schema: dict[str, Any], change: Any) -> dict[str, Any]:
    """A copy of the schema in which each schema directly inside is changed."""
    copy = dict(schema)
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, dict):
            copy[key] = {name: change(inner) for name, inner in value.items()}
        elif key in _SEVERAL and isinstance(value, list):
            copy[key] = [change(inner) for inner in value]
        elif key in _ONE and isinstance(value, dict):
            copy[key] = change(value)
    return copy
