"""Without keys, no page in the operator's browser may use the server: neither by DNS rebinding nor by requests to another site."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oxillama import settings
from oxillama.factory import create_app
from tests.process_control import Server
from tests.raw_http import Http

THREAD = "/v1/threads/{thread}"
KEY = "sk-0123456789"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:{port}",
        "localhost:{port}",
        "[::1]:{port}",
        "127.0.0.1",
        "LocalHost",
        "127.8.9.10:1",
        "[::1]",
        "localhost:",
        "[0:0::1]:80",
    ],
)
def test_names_of_this_machine_are_served(bare, objects, host):
    assert bare.get(f"/v1/threads/{objects.thread}", {"Host": host.format(port=bare.port)}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:{port}", "localhost.evil.example:{port}", "127.0.0.1.evil.example", "127.0.0.1@evil.example"),
        *("0.0.0.0:{port}", "192.168.1.5:{port}", "[fe80::1]:{port}", "[::ffff:10.0.0.1]", "2130706433", "evil.example:80:{port}"),
        *("localhost.:{port}", "[localhost]", "[::1", "::1", "", ":{port}", "localhost:{port}, evil.example", "evil.example/localhost"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", THREAD), ("POST", "/v1/threads"), ("DELETE", "/openai/threads/{thread}"), ("GET", "/x")]
)
def test_any_other_name_is_refused(bare, objects, unchanged, host, method, path):
    answer = bare.request(method, path.format(thread=objects.thread), headers={"Host": host.format(port=bare.port)})
    status, message, kind, param, code = answer.error
    # What is no host at all, gunicorn may refuse before us.
    assert status == 403 or (status == 400 and "cannot read" in message)
    if status == 403:
        assert (kind, param, code) == ("invalid_request_error", None, "host_not_allowed")
        assert "localhost" in message and "OXILLAMA_API_KEYS" in message, "it says what to do"


def test_a_long_name_is_not_repeated(bare, unchanged):
    assert len(bare.get("/v1/models", {"Host": "x" * 5000}).error[1]) < 400


@pytest.mark.parametrize(
    "marks",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1:{port}.evil.example"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:{port}"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", "/v1/threads"), ("POST", "/openai/threads"), ("GET", "/v1/assistants"), ("DELETE", THREAD)),
        *(("POST", THREAD + "/runs/{run}/cancel"), ("OPTIONS", "/v1/threads"), ("POST", "/v1/chat/completions")),
    ],
)
def test_requests_of_another_sites_page_are_refused(bare, objects, unchanged, marks, method, path):
    headers = {name: value.replace("{port}", str(bare.port)) for name, value in marks.items()}
    answer = bare.request(method, path.format(thread=objects.thread, run=objects.run), headers=headers)
    status, message, kind, param, code = answer.error
    assert (status, kind, param, code) == (403, "invalid_request_error", None, "origin_not_allowed")
    assert "OXILLAMA_API_KEYS" in message and "OXILLAMA_CORS_ORIGINS" in message
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("site", ["same-origin", "none", "same-site", None])
def test_a_page_that_came_by_the_same_name_is_served(bare, objects, site):
    headers = {"Origin": f"http://127.0.0.1:{bare.port}", **({"Sec-Fetch-Site": site} if site else {})}
    assert bare.get(f"/v1/threads/{objects.thread}", headers).status == 200


def test_health_may_be_asked_under_any_name(bare):
    """It tells nothing of anybody, and those who watch over servers have names of their own for them."""
    assert bare.get("/health", {"Host": "oxillama.internal"}).status == 200


def test_who_sends_no_name_is_no_browser(bare, objects):
    assert bare.exchange(f"GET /v1/threads/{objects.thread} HTTP/1.0\r\n\r\n".encode()).status == 200


@pytest.mark.parametrize("headers", [{}, {"Access-Control-Request-Method": "POST"}, {"Content-Type": "text/plain"}])
@pytest.mark.parametrize("path", ["/v1/threads", "/openai/assistants", "/health"])
def test_options_grants_nothing(bare, unchanged, path, headers):
    answer = bare.request("OPTIONS", path, headers=headers)
    assert answer.error[0] == 405 and answer.error[4] == "method_not_supported"
    assert "OPTIONS" not in answer.headers["allow"]
    assert answer.headers["content-type"] == "application/json"
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"])
def test_another_machine_is_refused_whatever_server_carries_the_application(tmp_path, address):
    client = create_app(settings.read({"OXILLAMA_DATA_DIR": str(tmp_path)})).test_client()
    refused = client.get("/v1/assistants", headers={"Host": "localhost"}, environ_base={"REMOTE_ADDR": address})
    assert (refused.status_code, refused.json["error"]["code"]) == (403, "address_not_allowed")
    for own in ("127.0.0.1", "::1", "127.1.2.3"):
        assert client.get("/v1/assistants", headers={"Host": "localhost"}, environ_base={"REMOTE_ADDR": own}).status_code == 200


@pytest.fixture(scope="module")
def keyed() -> Iterator[Http]:
    with Server(engine_url="http://127.0.0.1:1/v1", workers=1, environ={"OXILLAMA_API_KEYS": KEY}) as server:
        yield Http(server.wait_ready().port)


@pytest.mark.parametrize(
    "headers", [{"Host": "api.example.com"}, {"Origin": "http://app.example"}, {"Sec-Fetch-Site": "cross-site"}], ids=str
)
def test_a_key_is_enough_under_any_name_and_from_anywhere(keyed, headers):
    assert keyed.post("/v1/threads", {}, {**headers, "Authorization": f"Bearer {KEY}"}).status == 200
    assert keyed.post("/v1/threads", {}, headers).error[0] == 401
    assert keyed.request("OPTIONS", "/v1/threads", headers=headers).error[0] == 401
