"""Request bodies and queries: bytes to checked values, or an InvalidRequest."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge

from oxillama import ids
from oxillama.errors import InvalidRequest, LimitReached
from oxillama.objects.page import PageQuery, Sendable
from oxillama.schemas.loading import RequestSchema, load
from oxillama.schemas.pages import message_query, page_query
from oxillama.store.stored import FilePart
from oxillama.web.body_room import SMALL_BYTES
from oxillama.web.context import context
from oxillama.web.headers import WHEN_DONE
from oxillama.web.value_limit import check_values

_JSON = "application/json"
#: Where an ExitStack stands that holds the room for values of this request, and for how many bytes of JSON that is.
_VALUES = "oxillama.values"


def body(schema: type[RequestSchema]) -> dict[str, Any]:
    """The checked values of the request's body.

    Raises:
        InvalidRequest: it is not JSON, does not say that it is, or does not fit the schema.
    """
    return load(schema, json_body()[1])


def json_body() -> tuple[bytes, Any]:
    """The request's body, and the JSON in it.

    No body at all counts as an empty object (behaviour.md, section 1). So does an empty array, which PHP's clients send for no parameters.

    Raises:
        InvalidRequest: it is not JSON, does not say that it is, or holds too many values.
    """
    content = _content(to_be_parsed=True)
    if not content:
        return content, {}
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
    return (b"{}", {}) if parsed == [] else (content, parsed)


def form_body() -> bytes:
    """The request's body in several parts, as it came. It is not taken apart, so it needs no room for values.

    Raises:
        InvalidRequest: it cannot be read.
    """
    return _content(to_be_parsed=False)


def _content(*, to_be_parsed: bool) -> bytes:
    """The request's body, whole. Raises RequestEntityTooLarge, and InvalidRequest when it ends in the middle or cannot be read."""
    most = request.max_content_length or 0
    try:
        content = _read(to_be_parsed)
        if request.content_length is None and len(content) >= most:
            # werkzeug cuts a chunked body off at the limit without a word.
            raise RequestEntityTooLarge
        return content
    except (RequestEntityTooLarge, LimitReached):
        # A client that is still sending sees no answer but a reset connection, and tries again: take some more, and drop it.
        left = 4 * most if (request.content_length or 0) <= 4 * most else 0
        while left > 0 and (piece := request.environ["wsgi.input"].read(min(left, 65536))):
            left -= len(piece)
        raise
    except (OSError, ParseException):
        # Not the error's own text: it quotes what was sent.
        raise InvalidRequest("The body of your request could not be read.") from None


def _read(to_be_parsed: bool) -> bytes:
    """The body, as far as there is room for it. What it takes is given back when the request is done."""
    room, content = context().body_room, bytearray()
    length = float("inf") if request.content_length is None else request.content_length
    # No further than its end: werkzeug takes a body that is as large as allowed for one that is larger, once it is asked for more.
    while len(content) < length and (piece := request.stream.read(int(min(SMALL_BYTES, length - len(content))))):
        if content:
            room.arrive(len(piece))
            _when_done().callback(room.forget, len(piece))
        content += piece
    if request.content_length is not None and len(content) < length:
        raise OSError("the client went away")
    if to_be_parsed and len(content) > SMALL_BYTES:
        # First: what has too many has no need to wait for room.
        check_values(content)
        make_room(len(content))
    return bytes(content)


def make_room(count: int) -> None:
    """Hold room for the values of so many more bytes of JSON until the request is done, or `done_with_values`. Little needs none.

    Raises:
        LimitReached: others do not make room in time.
    """
    if count > SMALL_BYTES:
        values, held = request.environ.get(_VALUES) or (contextlib.ExitStack(), 0)
        # What is held already is given back first: nobody may wait for room that others hold who wait, too.
        values.close()
        values.enter_context(context().body_room.parsing(held + count))
        request.environ[_VALUES] = values, held + count
        _when_done().callback(values.close)


def make_room_for(stored: Sendable) -> None:
    """The same for what is going to be read of a stored object. Raises as `make_room` does."""
    if isinstance(stored, FilePart):
        make_room(stored.size())


def done_with_values() -> None:
    """Give the room for values back before the request is done: of its body, bytes are left."""
    if _VALUES in request.environ:
        request.environ.pop(_VALUES)[0].close()


def _when_done() -> contextlib.ExitStack:
    """What is to be given back when the view is done with the request."""
    stack: contextlib.ExitStack = request.environ.setdefault(WHEN_DONE, contextlib.ExitStack())
    return stack


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
