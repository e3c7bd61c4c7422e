"""Hypothesis strategies that make requests from schemas: fitting ones, and fitting ones with something spoilt.

Whether a spoilt request is still a good one is not known here; `request_rules` says so afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.contract.request_rules import DEEPEST, LONGEST_TEXT, MOST_TOOLS, Schema

#: What stands in a generated request for something that exists only on the server, by the name of the property.
Placeholders = dict[str, SearchStrategy[Any]]

_URLS = ["https://example.com/a.png", "http://[::1]/", "data:image/png;base64,iVBORw0KGgo=", "ftp://example.com/a", "a b", "https://\n"]
_WORDS = ["get_weather", "file-1", "a", "Z" * 64, "a\n", "", "ü", "a b"]
_TEXTS = st.text(max_size=12) | st.sampled_from(["Hi", "", "\x00", "{x} %s", "\u2028", "\U0001f600", "data: x\n\nevent: done"])

#: Values of every kind, most of them at the edge of something.
_ANYTHING = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        50,
        51,
        255,
        256,
        300.0,
        0.5,
        2,
        2.1,
        -0.0,
        1e308,
        2**63,
        2**64,
        "",
        "auto",
        "x",
        [],
        {},
        [None],
        {"type": "text"},
    ]
)
_LENGTHS = st.sampled_from([1, 20, 21, 64, 65, 128, 129, 256, 257, 512, 513, LONGEST_TEXT, LONGEST_TEXT + 1])
_COUNTS = st.sampled_from([1, 2, 16, 17, 20, 21, MOST_TOOLS, MOST_TOOLS + 1])

#: Objects too deep to be shown in a failing example, under the names that stand for them.
NESTED = {f"an object of {levels} levels": levels for levels in (2, DEEPEST, DEEPEST + 1, 300)}

#: Bytes that are no JSON, or none that a server should take.
BROKEN_JSON = [
    b"{",
    b"[1,]",
    b"\xff\xfe",
    b"null",
    b'"x"',
    b"NaN",
    b'{"metadata": {"a": "\\ud800"}}',
    b'{"temperature": NaN}',
    b"{}{}",
    b'{"a":' * 5000,
]


def bodies(fitting: Schema, official: Schema, placeholders: Placeholders) -> SearchStrategy[Any]:
    """Bodies by either schema; half of them spoilt in one place or two."""
    return _perhaps_spoilt(_values(fitting, placeholders) | _values(fitting, placeholders) | _values(official, placeholders))


def queries(official: Schema, placeholders: Placeholders) -> SearchStrategy[dict[str, Any]]:
    """Queries of a list; values that are no strings are still to be written as such."""
    known = {name: placeholders[name] if name in placeholders else _values(schema, {}) for name, schema in official["properties"].items()}
    if "limit" in known:
        known["limit"] = st.sampled_from([1, 2, 20, 100, 0, 101, -5, 10**30, "", "x", "1.0", " 5", "٣"])
    if "order" in known:
        known["order"] = st.sampled_from(["asc", "desc", "", "newest"])
    return st.fixed_dictionaries({}, optional={**known, "unknown": st.just("x")})


def _values(schema: Schema, placeholders: Placeholders) -> SearchStrategy[Any]:
    """Values that fit a schema, by the keywords that the contract uses; strings with a form of their own do not always."""
    for several in ("anyOf", "oneOf"):
        if several in schema:
            rest = {key: value for key, value in schema.items() if key != several}
            return st.one_of([_values({**rest, **one}, placeholders) for one in schema[several]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type", "object")
    if isinstance(kinds, list):
        return st.one_of([_values({**schema, "type": kind}, placeholders) for kind in kinds])
    make: dict[str, Callable[[], SearchStrategy[Any]]] = {
        "null": st.none,
        "boolean": st.booleans,
        "integer": lambda: st.integers(schema.get("minimum", 0), schema.get("maximum", 1000)),
        "number": lambda: st.floats(schema.get("minimum"), schema.get("maximum")) | st.integers(schema["minimum"], schema["maximum"]),
        "string": lambda: _strings(schema),
        "array": lambda: st.lists(
            _values(schema["items"], placeholders), min_size=schema.get("minItems", 0), max_size=min(schema.get("maxItems", 3), 3)
        ),
        "object": lambda: _objects(schema, placeholders),
    }
    return make[kinds]()


def _strings(schema: Schema) -> SearchStrategy[str]:
    if schema.get("format") == "uri":
        return st.sampled_from(_URLS[:3]) | st.sampled_from(_URLS)
    if "pattern" in schema:
        return st.sampled_from(_WORDS[:4])
    return _TEXTS | st.sampled_from(_WORDS) if schema.get("minLength", 0) == 0 else _TEXTS.filter(bool)


def _objects(schema: Schema, placeholders: Placeholders) -> SearchStrategy[Any]:
    properties = schema.get("properties")
    if properties is None:
        # Metadata, or a JSON schema of the caller's.
        values = _TEXTS if schema.get("additionalProperties", {}) not in (True, {}) else _free_json()
        return st.dictionaries(_TEXTS, values, max_size=3)
    fields = {name: placeholders[name] if name in placeholders else _values(one, placeholders) for name, one in properties.items()}
    required = schema.get("required", [])
    return st.fixed_dictionaries(
        {name: fields[name] for name in required}, optional={name: one for name, one in fields.items() if name not in required}
    )


def _free_json() -> SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXTS, inner, max_size=2), max_leaves=4)


@st.composite
def _perhaps_spoilt(draw: DrawFn, whole: SearchStrategy[Any]) -> Any:
    body = draw(whole)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        body = _spoilt(draw, body)
    return body


def _spoilt(draw: DrawFn, body: Any) -> Any:
    """The body with one thing changed at any depth."""
    spoilt = {"body": copy.deepcopy(body)}
    parent, key = draw(st.sampled_from(list(_places(spoilt))))
    value = parent[key]
    ways: list[Callable[[], Any]] = [lambda: draw(_ANYTHING), lambda: draw(_ANYTHING), lambda: draw(st.sampled_from(list(NESTED)))]
    if isinstance(value, str):
        ways += [lambda: "é" * draw(_LENGTHS), lambda: value + "\n", lambda: value.upper()]
    if isinstance(value, int | float) and not isinstance(value, bool):
        ways += [lambda: -value, lambda: value + 1000, lambda: str(value), lambda: float(value)]
    if isinstance(value, list):
        ways += [lambda: (value or [draw(_ANYTHING)]) * draw(_COUNTS)]
    if isinstance(value, dict):
        ways += [
            lambda: {**value, "surplus": draw(_ANYTHING)},
            lambda: {**value, **{f"key {number}": "x" for number in range(draw(_COUNTS))}},
            lambda: {**value, "k" * draw(_LENGTHS.filter(lambda length: length < 1000)): "x"},
            lambda: {name: one for name, one in value.items() if name != draw(st.sampled_from([*value, None]))},
        ]
    parent[key] = draw(st.sampled_from(ways))()
    return spoilt["body"]


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in a JSON value, as what holds it and under which key."""
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []:
        yield node, key
        yield from _places(value)


def nested(levels: int) -> Any:
    """An object with so many levels of objects in it, itself counted."""
    value: Any = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value
