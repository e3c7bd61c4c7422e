"""What the engine is asked when nobody has said anything."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from oxillama.lifecycle import runs as lifecycle
from oxillama.objects.assistant import new_assistant
from oxillama.runner.prompt import Prompt
from oxillama.store import Store


class EngineThatNeverCounts:
    async def context_tokens(self, model: str) -> None:
        return None


@pytest.mark.parametrize(
    ("instructions", "content", "asked"),
    [
        (None, "", [{"role": "user", "content": ""}]),
        (None, [{"type": "text", "text": ""}], [{"role": "user", "content": ""}]),
        (None, "Hi", [{"role": "user", "content": "Hi"}]),
        ("Be brief.", "", [{"role": "system", "content": "Be brief."}]),
    ],
)
def test_there_is_always_a_message(tmp_path: Path, instructions: str | None, content: Any, asked: list[dict[str, Any]]) -> None:
    store = Store.open(tmp_path, durable=False)
    assistant = new_assistant({"model": "local", "instructions": instructions})
    values = {"thread": {"messages": [{"role": "user", "content": content}]}}
    run = lifecycle.create_thread_and_run(store, "default", assistant, values, 600)
    prompt = Prompt(EngineThatNeverCounts(), store.thread("default", run["thread_id"]), run)  # type: ignore[arg-type]
    assert asyncio.run(prompt.request()).messages == asked
