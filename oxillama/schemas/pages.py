"""Queries of lists. Parameters that we do not know are ignored, and so is `include[]`: there is nothing that it could add."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from oxillama.objects.page import PageQuery
from oxillama.schemas.fields import Choice, Integer, String
from oxillama.schemas.loading import RequestSchema, built, load

_INTEGER = re.compile(r"-?[0-9]{1,18}")


class _IntegerText(Integer):
    """An integer in a query, where everything is text."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        number = int(value) if _INTEGER.fullmatch(value) else value
        return super()._deserialize(number, attr, data, **kwargs)


class ListPage(RequestSchema):
    """The query of every list."""

    limit = _IntegerText(least=1, most=100)
    order = Choice("asc", "desc")
    after = String()
    before = String()


class ListMessages(ListPage):
    """The query of a thread's messages."""

    run_id = String()


def page_query(args: Mapping[str, str]) -> PageQuery:
    """What part of a list the query asks for.

    Args:
        args: the query's parameters; an empty one counts as not given.

    Raises:
        InvalidRequest: for the first problem.
    """
    return PageQuery(**_read(ListPage, args))


def message_query(args: Mapping[str, str]) -> tuple[PageQuery, str | None]:
    """What part of a thread's messages the query asks for, and the run whose messages it wants only."""
    values = _read(ListMessages, args)
    run_id = values.pop("run_id", None)
    return PageQuery(**values), run_id


def _read(schema: type[RequestSchema], args: Mapping[str, str]) -> dict[str, Any]:
    if not args:
        return {}
    given = {name: args[name] for name in built(schema).fields if args.get(name)}
    return load(schema, given)
