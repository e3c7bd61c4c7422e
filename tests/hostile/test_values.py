"""JSON at its worst. What test_refusals has is not repeated here."""

from __future__ import annotations

import pytest

from oxillama.web.value_limit import MAX_VALUES
from tests.contract.validation import check_error
from tests.web.test_refusals import ASSISTANTS, MESSAGES, OUTPUTS, RUNS, THREADS, filled

FULL = 8 * 1024 * 1024


def repeated(head: bytes, one: bytes, tail: bytes) -> bytes:
    """As many of these as a body may hold."""
    return head + b",".join([one] * ((FULL - len(head) - len(tail)) // (len(one) + 1))) + tail


BODIES = {
    "an endless integer": b'{"model": "m", "temperature": 1' + b"0" * 100_000 + b"}",
    "an endless integer for a limit": b'{"assistant_id": "{assistant}", "max_prompt_tokens": 1' + b"0" * 100_000 + b"}",
    "beyond every float": b'{"model": "m", "temperature": 1e400}',
    "below every float": b'{"model": "m", "temperature": -1e400}',
    "minus infinity": b'{"model": "m", "temperature": -Infinity}',
    "a lone surrogate in a key": b'{"metadata": {"\\ud800": "x"}}',
    "a lone surrogate in a value": b'{"metadata": {"x": "\\udfff"}}',
    "surrogates the wrong way round": b'{"metadata": {"x": "\\udc00\\ud800"}}',
    "a surrogate in bytes in a key": b'{"metadata": {"\xed\xa0\x80": "x"}}',
    "a lone surrogate in an id": b'{"assistant_id": "asst_\\ud800"}',
    "a zero byte behind": b'{"metadata": {}}\0',
    "UTF-32": '{"metadata": {}}'.encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf{}x",
    "half an escape": b'{"metadata": {"x": "\\u12"}}',
    "deep in an array": b'{"metadata": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "deep and not closed": b"[" * FULL,
    "gzip": b"\x1f\x8b\x08\x00" + b"\0" * 100,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", [ASSISTANTS, THREADS, MESSAGES, RUNS, OUTPUTS, THREADS + "/runs"])
def test_refused(bare, objects, unchanged, path, body):
    answer = bare.post(filled(path, objects), body.replace(b"{assistant}", objects.assistant.encode()))
    assert answer.status == 400
    check_error(answer.json)
    assert len(answer.body) < 1000


WRONG = {
    "numbers": (MESSAGES, b'{"role":"user","content":[', b"1", b"]}"),
    "objects": (MESSAGES, b'{"role":"user","content":[', b"{}", b"]}"),
    "arrays in arrays": (MESSAGES, b'{"role":"user","content":[', b"[" * 100 + b"]" * 100, b"]}"),
    "messages": (THREADS, b'{"messages":[', b"[]", b"]}"),
    "outputs": (OUTPUTS, b'{"tool_outputs":[', b"{}", b"]}"),
    "additional messages": (RUNS, b'{"assistant_id":"x","additional_messages":[', b"0", b"]}"),
}


@pytest.mark.parametrize(("path", "head", "one", "tail"), WRONG.values(), ids=WRONG)
def test_of_all_wrong_things_that_may_come_the_first_is_told(bare, objects, unchanged, path, head, one, tail):
    """With an error made for each it takes long, and much memory."""
    count = (MAX_VALUES - 10) // (one.count(b"[") + one.count(b"{") + 1)
    answer = bare.post(filled(path, objects), head + b",".join([one] * count) + tail)
    assert answer.status == 400 and "[0]" in answer.json["error"]["message"] + str(answer.json["error"]["param"])


@pytest.mark.parametrize(("path", "head", "one", "tail"), WRONG.values(), ids=WRONG)
def test_more_values_than_a_request_can_use_are_not_made(bare, objects, unchanged, path, head, one, tail):
    answer = bare.post(filled(path, objects), repeated(head, one, tail))
    assert answer.status == 400
    assert answer.json["error"]["message"] == "Your request holds too many JSON values: there may be 320,000 at the most."
    assert answer.json["error"]["code"] == "too_many_values"


@pytest.mark.parametrize("text", [b"[,{" * 1_000_000, b'\\",' * 1_000_000], ids=["brackets", "quotes"])
def test_what_a_text_holds_is_no_value(bare, text):
    answer = bare.post(THREADS, b'{"metadata":{"a":"' + text + b'"}}')
    assert answer.status == 400 and answer.json["error"]["code"] == "string_above_max_length"


def test_what_comes_behind_a_text_is_a_value(bare):
    answer = bare.post(THREADS, b'{"metadata":{"a":"\\\\","b":[' + b"1," * MAX_VALUES + b"1]}}")
    assert answer.status == 400 and answer.json["error"]["code"] == "too_many_values"


def test_minus_zero_and_the_smallest_numbers_are_numbers(bare):
    for text in (b"-0", b"-0.0", b"1e-400", b"0.00000000000000000000001"):
        answer = bare.post(ASSISTANTS, b'{"model": "m", "temperature": ' + text + b"}")
        assert answer.status == 200 and answer.json["temperature"] == pytest.approx(0)
        bare.delete(f"{ASSISTANTS}/{answer.json['id']}")
