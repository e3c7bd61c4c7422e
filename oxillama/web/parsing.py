"""Request bodies and queries: bytes to checked values, or an InvalidRequest."""

from __future__ import annotations

from typing import Any

import orjson
from flask import request

from oxillama import ids
from oxillama.errors import InvalidRequest
from oxillama.objects.page import PageQuery
from oxillama.schemas.loading import RequestSchema, load
from oxillama.schemas.pages import message_query, page_query

_JSON = "application/json"


def body(schema: type[RequestSchema]) -> dict[str, Any]:
    """The checked values of the request's body. No body at all counts as an empty object (behaviour.md, section 1).

    Raises:
        InvalidRequest: it is not JSON, does not say that it is, or does not fit the schema.
    """
    content = request.get_data(cache=False)
    if not content:
        return load(schema, {})
    if request.mimetype != _JSON:
        message = (
            f"Unsupported content type: '{request.mimetype[:64]}'. This API method only accepts '{_JSON}' requests. "
            f"Please try again with the header 'Content-Type: {_JSON}'."
        )
        raise InvalidRequest(message, None, "unsupported_content_type")
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        # The position only: the parser's own text may quote the body.
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"We could not parse the JSON body of your request: it is not valid JSON at {place}.") from None
    return load(schema, parsed)


def list_query(noun: str) -> PageQuery:
    """What part of a list of `noun`s the request asks for.

    Raises:
        InvalidRequest: a limit, order or cursor that cannot be.
        NotFound: a cursor that was never the id of anything.
    """
    return _with_checked_cursors(page_query(request.args), noun)


def message_list_query() -> tuple[PageQuery, str | None]:
    """The same for a thread's messages, and the run whose messages alone are wanted."""
    query, run_id = message_query(request.args)
    if run_id is not None:
        ids.check("run", run_id, "run_id")
    return _with_checked_cursors(query, "message"), run_id


def _with_checked_cursors(query: PageQuery, noun: str) -> PageQuery:
    for param, cursor in (("after", query.after), ("before", query.before)):
        if cursor is not None:
            ids.check(noun, cursor, param)
    return query
