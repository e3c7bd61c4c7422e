"""What cannot fit the embedded engine's window in any case is not given to it: it takes 70 bytes of memory to count a byte's tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest

from oxillama import prompt_bound
from oxillama.engine.affordable import AffordableForms
from oxillama.engine.interface import ChatRequest, Delta
from oxillama.errors import PromptTooLong
from tests.process_control import Server
from tests.raw_http import Http

WINDOW = 100


class Asked(Exception):
    """The engine was asked."""


class Inner:
    """An engine that is not to be asked."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        raise Asked
        yield

    async def count_tokens(self, text: str) -> int:
        raise Asked


@pytest.mark.parametrize("content", [str, lambda text: [{"type": "text", "text": text}]])
@pytest.mark.parametrize(("size", "outcome"), [(WINDOW * prompt_bound.MAX_BYTES_A_TOKEN, Asked), (WINDOW * 128 + 1, PromptTooLong)])
def test_a_run_is_told_without_the_engine(content, size: int, outcome: type[Exception]):
    async def ask() -> None:
        request = ChatRequest("m", [{"role": "user", "content": content("x" * size)}])
        async for _ in AffordableForms(Inner(), WINDOW).stream(request):  # type: ignore[arg-type]
            pass

    with pytest.raises(outcome):
        anyio.run(ask)


def test_what_cannot_fit_is_not_counted():
    engine = AffordableForms(Inner(), WINDOW)  # type: ignore[arg-type]
    assert anyio.run(engine.count_tokens, "x" * (WINDOW * 128 + 1)) > WINDOW
    with pytest.raises(Asked):
        anyio.run(engine.count_tokens, "x" * 128 * WINDOW)


def test_a_completion_that_is_passed_on_is_told_without_the_engine():
    with Server() as server:
        http = Http(server.wait_ready(60).port)
        answer = http.post("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "word " * 300_000}]})
        assert answer.error[0] == 400 and answer.error[4] == "context_length_exceeded"
