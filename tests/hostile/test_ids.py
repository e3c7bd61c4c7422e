"""Whatever stands where an id should: a refusal in the envelope, nothing read or written elsewhere, nothing quoted at length."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.contract.validation import check_error
from tests.web.test_refusals import ASSISTANTS, MESSAGES, OUTPUTS, RUN, RUNS, STEPS, THREADS, filled

NO_SUCH = "0" * 24
IDS = {
    "parent": "../{thread}",
    "encoded parent": "%2e%2e%2f{thread}",
    "encoded twice": "%252e%252e%252f{thread}",
    "absolute": "/etc/passwd",
    "backslash": "..\\..\\meta",
    "zero byte": "{thread}\0.json",
    "zero byte before": "\0{thread}",
    "new line": "{thread}\n",
    "carriage return": "{thread}\r\nX-Injected: 1",
    "full-width": "\uff54\uff48\uff52\uff45\uff41\uff44_" + NO_SUCH,
    "full-width digits": "thread_" + "\uff10" * 24,
    "combining": "thread_" + "0" * 23 + "0\u0301",
    "right to left": "thread_\u202e" + NO_SUCH,
    "a dotless i": "m\u0131g_" + NO_SUCH,
    "only a prefix": "thread_",
    "a prefix more": "thread_" + NO_SUCH + "0",
    "space": " {thread}",
    "long": "thread_" + "x" * 7000,
    "a JSON object": '{"$ne": null}',
    "template": "{{7*7}}",
    "shell": "$(id)",
}

PATHS = [THREADS + "/{}", ASSISTANTS + "/{}", MESSAGES + "/{}", RUNS + "/{}", STEPS + "/{}", THREADS + "/{}/messages", RUNS + "/{}/events"]
QUERIES = [
    MESSAGES + "?after={}",
    MESSAGES + "?before={}",
    MESSAGES + "?run_id={}",
    RUNS + "?after={}",
    STEPS + "?before={}",
    ASSISTANTS + "?after={}",
    RUN + "/events?after={}",
]


def refused(answer: Any) -> None:
    assert answer.status in (400, 404, 414), answer
    check_error(answer.json)
    assert len(answer.body) < 2000, "what was sent is quoted at length"
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize("value", IDS.values(), ids=IDS)
def test_in_paths_and_queries(bare, objects, unchanged, value):
    value = filled(value, objects)
    for place in PATHS:
        for method in ("GET", "DELETE"):
            answer = bare.request(method, filled(place, objects).replace("{}", quote(value, safe="")))
            assert answer.status == 405 or refused(answer) is None
    for place in QUERIES:
        refused(bare.get(filled(place, objects).replace("{}", quote(value, safe=""))))


@pytest.mark.parametrize("value", IDS.values(), ids=IDS)
def test_in_bodies_and_headers(bare, objects, unchanged, value):
    value = filled(value, objects)
    refused(bare.post(filled(RUNS, objects), {"assistant_id": value}))
    refused(bare.post(THREADS + "/runs", {"assistant_id": value, "stream": True}))
    refused(bare.post(filled(OUTPUTS, objects), {"tool_outputs": [{"tool_call_id": value, "output": "x"}]}))
    header = value.replace("\n", "").replace("\r", "").replace("\0", "").encode("utf-8").decode("latin-1")
    refused(bare.get(filled(RUN, objects) + "/events", {"Last-Event-ID": header}))


@pytest.mark.parametrize("sent", [b"\xff", b"%FF", b"%ED%A0%80", b"\xed\xa0\x80", b"%C0%AF", b"%00", b"%", b"%zz"])
@pytest.mark.parametrize("place", [*PATHS, *QUERIES, "/v1/nowhere?x={}", "/v1/models/{}", "/{}"])
def test_bytes_that_are_no_text(bare, objects, unchanged, engine, place, sent):
    """A query that is not UTF-8 used to be a 500."""
    target = filled(place, objects).encode().replace(b"{}", sent)
    answer = bare.exchange(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    refused(answer)
