"""Where an engine is, and what is sent to be let in."""

from __future__ import annotations

import pytest

from oxillama import settings
from oxillama.engine_endpoint import EngineEndpoint


@pytest.mark.parametrize(
    ("url", "key", "bare", "headers"),
    [
        ("http://127.0.0.1:1/v1", None, "http://127.0.0.1:1/v1", {}),
        ("https://api.example.com/v1", "k", "https://api.example.com/v1", {"Authorization": "Bearer k"}),
        ("http://me:p%40ss@[::1]:1/a/v1", "k", "http://[::1]:1/a/v1", {"Authorization": "Basic bWU6cEBzcw=="}),
        ("http://ü@gpu/v1/", None, "http://gpu/v1", {"Authorization": "Basic w7w6"}),
    ],
)
def test_credentials_are_headers_and_not_part_of_the_address(url: str, key: str | None, bare: str, headers: dict[str, str]) -> None:
    endpoint = EngineEndpoint.at(url, key)
    assert (endpoint.base_url, endpoint.headers) == (bare, headers)
    assert endpoint.root == bare.removesuffix("/v1")


def test_its_own_text_shows_no_secret() -> None:
    endpoint = EngineEndpoint.at("http://me:secret-1@gpu/v1", "secret-2")
    assert "secret" not in repr(endpoint)
    assert {"secret-1", "secret-2"} <= set(endpoint.secrets)


def test_a_proxy_is_for_what_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside.example.com")
    proxies = {
        url: EngineEndpoint.at(url).proxy
        for url in ("http://gpu/v1", "https://gpu/v1", "http://inside.example.com/v1", "http://localhost:1/v1", "http://[::1]:1/v1")
    }
    assert {url for url, proxy in proxies.items() if proxy} == {"http://gpu/v1"}
    monkeypatch.setenv("all_proxy", "http://other:3128")
    assert EngineEndpoint.at("https://gpu/v1").proxy == "http://other:3128"


def test_the_embedded_engine_is_on_loopback() -> None:
    chosen = settings.read({"OXILLAMA_EMBEDDED_PORT": "4711"})
    assert EngineEndpoint.of(chosen).base_url == "http://127.0.0.1:4711/v1"
