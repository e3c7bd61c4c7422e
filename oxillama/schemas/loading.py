"""Read a request by its schema, or say what is wrong with it first."""

from __future__ import annotations

from functools import cache
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, pre_load, validates_schema

from oxillama.errors import InvalidRequest
from oxillama.ids import shown
from oxillama.schemas import problems
from oxillama.schemas.fields import String
from oxillama.schemas.problems import Problem


class RequestSchema(Schema):
    """An object in a request. A null counts as not given; an unknown key is refused."""

    class Meta:
        """marshmallow's own check of unknown keys goes through a set, so which of two it names would be chance."""

        unknown = EXCLUDE

    @pre_load
    def drop_nulls(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out what is null: SDKs send them for every option that was left alone."""
        return {key: value for key, value in data.items() if value is not None}

    @validates_schema(pass_original=True)
    def refuse_unknown(self, _data: dict[str, Any], original: dict[str, Any], **_: Any) -> None:
        """Name the first unknown key, null or not."""
        for key in original:
            if key not in self.fields:
                raise ValidationError({key: problems.UNKNOWN.error().messages})


class TypedSchema(RequestSchema):
    """An object that Variants chose by its `type`."""

    type = String(required=True)


def load(schema: type[RequestSchema], body: Any) -> dict[str, Any]:
    """The values of a request, ready to be stored: checked, in the order of the wire, and only those that were given.

    Args:
        schema: what the request may say.
        body: the parsed JSON.

    Raises:
        InvalidRequest: for the first problem, in the order of the schema's fields; unknown keys come last.
    """
    values = object_of(body)
    try:
        return built(schema).load(values)
    except ValidationError as error:
        path, problem = _first(error.messages)
        raise InvalidRequest(problem.message(path), path, problem.code) from None


def object_of(body: Any) -> dict[str, Any]:
    """The body, which must be an object. Raises InvalidRequest when it is something else."""
    if not isinstance(body, dict):
        raise InvalidRequest(problems.wrong_type("an object", body).message("body"), None, "invalid_type")
    return body


@cache
def built(schema: type[RequestSchema]) -> RequestSchema:
    """The one instance of a schema: making one costs more than loading with it."""
    return schema()


def _first(messages: Any) -> tuple[str, Problem]:
    path = ""
    while isinstance(messages, dict):
        key, messages = next(iter(messages.items()))
        path += f"[{key}]" if isinstance(key, int) else f".{shown(key)}"
    return path.removeprefix("."), messages[0]
