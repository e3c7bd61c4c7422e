"""Whom the embedded engine's port answers: those who have its key. It is open to every user and every program of the machine."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from raw_engine import reserved

from oxillama import settings
from oxillama.web.engine_http import Exchange

KEY = "a-key-of-the-engine"
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}


def answer(port: int, method: str, path: str, body: object, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[settings.Settings]:
    with reserved() as probe:
        port = int(probe.getsockname()[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OXILLAMA_")}
    env = {**kept, "OXILLAMA_EMBEDDED_PORT": str(port), "OXILLAMA_CONTEXT_TOKENS": "512", "OXILLAMA_ENGINE_API_KEY": KEY}
    process = subprocess.Popen([sys.executable, "-m", "oxillama.engine.embedded"], env=env, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not is_up(port) and time.monotonic() < until:
            time.sleep(0.05)
        yield settings.read(env)
    finally:
        process.kill()
        process.wait()


def is_up(port: int) -> bool:
    try:
        return answer(port, "GET", "/health", None, {})[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer sk-of-a-caller"}, {"Authorization": KEY[:-1]}, {"Host": "evil.example.com"}, {"X-Api-Key": "x"}],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/props", None),
        ("GET", "/slots", None),
        ("POST", "/tokenize", {"content": "hello"}),
        ("POST", "/v1/chat/completions", CHAT),
        ("POST", "/v1/completions", {"prompt": "hello", "max_tokens": 1}),
        ("POST", "/apply-template", CHAT),
    ],
)
def test_nobody_without_the_key_is_answered(engine: settings.Settings, method: str, path: str, body: object, headers: dict[str, str]):
    status, said = answer(engine.embedded_port or 0, method, path, body, headers)
    assert status == 401
    assert b"Smol" not in said


def test_the_web_has_the_key(engine: settings.Settings):
    with Exchange(engine, "POST", "/chat/completions", json.dumps(CHAT).encode(), answer_seconds=60) as exchange:
        assert exchange.receive().status == 200
