"""What a schema may have, and what it may cost. That the embedded engine survives the rest is in tests/engine/test_hostile_schemas.py."""

from __future__ import annotations

import time
from typing import Any

import pytest

from oxillama import grammar_cost, pattern_cost

TEXT: dict[str, Any] = {"type": "string"}


def an_object(names: list[str], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": dict.fromkeys(names, TEXT), **more}


def required(count: int) -> dict[str, Any]:
    names = [f"p{number}" for number in range(count)]
    return an_object(names, required=names)


def nested(levels: int, inner: Any = TEXT, **outer: Any) -> Any:
    for _ in range(levels):
        inner = {**outer, "items": inner}
    return inner


def one_of_one(levels: int, inner: Any) -> Any:
    for _ in range(levels):
        inner = {"anyOf": [inner]}
    return inner


def named(levels: int, inner: Any) -> Any:
    for _ in range(levels):
        inner = {"properties": {"x" * 250: inner}}
    return inner


def chain(length: int, width: int, key: str = "anyOf") -> dict[str, Any]:
    """Definitions, each of which is the next one, or the next one, and so on."""
    definitions = {f"d{number}": {key: [{"$ref": f"#/$defs/d{number + 1}"}] * width} for number in range(length)}
    return {key: [{"$ref": "#/$defs/d0"}], "$defs": {**definitions, f"d{length}": TEXT}}


TOO_MUCH = {
    "name": (an_object(["!" * 257]), "name of 257 characters"),
    "definition's name": ({"$defs": {"d" * 257: TEXT}}, "name of 257 characters"),
    "reference": ({"$ref": "#/" + "a" * 150_000}, "'$ref' of 150002 characters"),
    "characters": ({"const": "!" * 119_999}, "more than 120000 characters in names and values"),
    "characters of any kind": ({"description": "!" * 262_144}, "has 262163 characters"),
    "properties": ({"anyOf": [required(2_501), required(2_500)]}, "more than 5000 properties"),
    "optional properties": (an_object([f"p{number}" for number in range(501)]), "more than 500 optional properties"),
    "properties that become optional": (
        {"allOf": [{"anyOf": [an_object([f"{part}{number}" for number in range(400)]) for part in "abc"]}]},
        "more than 1000 alternatives",
    ),
    "enum values": ({"enum": list(range(1_001))}, "more than 1000 enum values"),
    "alternatives of alternatives": (chain(8, 6), "more than 1000 alternatives"),
    "all of all": (chain(12, 2, "allOf"), "more than 1000 alternatives"),
    "itself": ({"anyOf": [{"$ref": "#/$defs/a"}, TEXT], "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}, "leads to itself"),
    "a ring": ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "leads to itself"),
    "a long way": (chain(2_000, 1), "lead on too often"),
    "types of types": (nested(40, type=["array", "array"]), "more than 20000 schemas"),
    "levels": (nested(101, type="array"), "more than 100 levels"),
    "paths": (named(5, required(4_990)), "characters in the paths"),
    "bounded strings": (an_object([f"p{number}" for number in range(300)], additionalProperties={"maxLength": 2_000}), None),
    "many bounded strings": (
        {"properties": {f"p{n}": {"type": "string", "maxLength": 2_000} for n in range(251)}},
        "500000 characters and items",
    ),
    "pattern": ({"type": "string", "pattern": "^(a?){1999}$"}, "'pattern' that repeats what may be empty"),
    "patterns to choose from": (
        {"anyOf": [{"pattern": f"^({'|'.join('abcdefghijklmnopqrstuvwxyz')})$"}] * 50},
        "more than 1000 alternatives",
    ),
    "choices without an end at many levels": (one_of_one(48, {"anyOf": [{"enum": []} for _ in range(18_000)]}), None),
    "patterns at many levels": (one_of_one(48, {"anyOf": [{"pattern": f"^{'a' * 900}{number}$"} for number in range(110)]}), None),
}


@pytest.mark.parametrize("case", TOO_MUCH)
def test_what_is_too_much_is_named(case: str):
    schema, expected = TOO_MUCH[case]
    begun = time.monotonic()
    problem = grammar_cost.problem(schema)
    assert time.monotonic() - begun < 2
    if expected is None:
        assert problem is None
    else:
        assert expected in (problem or ""), problem


@pytest.mark.parametrize(
    "schema",
    [
        {},
        [],
        5,
        True,
        required(5_000),
        an_object(["x" * 256]),
        {"enum": list(range(1_000))},
        an_object([f"p{number}" for number in range(500)], additionalProperties=False),
        {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/a"}, TEXT]}}}}},
        {"type": "string", "maxLength": 10**30, "minLength": -5},
        {"type": "string", "pattern": r"^\+?[0-9]{1,3}[-. ]?\(?[0-9]{3}\)?[-. ]?[0-9]{3,4}$"},
        {"$ref": 5, "properties": [1], "anyOf": {"a": 1}, "enum": {"a": 1}, "required": "a", "pattern": 5, "type": 7},
        {"$ref": "#/$defs/none"},
        nested(90, type="array"),
    ],
    ids=lambda schema: str(schema)[:40],
)
def test_all_else_is_for_the_engine_to_judge(schema: Any):
    assert grammar_cost.problem(schema) is None


def test_parts_count_by_themselves_and_cost_together():
    part = {"type": "object", "properties": {"kind": {"enum": list(range(900))}}}
    schema = {"anyOf": [{"properties": {"arguments": {"$ref": f"#/$defs/{name}"}}} for name in "abc"], "$defs": dict.fromkeys("abc", part)}
    assert grammar_cost.problem(schema) == "has more than 1000 enum values"
    assert grammar_cost.problem(schema, part) is None
    assert grammar_cost.cost_problem(schema) is None
    assert grammar_cost.cost_problem({"anyOf": [{"$ref": "#/$defs/a"}] * 2, "$defs": {"a": {"enum": list(range(900))}}}) is not None


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^$", 1),
        ("^a*b+c?$", 4),
        (r"^\(\)[(|)*]{5}$", 1),
        ("^(a|b|c){2,3}$", 8),
        ("^(a(b|c)){2}$", 3),
        ("^a{2}{3}$", 1),
        ("^{a}$", 1),
        ("^(((((", 1),
        (")" * 900, 1),
        ("[" * 900, 1),
        ("\\", 1),
        ("^(a?){1999}$", "may be empty"),
        ("^(a*)*$", "may be empty"),
        ("^((a|b?)){2}$", "may be empty"),
        ("^((a{99}){99})$", "9803 places"),
        ("^a{999999999}$", "places"),
        ("^(a|aa){500}b$", "choices"),
        (".*" * 101, "101 choices"),
        ("a" * 1001, "1001 characters"),
    ],
)
def test_what_a_pattern_costs(pattern: str, expected: int | str):
    found = pattern_cost.measure(pattern)
    if isinstance(expected, int):
        assert found == expected
    else:
        assert expected in str(found)
