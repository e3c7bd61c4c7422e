"""What a JSON schema may cost the embedded engine, which makes a grammar of it and holds each token against that.

llama.cpp checks none of this. It recurses, copies and multiplies: with a schema of a few kilobytes it dies or does not come back
(measured with xllamacpp 2026.10). So a schema is measured first, in time that grows with its length alone. Counts follow the limits
of the hosted API's structured outputs; costs are those with which a token takes well under a second on two cores.
"""

from __future__ import annotations

import json
from typing import Any

from oxillama import pattern_cost

#: Of names, of values in `enum` and `const`, of patterns.
MAX_CHARACTERS = 120_000
#: As JSON; descriptions cost the grammar nothing.
MAX_JSON_CHARACTERS = 256 * 1024
MAX_PROPERTIES = 5_000
MAX_ENUM_VALUES = 1_000
MAX_NAME_CHARACTERS = 256
MAX_REFERENCE_CHARACTERS = 1_024
MAX_LEVELS = 100
#: With how many alternatives a value may begin: each is followed for each token of the vocabulary.
MAX_ALTERNATIVES = 1_000
#: Of one object. They may be left out in any combination, and the grammar has a rule for each pair of them.
MAX_OPTIONAL_PROPERTIES = 500
#: Of strings and lists: written out, each a rule of some 300 bytes.
MAX_REPETITIONS = 500_000
#: Schemas in it, each as often as the types that those around it may have.
MAX_SCHEMAS = 20_000
#: Rules are called after the path to what they are for.
MAX_PATH_CHARACTERS = 5_000_000

_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
_ONE = ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_COUNTED = ("maxLength", "minLength", "maxItems", "minItems")
#: llama.cpp writes out no repetition that is longer: it refuses a list, and does not hold a string to it.
_LONGEST_REPETITION = 2_000


class _TooMuch(Exception):
    """Its text is the rest of a sentence that begins with the schema's name."""


def problem(schema: object, part: object = None) -> str | None:
    """What is too much about a schema, as the end of a sentence that begins with it; None when the engine can take it.

    Args:
        schema: as a caller wrote it, or one in which several of a caller's lie.
        part: the one of them that is meant; what it refers to is named from the root of `schema`.
    """
    return _found(_Measure(schema, counted=True), schema if part is None else part)


def cost_problem(schema: object) -> str | None:
    """The same for a schema made of several, each of which may have as much as `problem` allows: what all together cost."""
    return _found(_Measure(schema, counted=False), schema)


def _found(measure: _Measure, schema: object) -> str | None:
    try:
        measure.check(schema)
    except _TooMuch as error:
        return str(error)
    except RecursionError:
        return "has references that lead on too often"
    return None


class _Measure:
    """One look at a schema. Its counts are those of a caller's schema, its costs those of the whole grammar.

    Args:
        root: where references begin.
        counted: whether what is not a cost is limited too.
    """

    def __init__(self, root: object, *, counted: bool) -> None:
        self._root, self._counted = root, counted
        self._characters = self._properties = self._enum_values = 0
        self._repetitions = self._schemas = self._path_characters = 0
        #: How many alternatives what a reference names begins with, by itself or in an allOf; None while that is being found out.
        self._alternatives: dict[tuple[str, bool], int | None] = {}
        #: The same for each object that lies in another: those around it ask for it again, at each of a hundred levels.
        self._begun: dict[tuple[int, bool], int] = {}

    def check(self, schema: object) -> None:
        """Raise _TooMuch when there is too much of anything in `schema`."""
        _check_levels(schema)
        characters = _json_characters(schema)
        if self._counted and characters > MAX_JSON_CHARACTERS:
            raise _TooMuch(f"has {characters} characters, of at most {MAX_JSON_CHARACTERS}")
        self._visit(schema, 1, 0)

    def _visit(self, schema: object, times: int, path: int) -> None:
        """Count what is in a schema, which is looked at so many times, and whose rules' names are so long."""
        if isinstance(schema, list):
            for one in schema:
                self._visit(one, times, path)
        if not isinstance(schema, dict):
            return
        kinds = schema.get("type")
        self._count(schema, times, path)
        times *= len(kinds) if isinstance(kinds, list) else 1
        for key in _NAMED:
            named = schema.get(key)
            if isinstance(named, dict):
                for name, inner in named.items():
                    if len(name) > MAX_NAME_CHARACTERS:
                        raise _TooMuch(f"has a name of {len(name)} characters in '{key}', of at most {MAX_NAME_CHARACTERS}")
                    self._add_characters(len(name))
                    self._visit(inner, times, path + len(name))
        for key in (*_SEVERAL, *_ONE):
            self._visit(schema.get(key), times, path + len(key))
        if self._begins(schema) > MAX_ALTERNATIVES:
            raise _TooMuch(f"has a value with more than {MAX_ALTERNATIVES} alternatives for its beginning")

    def _count(self, schema: dict[str, Any], times: int, path: int) -> None:
        properties, values, reference = schema.get("properties"), schema.get("enum"), schema.get("$ref")
        self._schemas = _added(self._schemas, times, MAX_SCHEMAS, "schemas in it, counted for each type that those around them may have")
        self._path_characters = _added(self._path_characters, times * path, MAX_PATH_CHARACTERS, "characters in the paths to its schemas")
        self._add_characters(sum(_json_characters(schema[key]) for key in ("enum", "const", "pattern") if key in schema))
        if isinstance(values, list) and self._counted:
            self._enum_values = _added(self._enum_values, len(values), MAX_ENUM_VALUES, "enum values")
        if isinstance(properties, dict):
            if self._counted:
                self._properties = _added(self._properties, len(properties), MAX_PROPERTIES, "properties")
            required = schema.get("required")
            named = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
            _added(0, len(properties.keys() - named), MAX_OPTIONAL_PROPERTIES, "optional properties in one object")
        for key in _COUNTED:
            count = schema.get(key)
            if isinstance(count, int) and count > 0:
                self._repetitions = _added(
                    self._repetitions, times * min(count, _LONGEST_REPETITION), MAX_REPETITIONS, "characters and items in its bounds"
                )
        if isinstance(reference, str) and len(reference) > MAX_REFERENCE_CHARACTERS:
            raise _TooMuch(f"has a '$ref' of {len(reference)} characters, of at most {MAX_REFERENCE_CHARACTERS}")

    def _add_characters(self, count: int) -> None:
        if self._counted:
            self._characters = _added(self._characters, count, MAX_CHARACTERS, "characters in names and values")

    def _begins(self, schema: object, *, in_all: bool = False) -> int:
        """With how many alternatives a value begins. The properties in an allOf become optional ones of one object."""
        if not isinstance(schema, dict):
            return 1
        if isinstance(schema.get("$ref"), str):
            return self._begins_at(schema["$ref"], in_all)
        key = id(schema), in_all
        if key not in self._begun:
            self._begun[key] = self._begins_itself(schema, in_all)
        return self._begun[key]

    def _begins_itself(self, schema: dict[str, Any], in_all: bool) -> int:
        total = 0
        for key in ("anyOf", "oneOf", "allOf"):
            parts = schema.get(key)
            if isinstance(parts, list):
                total += sum(self._begins(part, in_all=in_all or key == "allOf") for part in parts)
        kinds, values, pattern = schema.get("type"), schema.get("enum"), schema.get("pattern")
        total += len(values) if isinstance(values, list) else 0 if total else 1
        if in_all and isinstance(schema.get("properties"), dict):
            total += len(schema["properties"])
        if isinstance(pattern, str):
            measured = pattern_cost.measure(pattern)
            if isinstance(measured, str):
                raise _TooMuch(f"has a 'pattern' that {measured}")
            total += measured
        return min(total, MAX_ALTERNATIVES + 1) * (len(kinds) if isinstance(kinds, list) else 1)

    def _begins_at(self, reference: str, in_all: bool) -> int:
        key = reference, in_all
        if key in self._alternatives:
            known = self._alternatives[key]
            if known is None:
                raise _TooMuch("has a '$ref' that leads to itself with nothing between")
            return known
        self._alternatives[key] = None
        found = self._begins(self._target(reference), in_all=in_all)
        self._alternatives[key] = found
        return found

    def _target(self, reference: str) -> object:
        """What a reference names; None for one that llama.cpp will refuse."""
        found = self._root
        for step in reference.split("/")[1:]:
            if isinstance(found, dict):
                found = found.get(step)
            elif isinstance(found, list) and step.isdecimal() and len(step) < 6 and int(step) < len(found):
                found = found[int(step)]
            else:
                return None
        return found


def _json_characters(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False))


def _added(total: int, more: int, most: int, what: str) -> int:
    if total + more > most:
        raise _TooMuch(f"has more than {most} {what}")
    return total + more


def _check_levels(value: object) -> None:
    layer = [value]
    for _ in range(MAX_LEVELS + 1):
        layer = [child for node in layer for child in _children(node)]
        if not layer:
            return
    raise _TooMuch(f"has more than {MAX_LEVELS} levels of objects and arrays")


def _children(node: object) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
