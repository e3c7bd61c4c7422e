"""How many tokens of an answer the engine is asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from oxillama.lifecycle import runs as lifecycle
from oxillama.objects.assistant import new_assistant
from oxillama.runner.prompt import Prompt
from oxillama.store import Store


class Engine:
    """Says how large its context is, and counts a token a word."""

    def __init__(self, window: int | None) -> None:
        self._window = window

    async def context_tokens(self, model: str) -> int | None:
        return self._window

    async def count_tokens(self, text: str) -> int:
        return len(text.split())


@pytest.mark.parametrize(
    ("window", "limit", "words", "asked"),
    [
        (None, 20_000, 10, 20_000),
        (100_000, 20_000, 10, 20_000),
        (8192, None, 10, None),
        (8192, 20_000, 7000, 8192 - 7000 - 8),
        # The estimate leaves less than an answer wants, so that the engine is asked for a figure.
        (8192, 20_000, 6000, 8192 - 6000 - 8),
        (8192, 500, 6000, 500),
        # The newest message goes to the engine in any case, and some room for an answer is asked for.
        (4096, 20_000, 4090, 1024),
    ],
)
def test_an_answer_is_asked_for_no_longer_than_the_window_leaves(
    tmp_path: Path, window: int | None, limit: int | None, words: int, asked: int | None
) -> None:
    store = Store.open(tmp_path, durable=False)
    assistant = new_assistant({"model": "local"})
    values = {"thread": {"messages": [{"role": "user", "content": "word " * words}]}}
    if limit is not None:
        values["max_completion_tokens"] = limit  # type: ignore[assignment]
    run = lifecycle.create_thread_and_run(store, "default", assistant, values, 600)
    prompt = Prompt(Engine(window), store.thread("default", run["thread_id"]), run)  # type: ignore[arg-type]
    assert asyncio.run(prompt.request()).max_tokens == asked
