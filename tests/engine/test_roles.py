"""Messages for engines that are strict about roles."""

from __future__ import annotations

import pytest

from oxillama.engine import roles

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def result(text, call_id="call_1"):
    return {"role": "tool", "tool_call_id": call_id, "content": text}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([user("a")], [user("a")]),
        ([user("a"), user("b")], [user("a\n\nb")]),
        ([user("a"), user("b"), user("c")], [user("a\n\nb\n\nc")]),
        ([system("s"), user("a"), assistant("b"), user("c")], [system("s"), user("a"), assistant("b"), user("c")]),
        ([assistant("hi"), user("a")], [roles.OPENING, assistant("hi"), user("a")]),
        ([user("a"), assistant("b")], [user("a"), assistant("b"), roles.CLOSING]),
        ([system("s")], [system("s"), roles.CLOSING]),
        ([user(""), user("a")], [user("a")]),
        ([user("a"), {"role": "user", "content": [IMAGE]}], [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]),
        (
            [user("a"), assistant("b"), assistant(None, tool_calls=[CALL]), result("12:00")],
            [user("a"), assistant("b", tool_calls=[CALL]), result("12:00")],
        ),
        (
            [user("a"), assistant(None, tool_calls=[CALL, CALL]), result("1"), result("2")],
            [user("a"), assistant(None, tool_calls=[CALL, CALL]), result("1"), result("2")],
        ),
        (
            [user("a"), assistant(None, tool_calls=[CALL]), result("1"), user("b"), user("c")],
            [user("a"), assistant(None, tool_calls=[CALL]), result("1"), roles.HEARD, user("b\n\nc")],
        ),
    ],
)
def test_in_turns(messages, expected):
    before = [dict(message) for message in messages]
    assert roles.in_turns(messages) == expected
    assert messages == before


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([system("s"), user("a")], [user("s\n\na")]),
        ([user("a")], [user("a")]),
        ([system("s")], [user("s")]),
        ([system("s"), assistant("hi"), user("a")], [assistant("hi"), user("s\n\na")]),
        ([system("s"), assistant("hi")], [user("s"), assistant("hi")]),
        ([system("s"), user("a"), system("t"), user("b")], [user("s\n\nt\n\na"), user("b")]),
        (
            [system("s"), {"role": "user", "content": [IMAGE]}],
            [{"role": "user", "content": [{"type": "text", "text": "s"}, IMAGE]}],
        ),
    ],
)
def test_without_system(messages, expected):
    assert roles.without_system(messages) == expected


def test_one_system_message_that_comes_first():
    assert roles.with_one_system([system("s"), user("a"), system("t")]) == [system("s\n\nt"), user("a")]
    assert roles.with_one_system([user("a")]) == [user("a")]


def test_text_beside_calls():
    assert roles.with_text_for_calls([user("a"), assistant(None, tool_calls=[CALL])]) == [user("a"), assistant("", tool_calls=[CALL])]
