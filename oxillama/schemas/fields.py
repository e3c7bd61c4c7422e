"""Fields that take one JSON type each and convert nothing: marshmallow's own would read "5" as 5 and true as 1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from marshmallow import Schema, ValidationError, fields, missing

from oxillama.schemas import problems

#: Far more than any JSON schema needs, and less than the 254 levels that orjson can write.
_DEEPEST = 100
#: Of a function, a format, or other JSON of the caller's own: it goes into every prompt. 128 tools may so have more than a body.
MAX_SCHEMA_BYTES = 256 * 1024

METADATA_PAIRS, METADATA_KEY, METADATA_VALUE = 16, 64, 512


class Checked(fields.Field[Any]):
    """A field of one JSON type, named in errors by `noun`. Subclasses put their limits into `check`."""

    noun: str
    accepts: tuple[type, ...]

    @property
    def expected(self) -> str:
        """The type in words, with an article."""
        return f"{'an' if self.noun[0] in 'aio' else 'a'} {self.noun}"

    def make_error(self, key: str, **kwargs: Any) -> ValidationError:
        """marshmallow asks for an error: a required value is missing, or an element of an array is null."""
        problem = problems.MISSING if key == "required" else problems.wrong_type(self.expected, None)
        return problem.error()

    def check(self, value: Any) -> None:
        """Raise the Problem of a value that has the right type."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        # isinstance would let a boolean pass for an integer.
        if type(value) not in self.accepts:
            raise problems.wrong_type(self.expected, value).error()
        self.check(value)
        return super()._deserialize(value, attr, data, **kwargs)


class String(Checked):
    """A string.

    Args:
        max_length: in characters.
        allow_empty: whether the empty string is one.
        pattern: what the whole string must match.
    """

    noun, accepts = "string", (str,)

    def __init__(self, *, max_length: int | None = None, allow_empty: bool = True, pattern: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_length, self.allow_empty, self.pattern = max_length, allow_empty, pattern

    def check(self, value: str) -> None:
        """Empty, too long, or of the wrong form."""
        if not value and not self.allow_empty:
            raise problems.empty(self.noun).error()
        if self.max_length is not None and len(value) > self.max_length:
            raise problems.too_long(self.noun, self.max_length, len(value)).error()
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise problems.no_match(self.pattern).error()


class Identifier(String):
    """The name of a function, or the id of something that was uploaded."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=64, allow_empty=False, pattern="^[a-zA-Z0-9_-]+$", **kwargs)


class Choice(String):
    """One of a few strings."""

    def __init__(self, *choices: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choices = choices

    def check(self, value: str) -> None:
        """Not in the list."""
        if value not in self.choices:
            raise problems.not_supported(value, self.choices).error()


class Boolean(Checked):
    """True or false."""

    noun, accepts = "boolean", (bool,)


class Integer(Checked):
    """A whole number, written as one: 20.0 is a decimal."""

    noun = "integer"
    accepts: tuple[type, ...] = (int,)
    bounded = "integer"

    def __init__(self, *, least: int | None = None, most: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.least, self.most = least, most

    def check(self, value: float) -> None:
        """Too low or too high."""
        problem = problems.out_of_range(self.bounded, value, least=self.least, most=self.most)
        if problem is not None:
            raise problem.error()


class Decimal(Integer):
    """A number; comes out as a float, as on the wire."""

    noun, accepts = "decimal", (int, float)
    bounded = "decimal"

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> float:
        return float(super()._deserialize(value, attr, data, **kwargs))


class FreeJson(Checked):
    """An object that is the caller's own, such as a JSON schema: kept as it is, nulls too."""

    noun, accepts = "object", (dict,)

    def check(self, value: dict[str, Any]) -> None:
        """Deeper than it can be written again, or too large."""
        layer: list[Any] = [value]
        for _ in range(_DEEPEST):
            layer = [child for node in layer for child in _children(node)]
            if not layer:
                return _check_size(value, MAX_SCHEMA_BYTES)
        raise problems.too_deep(_DEEPEST).error()


class Metadata(Checked):
    """The caller's notes on an object: a few short strings by name."""

    noun, accepts = "metadata object", (dict,)

    _value = String(max_length=METADATA_VALUE)

    def check(self, value: dict[str, Any]) -> None:
        """Too many pairs, a key too long, or a value that is no short string."""
        if len(value) > METADATA_PAIRS:
            raise problems.too_many_properties(METADATA_PAIRS, len(value)).error()
        for key in value:
            if len(key) > METADATA_KEY:
                raise problems.property_name_too_long(key, METADATA_KEY).error()
        for key, text in value.items():
            check_under(key, self._value, text)


class Object(Checked):
    """An object with a schema of its own.

    Args:
        schema: the schema.
        filled: make the object, with its schema's defaults, when it is not given.
        max_bytes: of its JSON.
    """

    noun, accepts = "object", (dict,)

    def __init__(self, schema: type[Schema], *, filled: bool = False, max_bytes: int | None = None, **kwargs: Any) -> None:
        self._schema, self._max_bytes = schema(), max_bytes
        if filled:
            kwargs["load_default"] = lambda: self._schema.load({})
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> dict[str, Any]:
        loaded: dict[str, Any] = self._schema.load(super()._deserialize(value, attr, data, **kwargs))
        if self._max_bytes is not None:
            _check_size(loaded, self._max_bytes)
        return loaded


class Variants(Checked):
    """An object whose `type` says which schema it has. A null member that only another type has counts as not given."""

    noun, accepts = "object", (dict,)

    def __init__(self, schemas: Mapping[str, type[Schema]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._schemas = {name: schema() for name, schema in schemas.items()}
        self._type = Choice(*schemas, required=True)
        # Typed clients have one class for all types, and write the members of the others as null.
        self._members = {member for schema in self._schemas.values() for member in schema.fields}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> dict[str, Any]:
        checked: dict[str, Any] = super()._deserialize(value, attr, data, **kwargs)
        name = checked.get("type")
        check_under("type", self._type, missing if name is None else name)
        given = {member: one for member, one in checked.items() if not (one is None and member in self._members)}
        return self._schemas[str(name)].load(given)


class Array(Checked):
    """A list of things of one kind. The first that is wrong ends it: marshmallow's own would make an error for each of a million."""

    accepts = (list,)

    def __init__(self, inner: Checked, *, max_length: int | None = None, allow_empty: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.noun = f"array of {inner.noun}s"
        self._inner, self.max_length, self.allow_empty = inner, max_length, allow_empty

    def check(self, value: list[Any]) -> None:
        """Empty or too long."""
        if not value and not self.allow_empty:
            raise problems.empty("array").error()
        if self.max_length is not None and len(value) > self.max_length:
            raise problems.too_long("array", self.max_length, len(value)).error()

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        checked = []
        for position, one in enumerate(super()._deserialize(value, attr, data, **kwargs)):
            try:
                checked.append(self._inner.deserialize(one))
            except ValidationError as error:
                raise ValidationError({position: error.messages}) from None
        return checked


class StringOr(Checked):
    """A string in short, or something of another type in full."""

    def __init__(self, short: String, full: Checked, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.noun = f"string or {full.noun}"
        self.accepts = (*short.accepts, *full.accepts)
        self._short, self._full = short, full

    @property
    def expected(self) -> str:
        """Both types in words."""
        return f"one of {super().expected}"

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        checked = super()._deserialize(value, attr, data, **kwargs)
        chosen = self._short if isinstance(checked, str) else self._full
        return chosen.deserialize(checked)


class NotHere(fields.Field[Any]):
    """A parameter that the hosted API has and this server has not: refused, since dropping it would hide that."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self._reason = reason

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        raise problems.not_here(self._reason).error()


def check_under(key: str, field: Checked, value: Any) -> None:
    """Check one member of an object that has no schema, so that a Problem gets the member's path."""
    try:
        field.deserialize(value)
    except ValidationError as error:
        raise ValidationError({key: error.messages}) from None


def _check_size(value: dict[str, Any], most: int) -> None:
    length = len(orjson.dumps(value))
    if length > most:
        raise problems.too_large(most, length).error()


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
