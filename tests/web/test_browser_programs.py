"""Programs in web pages: what a server with keys tells browsers of the origins that the operator names, and of all others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.process_control import Server
from tests.raw_http import Answer, Http
from tests.scripted_engine import Reply, ScriptedEngine, server_error

KEY = "sk-0123456789"
PAGE, APP, OTHER = "http://localhost:3000", "chrome-extension://abcdefgh", "http://localhost:3001"
BEARER = {"Authorization": f"Bearer {KEY}"}
CHAT: Any = {"model": "scripted-chat", "messages": [{"role": "user", "content": "Hi"}]}
QUESTION: Any = {"thread": {"messages": [{"role": "user", "content": "Hi"}]}}
#: What openai-node asks for from within a page.
OF_THE_SDK = "authorization,content-type,openai-beta,openai-organization,x-stainless-arch,x-stainless-lang,x-stainless-retry-count"


@pytest.fixture(scope="module")
def http(shared_engine: ScriptedEngine) -> Iterator[Http]:
    environ = {"OXILLAMA_API_KEYS": KEY, "OXILLAMA_CORS_ORIGINS": f"{PAGE}, {APP}", "OXILLAMA_MAX_BODY_BYTES": "2000"}
    with Server(engine_url=shared_engine.url, workers=1, environ=environ) as server:
        yield Http(server.wait_ready().port)


@pytest.fixture(scope="module")
def closed() -> Iterator[Http]:
    """A server with keys and without the setting."""
    with Server(engine_url="http://127.0.0.1:1/v1", workers=1, environ={"OXILLAMA_API_KEYS": KEY}) as server:
        yield Http(server.wait_ready().port)


def granted(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-") or name == "vary"}


def preflight(http: Http, origin: str, path: str = "/v1/threads", asked: str | None = OF_THE_SDK, method: str = "POST") -> Answer:
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    return http.request("OPTIONS", path, headers=headers | ({} if asked is None else {"Access-Control-Request-Headers": asked}))


@pytest.mark.parametrize("origin", [PAGE, APP])
@pytest.mark.parametrize("path", ["/v1/threads", "/openai/threads/runs", "/v1/chat/completions", "/v1/nothing", "/health"])
def test_a_preflight_needs_no_key(http: Http, origin: str, path: str):
    answer = preflight(http, origin, path)
    assert (answer.status, answer.body) == (204, b"")
    allowed = granted(answer)
    assert (allowed["access-control-allow-origin"], allowed["vary"]) == (origin, "Origin")
    assert {"GET", "POST", "DELETE"} <= set(allowed["access-control-allow-methods"].split(", "))
    assert allowed["access-control-allow-headers"].split(", ") == OF_THE_SDK.split(",")
    assert int(allowed["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in allowed


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("X-Stainless-Poll-Helper, Last-Event-ID", "x-stainless-poll-helper, last-event-id"),
        ("api-key,x-ms-useragent,user-agent", "api-key, x-ms-useragent, user-agent"),
        ("authorization,cookie,x-forwarded-for", "authorization"),
        ("cookie", None),
        ("x-stainless-\t;,openai-a b", None),
        (None, None),
        ("", None),
    ],
)
def test_headers_that_a_preflight_may_ask_for(http: Http, asked: str | None, allowed: str | None):
    answer = preflight(http, PAGE, asked=asked)
    assert (answer.status, granted(answer).get("access-control-allow-headers")) == (204, allowed)


def test_whatever_is_answered_to_a_page_it_may_read(http: Http, shared_engine: ScriptedEngine):
    shared_engine.start_over()
    page = {"Origin": PAGE}
    assistant = http.post("/v1/assistants", {"model": "scripted-chat"}, BEARER).json["id"]
    shared_engine.script(Reply(), server_error())
    answers = [
        (200, http.get("/v1/assistants", page | BEARER)),
        (200, http.get("/v1/models", page | BEARER)),
        (200, http.post("/v1/chat/completions", CHAT, page | BEARER)),
        (503, http.post("/v1/chat/completions", CHAT, page | BEARER)),
        (200, http.get("/health", page)),
        (400, http.post("/v1/threads", {"a": 1}, page | BEARER)),
        (401, http.post("/v1/threads", {}, page)),
        (401, http.post("/v1/threads", {}, page | {"Authorization": "Bearer wrong"})),
        (400, http.get("/v1/assistants", page | BEARER | {"OpenAI-Beta": "assistants=v1"})),
        (404, http.get(f"/v1/threads/{assistant.replace('asst', 'thread')}", page | BEARER)),
        (404, http.get("/v2/nothing", page | BEARER)),
        (405, http.request("PUT", "/v1/threads", headers=page | BEARER)),
        (413, http.post("/v1/threads", {"metadata": {"a": "x" * 2000}}, page | BEARER)),
    ]
    for status, answer in answers:
        assert answer.status == status, answer.body
        allowed = granted(answer)
        assert (allowed["access-control-allow-origin"], allowed["vary"]) == (PAGE, "Origin"), answer.body
        exposed = allowed["access-control-expose-headers"].split(", ")
        assert {"x-request-id", "retry-after", "retry-after-ms", "x-should-retry", "openai-poll-after-ms"} <= set(exposed)


@pytest.mark.parametrize("path", ["/v1/threads/runs", "/v1/chat/completions"])
def test_streams(http: Http, shared_engine: ScriptedEngine, path: str):
    shared_engine.start_over()
    assistant = http.post("/v1/assistants", {"model": "scripted-chat"}, BEARER).json["id"]
    body = CHAT if path.endswith("completions") else {**QUESTION, "assistant_id": assistant}
    with http.stream("POST", path, {**body, "stream": True}, {"Origin": PAGE} | BEARER) as stream:
        assert (stream.status, stream.headers["access-control-allow-origin"]) == (200, PAGE)
        assert stream.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("origin", [OTHER, "https://localhost:3000", "http://LOCALHOST:3000", "http://localhost:3000/", "null", "*", ""])
def test_other_origins_are_granted_nothing(http: Http, origin: str):
    """The exact origin, and none that resembles it."""
    answer = preflight(http, origin)
    assert (answer.error[0], granted(answer)) == (401, {"vary": "Origin"})
    answer = http.get("/v1/assistants", {"Origin": origin} | BEARER)
    assert (answer.status, granted(answer)) == (200, {"vary": "Origin"})


def test_options_without_a_question_is_no_preflight(http: Http):
    assert http.request("OPTIONS", "/v1/threads", headers={"Origin": PAGE}).error[0] == 401
    assert http.request("OPTIONS", "/v1/threads", headers={"Origin": PAGE} | BEARER).error[0] == 405


def test_without_the_setting_nobody_is_granted_anything(closed: Http):
    answer = preflight(closed, PAGE)
    assert (answer.error[0], granted(answer)) == (401, {})
    answer = closed.get("/v1/assistants", {"Origin": PAGE} | BEARER)
    assert (answer.status, granted(answer)) == (200, {})
