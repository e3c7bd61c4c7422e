"""What the query of a list asks for."""

import pytest

from oxillama.errors import InvalidRequest
from oxillama.objects.page import PageQuery
from oxillama.schemas.pages import message_query, page_query


@pytest.mark.parametrize(
    ("args", "query"),
    [
        ({}, PageQuery(limit=20, order="desc", after=None, before=None)),
        ({"limit": "1"}, PageQuery(limit=1)),
        ({"limit": "100", "order": "asc"}, PageQuery(limit=100, order="asc")),
        ({"after": "msg_1", "before": "msg_2"}, PageQuery(after="msg_1", before="msg_2")),
        ({"limit": "", "order": "", "after": "", "before": ""}, PageQuery()),
        ({"include[]": "step_details.tool_calls[*].file_search.results[*].content", "x": "y", "run_id": "run_1"}, PageQuery()),
    ],
)
def test_a_query_becomes_a_page_query(args, query):
    assert page_query(args) == query


def test_messages_may_be_those_of_one_run():
    assert message_query({"run_id": "run_1", "limit": "5"}) == (PageQuery(limit=5), "run_1")
    assert message_query({"run_id": ""}) == (PageQuery(), None)


NOT_A_NUMBER = "Invalid type for 'limit': expected an integer, but got a string instead."


@pytest.mark.parametrize("read", [page_query, message_query])
@pytest.mark.parametrize(
    ("args", "message", "param", "code"),
    [
        *[
            ({"limit": text}, NOT_A_NUMBER, "limit", "invalid_type")
            for text in ("x", "5.0", "1e1", "1_0", " 5", "\u0665", "true", "9" * 5000)
        ],
        (
            {"limit": "101"},
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
            "limit",
            "integer_above_max_value",
        ),
        (
            {"limit": "0"},
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "limit",
            "integer_below_min_value",
        ),
        (
            {"limit": "-5"},
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got -5 instead.",
            "limit",
            "integer_below_min_value",
        ),
        ({"order": "newest"}, "Invalid value: 'newest'. Supported values are: 'asc' and 'desc'.", "order", "invalid_value"),
    ],
)
def test_a_query_is_refused(read, args, message, param, code):
    with pytest.raises(InvalidRequest) as caught:
        read(args)
    assert (caught.value.message, caught.value.param, caught.value.code) == (message, param, code)
