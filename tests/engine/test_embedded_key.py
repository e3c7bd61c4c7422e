"""Whom the embedded engine's port answers: those who have its key. It is open to every user and every program of the machine."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from embedded_process import HELLO, KEY, EmbeddedEngine, embedded_engine

from oxillama.web.engine_http import Exchange


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    with embedded_engine(tmp_path_factory.mktemp("key")) as engine:
        yield engine


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
        ("GET", "/lora-adapters", None),
        ("POST", "/tokenize", {"content": "hello"}),
        ("POST", "/v1/chat/completions", HELLO),
        ("POST", "/v1/completions", {"prompt": "hello", "max_tokens": 1}),
        ("POST", "/apply-template", HELLO),
    ],
)
def test_nobody_without_the_key_is_answered(engine: EmbeddedEngine, method: str, path: str, body: object, headers: dict[str, str]):
    status, said = engine.answer(method, path, body, headers)
    assert status == 401
    assert b"Smol" not in said


def test_the_web_has_the_key(engine: EmbeddedEngine):
    with Exchange(engine.settings, "POST", "/chat/completions", json.dumps(HELLO).encode(), answer_seconds=60) as exchange:
        assert exchange.receive().status == 200
