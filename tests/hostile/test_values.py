"""JSON at its worst. What test_refusals has is not repeated here."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (MESSAGES, repeated(b'{"role":"user","content":[', b"1", b"]}")),
        (MESSAGES, repeated(b'{"role":"user","content":[', b"{}", b"]}")),
        (MESSAGES, repeated(b'{"role":"user","content":[', b"[" * 100 + b"]" * 100, b"]}")),
        (THREADS, repeated(b'{"messages":[', b"[]", b"]}")),
        (OUTPUTS, repeated(b'{"tool_outputs":[', b"{}", b"]}")),
        (RUNS, repeated(b'{"assistant_id":"x","additional_messages":[', b"0", b"]}")),
    ],
    ids=["numbers", "objects", "arrays in arrays", "messages", "outputs", "additional messages"],
)
def test_of_a_million_wrong_things_the_first_is_told(bare, objects, unchanged, path, body):
    """With an error made for each it takes a minute, which the time limit of tests does not give, and gigabytes."""
    answer = bare.post(filled(path, objects), body)
    assert answer.status == 400 and "[0]" in answer.json["error"]["message"] + str(answer.json["error"]["param"])


def test_minus_zero_and_the_smallest_numbers_are_numbers(bare):
    for text in (b"-0", b"-0.0", b"1e-400", b"0.00000000000000000000001"):
        answer = bare.post(ASSISTANTS, b'{"model": "m", "temperature": ' + text + b"}")
        assert answer.status == 200 and answer.json["temperature"] == pytest.approx(0)
        bare.delete(f"{ASSISTANTS}/{answer.json['id']}")
