"""What a completion may ask of the embedded engine: known fields, in harmless amounts."""

from __future__ import annotations

from typing import Any

import pytest

from oxillama.errors import InvalidRequest
from oxillama.web import embedded_bodies

MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]


def function(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **function}}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "temperature": 0.5,
            "top_p": 1,
            "n": 2,
            "max_tokens": 5,
            "stop": ["a", "b"],
            "seed": -5,
            "logit_bias": {"5": -100},
            "stream": True,
        },
        {"tools": [function(parameters={"type": "object", "properties": {"a": {"type": "string"}}})], "tool_choice": "required"},
        {"tools": [function()], "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
        {"response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 5, "stop": "x"},
        {"prompt": list(range(4000)), "echo": True, "logprobs": 3, "suffix": "x", "top_k": 40, "repeat_last_n": 64, "n_predict": -1},
        {"grammar": None, "dry_multiplier": None, "user": "someone", "metadata": {}, "store": False},
    ],
    ids=str,
)
def test_what_programs_send_is_let_through(fields: dict[str, Any]):
    embedded_bodies.check({"model": "m", "messages": MESSAGES, **fields})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("grammar", "root ::= " + "(" * 200_000),
        ("json_schema", {"enum": list(range(20_000))}),
        ("dry_penalty_last_n", 2**31 - 1),
        ("samplers", ["dry"] * 1000),
        ("id_slot", 0),
        ("chat_template_kwargs", {}),
        ("lora", [{"id": 0, "scale": 9}]),
        ("\n", 1),
    ],
)
def test_what_is_not_known_is_refused_by_its_name(field: str, value: Any):
    with pytest.raises(InvalidRequest) as raised:
        embedded_bodies.check({"messages": MESSAGES, field: value})
    assert (raised.value.param, raised.value.code) == (field, "unsupported_parameter")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 9),
        ("n", True),
        ("n", 1.5),
        ("best_of", 100),
        ("max_tokens", 2**62),
        ("max_tokens", "5"),
        ("n_predict", -2),
        ("temperature", 1e300),
        ("top_p", -1),
        ("repeat_last_n", 2**31 - 1),
        ("top_k", 2**31),
        ("seed", 1e30),
        ("top_logprobs", 49_152),
        ("logprobs", 49_152),
        ("logit_bias", {str(token): 1 for token in range(1_001)}),
        ("logit_bias", [[token, 1] for token in range(1_001)]),
        ("stop", ["x"] * 17),
        ("stop", "x" * 1_001),
        ("stop", [["x"]]),
        ("prompt", ["x"] * 9),
        ("tools", [function()] * 129),
        ("tools", [5]),
        ("tools", {}),
        ("tools", [function(name="f" * 65)]),
        ("tools", [function(parameters={"properties": {"!" * 100_000: {"type": "string"}}})]),
        ("tools", [function(parameters={"type": "array", "items": {"type": "string", "maxLength": 2000}, "maxItems": 2000})] * 126),
        ("tool_choice", "x" * 65),
        ("tool_choice", {"type": "function", "function": {"name": "x" * 65}}),
        ("response_format", "json"),
        ("response_format", {"type": "json_object", "schema": {"enum": list(range(20_000))}}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/" + "a" * 150_000}}}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_too_much_is_refused_and_named(field: str, value: Any):
    with pytest.raises(InvalidRequest) as raised:
        embedded_bodies.check({"messages": MESSAGES, field: value})
    assert (raised.value.param, raised.value.code) == (field, "invalid_value")
    assert len(raised.value.message) < 300
