"""What a completion that is passed on may ask of the embedded engine. llama.cpp takes every field at its word, and some of them kill it.

A list of what is known to be harmless, in harmless amounts: what is not on it is refused, by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oxillama import grammar_cost
from oxillama.errors import InvalidRequest
from oxillama.schemas import problems

_MAX_TOOLS = 128
_MAX_NAME_CHARACTERS = 64
#: One answer takes a slot each; several prompts are several answers.
_MAX_ANSWERS = 8
_MAX_STOPS, _MAX_STOP_CHARACTERS = 16, 1_000
_MAX_BIASES = 1_000

#: Says what is wrong with a value; None when nothing is.
_Check = Callable[[Any], str | None]


def check(values: dict[str, Any]) -> None:
    """Look at the body of a chat completion or a completion.

    Raises:
        InvalidRequest: a field that the embedded engine is not asked with, or too much in one that it is.
    """
    for name, value in values.items():
        if value is None:
            continue
        if name not in _FIELDS:
            problem = problems.not_here("The embedded engine is not asked with it.")
            raise InvalidRequest(problem.message(name), name, problem.code)
        wrong = _FIELDS[name](value)
        if wrong is not None:
            raise InvalidRequest(f"Invalid '{name}': {wrong}.", name, "invalid_value")


def _any(_value: Any) -> str | None:
    return None


def _number(least: float, most: float) -> _Check:
    def look(value: Any) -> str | None:
        fits = type(value) in (int, float) and least <= value <= most
        return None if fits else f"expected a number from {least} to {most} with the embedded engine"

    return look


def _whole(least: int, most: int) -> _Check:
    def look(value: Any) -> str | None:
        fits = type(value) is int and least <= value <= most
        return None if fits else f"expected an integer from {least} to {most} with the embedded engine"

    return look


def _probabilities(value: Any) -> str | None:
    return None if isinstance(value, bool) else _whole(0, 20)(value)


def _stop(value: Any) -> str | None:
    stops = value if isinstance(value, list) else [value]
    fit = len(stops) <= _MAX_STOPS and all(isinstance(stop, str) and len(stop) <= _MAX_STOP_CHARACTERS for stop in stops)
    return None if fit else f"expected at most {_MAX_STOPS} strings of at most {_MAX_STOP_CHARACTERS} characters with the embedded engine"


def _biases(value: Any) -> str | None:
    fits = isinstance(value, dict | list) and len(value) <= _MAX_BIASES
    return None if fits else f"expected at most {_MAX_BIASES} tokens with the embedded engine"


def _prompt(value: Any) -> str | None:
    # A list of integers is one prompt, in tokens.
    several = isinstance(value, list) and not all(type(one) is int for one in value)
    return f"expected at most {_MAX_ANSWERS} prompts with the embedded engine" if several and len(value) > _MAX_ANSWERS else None


def _tools(value: Any) -> str | None:
    if not isinstance(value, list) or len(value) > _MAX_TOOLS:
        return f"expected an array of at most {_MAX_TOOLS} tools"
    schemas = []
    for position, tool in enumerate(value):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict):
            return f"tool {position} is no function"
        name = function.get("name")
        if not isinstance(name, str) or len(name) > _MAX_NAME_CHARACTERS:
            return f"function {position} needs a name of at most {_MAX_NAME_CHARACTERS} characters"
        schemas.append(function.get("parameters"))
        wrong = grammar_cost.problem(schemas[-1])
        if wrong is not None:
            return f"the parameters of function {position} are not possible with the embedded engine: the schema {wrong}"
    wrong = grammar_cost.cost_problem({"anyOf": schemas})
    return None if wrong is None else f"the functions are too much for the embedded engine: together their schema {wrong}"


def _tool_choice(value: Any) -> str | None:
    function = value.get("function") if isinstance(value, dict) else None
    name = function.get("name", "") if isinstance(function, dict) else value
    fits = isinstance(name, dict) or (isinstance(name, str) and len(name) <= _MAX_NAME_CHARACTERS)
    return None if fits else "expected a string or the name of a function"


def _response_format(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "expected an object"
    named = value.get("json_schema")
    # llama.cpp looks for a schema in either place.
    for schema in (value.get("schema"), named.get("schema") if isinstance(named, dict) else named):
        wrong = grammar_cost.problem(schema)
        if wrong is not None:
            return f"it is not possible with the embedded engine: the schema {wrong}"
    return None


_TOKENS = _whole(-1, 1_000_000)
_FIELDS: dict[str, _Check] = {
    **dict.fromkeys(
        ("messages", "model", "stream", "stream_options", "user", "metadata", "store", "service_tier", "parallel_tool_calls", "suffix"),
        _any,
    ),
    **dict.fromkeys(("modalities", "reasoning_effort", "verbosity", "safety_identifier", "prompt_cache_key", "cache_prompt", "echo"), _any),
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "n_predict"), _TOKENS),
    **dict.fromkeys(("n", "best_of"), _whole(1, _MAX_ANSWERS)),
    **dict.fromkeys(("top_p", "min_p", "typical_p"), _number(0, 1)),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), _number(-2, 2)),
    "temperature": _number(0, 2),
    "repeat_penalty": _number(0, 2),
    "repeat_last_n": _whole(-1, 4096),
    "top_k": _whole(-1, 1_000_000),
    "seed": _whole(-(2**63), 2**63 - 1),
    "logprobs": _probabilities,
    "top_logprobs": _whole(0, 20),
    "logit_bias": _biases,
    "stop": _stop,
    "prompt": _prompt,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
}
