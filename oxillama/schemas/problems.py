"""Problem: one thing wrong with one parameter, in the hosted API's words (behaviour.md, section 9).

Texts that behaviour.md does not have follow error bodies of other hosted endpoints: `empty_array`, `empty_string`,
`decimal_above_max_value`, `property_name_above_max_length`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from marshmallow import ValidationError

from oxillama.ids import shown

_WORDS: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    dict: "an object",
    list: "an array",
    NoneType: "null",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong, apart from where: a field does not know the path to itself.

    Attributes:
        code: the envelope's machine-readable code.
        template: the text, with `{path}` for the parameter and a name for each of `values`.
        values: what else the text shows.
    """

    code: str
    template: str
    values: dict[str, Any] = field(default_factory=dict)

    def message(self, path: str) -> str:
        """The text, once the path is known."""
        return self.template.format(path=path, **self.values)

    def error(self) -> ValidationError:
        """The form in which marshmallow carries it up through the schemas."""
        return ValidationError([self])


MISSING = Problem("missing_required_parameter", "Missing required parameter: '{path}'.")
UNKNOWN = Problem("unknown_parameter", "Unknown parameter: '{path}'.")


def wrong_type(expected: str, value: object) -> Problem:
    """A value of another JSON type than `expected`, which is in words, with an article."""
    text = "Invalid type for '{path}': expected {expected}, but got {got} instead."
    return Problem("invalid_type", text, {"expected": expected, "got": _WORDS[type(value)]})


def not_supported(value: str, supported: Sequence[str]) -> Problem:
    """A value that is not in its list."""
    text = "Invalid value: '{value}'. Supported values are: {supported}."
    return Problem("invalid_value", text, {"value": shown(value), "supported": _listed(supported)})


def no_match(pattern: str) -> Problem:
    """A string that does not match its pattern."""
    text = "Invalid '{path}': string does not match pattern. Expected a string that matches the pattern '{pattern}'."
    return Problem("invalid_value", text, {"pattern": pattern})


def too_long(noun: str, most: int, length: int) -> Problem:
    """A `string` or `array` above its length."""
    article = "an" if noun == "array" else "a"
    text = (
        "Invalid '{path}': {noun} too long. Expected {article} {noun} with maximum length {most}, "
        "but got {article} {noun} with length {length} instead."
    )
    values = {"noun": noun, "article": article, "most": most, "length": length}
    return Problem(f"{noun}_above_max_length", text, values)


def empty(noun: str) -> Problem:
    """A `string` or `array` without content where one is needed."""
    article = "an" if noun == "array" else "a"
    text = "Invalid '{path}': empty {noun}. Expected {article} {noun} with minimum length 1, but got an empty {noun} instead."
    return Problem(f"empty_{noun}", text, {"noun": noun, "article": article})


def too_many_properties(most: int, count: int) -> Problem:
    """An object with too many keys."""
    text = (
        "Invalid '{path}': too many properties. Expected an object with at most {most} properties, "
        "but got an object with {count} properties instead."
    )
    return Problem("object_above_max_properties", text, {"most": most, "count": count})


def property_name_too_long(name: str, most: int) -> Problem:
    """A key above its length. The path is that of the object which has it."""
    text = (
        "Invalid property name in '{path}': '{name}' is too long. Expected a string with maximum length {most}, "
        "but got a string with length {length} instead."
    )
    values = {"name": f"{name[:3]}...{name[-3:]}", "most": most, "length": len(name)}
    return Problem("property_name_above_max_length", text, values)


def too_deep(most: int) -> Problem:
    """Free JSON with too many objects and arrays inside each other."""
    return Problem("invalid_value", "Invalid '{path}': object too deep. Expected at most {most} levels of nesting.", {"most": most})


def too_large(most: int, length: int) -> Problem:
    """An object with more JSON in it than it may have."""
    text = "Invalid '{path}': object too large. Expected at most {most} bytes of JSON, but got {length} bytes instead."
    return Problem("object_above_max_size", text, {"most": most, "length": length})


def out_of_range(noun: str, value: float, *, least: float | None, most: float | None) -> Problem | None:
    """An `integer` or `decimal` below `least` or above `most`; None when it is neither."""
    if least is not None and value < least:
        side, sign, bound = "below minimum", ">=", least
        code = f"{noun}_below_min_value"
    elif most is not None and value > most:
        side, sign, bound = "above maximum", "<=", most
        code = f"{noun}_above_max_value"
    else:
        return None
    text = "Invalid '{path}': {noun} {side} value. Expected a value {sign} {bound}, but got {value} instead."
    return Problem(code, text, {"noun": noun, "side": side, "sign": sign, "bound": bound, "value": value})


def not_here(reason: str) -> Problem:
    """A parameter that the hosted API has and this server has not."""
    return Problem("unsupported_parameter", "Unsupported parameter: '{path}'. {reason}", {"reason": reason})


def _listed(values: Sequence[str]) -> str:
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return ", ".join(quoted[:-1]) + f", and {quoted[-1]}"
