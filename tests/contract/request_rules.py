"""Which requests the server takes: the official request schemas, and every place where the server differs from them on purpose.

`official` is the contract as it is. `taken` is what the server keeps to: the contract with the differences of `_ask_for_more` (a request
that the contract allows is refused) and of `_take_more` (one that it does not allow is accepted). Both are exact, so a generated request
must be accepted if and only if it fits `taken`: a difference that is not listed here, or no longer true, fails a test.
Sections named here are those of behaviour.md.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

Schema = dict[str, Any]

#: Levels of objects and arrays in a JSON schema of the caller's own; deeper ones cannot be written again.
DEEPEST = 100
#: Characters of a message's text and of a run's instructions (section 11); the contract limits those of an assistant only.
LONGEST_TEXT = 256_000
#: Tools of an assistant and of a run alike (section 11); the contract has 20 for a run.
MOST_TOOLS = 128

# \Z, since $ would let a line break follow.
_IDENTIFIER: Schema = {"type": "string", "pattern": r"^[a-zA-Z0-9_-]{1,64}\Z"}


@dataclass(frozen=True)
class Operation:
    """One operation of the contract."""

    name: str
    method: str
    path: str
    path_parameters: tuple[str, ...]
    official_query: Schema
    taken_query: Schema
    official_body: Schema | None
    taken_body: Schema | None

    def __str__(self) -> str:
        return self.name


def operations() -> list[Operation]:
    """Every operation that the server offers."""
    official, taken = _document(), _document()
    _ask_for_more(taken["components"]["schemas"])
    _take_more(taken["components"]["schemas"])
    found = []
    for path, methods in official["paths"].items():
        for method, operation in methods.items():
            # Models belong to the engine: they are not deleted here.
            if method not in ("get", "post", "delete") or operation["operationId"] == "deleteModel":
                continue
            found.append(
                Operation(
                    operation["operationId"],
                    method.upper(),
                    path,
                    tuple(re.findall(r"{(\w+)}", path)),
                    _query(operation),
                    _query_taken(operation),
                    _body(operation, official),
                    _finished(_body(operation, taken)),
                )
            )
    return found


def fits(schema: Schema, value: Any) -> bool:
    """Whether a value is what a schema of this module describes."""
    return bool(_Validator(schema).is_valid(value))


# --- the differences -----------------------------------------------------------------------------------------------------------------


def _ask_for_more(schemas: dict[str, Any]) -> None:
    """What the contract allows, or does not speak of, and the server refuses."""
    # The limits of metadata are in the contract's prose only (section 11).
    schemas["Metadata"]["anyOf"][0] |= {
        "maxProperties": 16,
        "propertyNames": {"maxLength": 64},
        "additionalProperties": {"type": "string", "maxLength": 512},
    }

    # Names of functions and formats, and ids of files, go into prompts and paths; the contract has their alphabet in prose.
    schemas["FunctionObject"]["properties"]["name"] = _IDENTIFIER
    schemas["ResponseFormatJsonSchema"]["properties"]["json_schema"]["properties"]["name"] = _IDENTIFIER
    schemas["MessageContentImageFileObject"]["properties"]["image_file"]["properties"]["file_id"] = _IDENTIFIER
    _attachment(schemas)["properties"]["file_id"] = _IDENTIFIER

    # An image is on the web or in the request; the contract says `uri` of any kind.
    url = schemas["MessageContentImageUrlObject"]["properties"]["image_url"]["properties"]["url"]
    url["pattern"] = r"^(https?://|data:image/).+\Z"

    # The caller's own JSON schemas are stored, so they must be possible to write.
    for kind in ("FunctionParameters", "ResponseFormatJsonSchemaSchema"):
        schemas[kind]["levels"] = DEEPEST

    # Lengths that the contract no longer names (section 11).
    # And the hosted API refuses messages that say nothing, of which the contract does not speak.
    written: Schema = {"minLength": 1, "maxLength": LONGEST_TEXT}
    schemas["MessageRequestContentTextObject"]["properties"]["text"] |= written
    schemas["CreateMessageRequest"]["properties"]["content"]["oneOf"][0] |= written
    for kind in ("CreateRunRequest", "CreateThreadAndRunRequest"):
        schemas[kind]["properties"]["instructions"]["maxLength"] = LONGEST_TEXT
    schemas["CreateRunRequest"]["properties"]["additional_instructions"]["maxLength"] = LONGEST_TEXT

    # The contract has one schema for all types, with what only one of them needs left optional.
    schemas["AssistantsNamedToolChoice"] = {
        "oneOf": [
            {"type": "object", "properties": {"type": {"enum": ["code_interpreter", "file_search"]}}, "required": ["type"]},
            {
                "type": "object",
                "properties": {
                    "type": {"enum": ["function"]},
                    "function": {"type": "object", "properties": {"name": _IDENTIFIER}, "required": ["name"]},
                },
                "required": ["type", "function"],
            },
        ]
    }
    newest = {"type": "integer", "minimum": 1}
    schemas["TruncationObject"] = {
        "oneOf": [
            {"type": "object", "properties": {"type": {"enum": ["auto"]}, "last_messages": newest}, "required": ["type"]},
            {
                "type": "object",
                "properties": {"type": {"enum": ["last_messages"]}, "last_messages": newest},
                "required": ["type", "last_messages"],
            },
        ]
    }

    # An attachment has a file. The contract means to say so, but says it of the array.
    _attachment(schemas)["required"] = ["file_id"]

    # An output that belongs to no call cannot be given to the model.
    schemas["SubmitToolOutputsRunRequest"]["properties"]["tool_outputs"]["items"]["required"] = ["tool_call_id"]

    for schema in _parts(schemas):
        properties = schema.get("properties", {})
        # A model has a name, and it is short enough to be remembered.
        if "model" in properties:
            properties["model"] = {"type": "string", "minLength": 1, "maxLength": 256}
        # Vector stores are not supported yet: `vector_stores` may be null at most.
        if "tool_resources" in properties:
            properties["tool_resources"] = _tool_resources()

    # Nothing beyond the contract at any depth, where it forbids it at the top only (section 9: `messages[0].id`).
    for schema in _parts(schemas):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)


def _take_more(schemas: dict[str, Any]) -> None:
    """What the contract does not allow, and the server accepts. See `_finished` for nulls."""
    # A run may have as many tools as its assistant.
    for kind in ("CreateRunRequest", "CreateThreadAndRunRequest"):
        schemas[kind]["properties"]["tools"]["maxItems"] = MOST_TOOLS

    # The one request of a run that the contract forgot it in (section 12).
    schemas["CreateThreadAndRunRequest"]["properties"]["reasoning_effort"] = {"$ref": "#/components/schemas/ReasoningEffort"}

    # Defaults for what the contract requires; and what the API answers, though the contract does not name it, is taken back (section 3).
    schemas["FileSearchRankingOptions"]["required"] = []
    schemas["FileSearchRankingOptions"]["properties"]["hybrid_search"] = {"type": "object", "levels": DEEPEST}


def _finished(schema: Schema | None) -> Schema | None:
    """A null counts as not given wherever something may be left out (section 1); not in metadata and in the caller's own JSON schemas."""
    for part in _parts(schema):
        _take_nulls_of_other_types(part)
        for name, one in part.get("properties", {}).items():
            if name not in part.get("required", []):
                part["properties"][name] = {"anyOf": [one, {"type": "null"}]}
    return schema


def _take_nulls_of_other_types(part: Schema) -> None:
    """Where `type` chooses among objects, a null counts as not given under every name that any of them has."""
    variants = [one for one in part.get("oneOf", part.get("anyOf", [])) if "type" in one.get("properties", {})]
    names = {name for one in variants for name in one["properties"]}
    for one in variants:
        one["properties"].update({name: {"type": "null"} for name in names - one["properties"].keys()})


def _tool_resources() -> Schema:
    """The same in all requests; the contract has two forms, one of which demands exactly one of two lists for `file_search`."""
    files = {"type": "object", "properties": {"file_ids": {"type": "array", "maxItems": 20, "items": _IDENTIFIER}}}
    stores: Schema = {
        "type": "object",
        "properties": {"vector_store_ids": {"type": "array", "maxItems": 1, "items": _IDENTIFIER}, "vector_stores": {"type": "null"}},
    }
    return {"type": "object", "properties": {"code_interpreter": files, "file_search": stores}}


def _attachment(schemas: dict[str, Any]) -> Schema:
    found: Schema = schemas["CreateMessageRequest"]["properties"]["attachments"]["anyOf"][0]["items"]
    return found


def _query_taken(operation: dict[str, Any]) -> Schema:
    """Any other parameter is ignored; so is `include[]`, since there is nothing that it could add; an empty one counts as not given."""
    query = _query(operation)
    query["properties"].pop("include[]", None)
    for name, schema in query["properties"].items():
        if name == "limit":
            # In the contract's prose only (section 10).
            schema |= {"minimum": 1, "maximum": 100}
        query["properties"][name] = {"anyOf": [schema, {"const": ""}]}
    return query


# --- the contract's document ---------------------------------------------------------------------------------------------------------


def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(__file__).with_name("schema.json").read_bytes())
    return document


def _query(operation: dict[str, Any]) -> Schema:
    parameters = [one for one in operation.get("parameters", []) if one["in"] == "query"]
    return {"type": "object", "properties": {one["name"]: copy.deepcopy(one["schema"]) for one in parameters}}


def _body(operation: dict[str, Any], document: dict[str, Any]) -> Schema | None:
    if "requestBody" not in operation:
        return None
    schema: Schema = _inlined(operation["requestBody"]["content"]["application/json"]["schema"], document["components"]["schemas"])
    return schema


def _inlined(node: Any, schemas: dict[str, Any]) -> Any:
    """A copy without references. Schemas of requests do not contain themselves."""
    if isinstance(node, dict):
        if "$ref" in node:
            return _inlined(schemas[node["$ref"].rpartition("/")[2]], schemas)
        return {key: _inlined(value, schemas) for key, value in node.items()}
    return [_inlined(one, schemas) for one in node] if isinstance(node, list) else node


def _parts(node: Any) -> Iterator[Schema]:
    """Every schema in a schema, the outer ones first."""
    if isinstance(node, dict):
        yield node
    for one in list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from _parts(one)


def _whole_number(_: Any, value: Any) -> bool:
    # 300.0 is no integer on the wire, and neither is what 64 bits cannot hold.
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64


def _check_levels(_: Any, most: int, value: Any, __: Schema) -> Iterator[jsonschema.ValidationError]:
    if levels(value) > most:
        yield jsonschema.ValidationError(f"more than {most} levels")


def levels(value: Any) -> int:
    """How many objects and arrays lie inside each other."""
    deepest, layer = 0, [value]
    while layer := [one for one in layer if isinstance(one, dict | list)]:
        deepest += 1
        layer = [child for one in layer for child in (one.values() if isinstance(one, dict) else one)]
    return deepest


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    validators={"levels": _check_levels},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _whole_number),
)
