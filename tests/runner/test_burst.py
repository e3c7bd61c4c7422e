"""Text that comes faster than it can be written is written together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from oxillama.engine.interface import ChatRequest, Delta, Finished, TextDelta, TokenUsage
from oxillama.errors import ClaimLost
from oxillama.runner.turn import Turn
from tests.builders import a_run, a_thread, claimed, events, open_store

WORDS = ["Lisbon ", "is ", "a ", "city."]


class Talkative:
    """An engine whose words come all at once, and then, after `meanwhile`, its end."""

    def __init__(self, meanwhile=lambda: None) -> None:
        self._meanwhile = meanwhile

    async def context_tokens(self, model: str) -> None:
        return None

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        for word in WORDS:
            yield TextDelta(word)
        self._meanwhile()
        await asyncio.sleep(0)
        yield Finished("stop", TokenUsage(1, 4))


@pytest.fixture
def folder(tmp_path: Path):
    store = open_store(tmp_path)
    return store, a_thread(store, "Where?")


def test_words_that_came_together_are_one_write_and_an_event_each(folder, monkeypatch):
    store, thread = folder
    claim, written, write = claimed(store, a_run(store, thread)), [], os.write
    monkeypatch.setattr(os, "write", lambda fd, content: written.append(bytes(content)) or write(fd, content))
    asyncio.run(Turn(claim, Talkative()).run())  # type: ignore[arg-type]
    assert [content.count(b"event: thread.message.delta") for content in written if b"thread.message.delta" in content] == [len(WORDS)]
    deltas = [value["delta"]["content"][0] for name, value in events(thread, claim.run["id"]) if name == "thread.message.delta"]
    assert [delta["text"]["value"] for delta in deltas] == WORDS
    claim.close()


def test_none_of_them_is_written_into_a_log_that_somebody_else_wrote_to(folder):
    store, thread = folder
    claim = claimed(store, a_run(store, thread))
    log = thread.events(claim.run["id"])
    engine = Talkative(meanwhile=lambda: log.append(b"event: thread.run.cancelling\ndata: {}\n\n"))
    with pytest.raises(ClaimLost):
        asyncio.run(Turn(claim, engine).run())  # type: ignore[arg-type]
    assert "thread.message.delta" not in [name for name, _ in events(thread, claim.run["id"])]
    claim.close()
