"""Every kind of engine that people keep behind this server, and the same twenty conversations with each; see docs/engines.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.contract.validation import validating_client
from tests.engines import conversations, hosted, local
from tests.engines.conversations import Talk
from tests.engines.personality import Personality
from tests.process_control import Server
from tests.raw_http import Http

ENGINES: tuple[type[Personality], ...] = (
    hosted.OpenAi,
    hosted.OpenAiReasoning,
    hosted.Azure,
    local.Vllm,
    local.VllmWithoutTools,
    local.LlamaServer,
    local.Ollama,
    local.LmStudio,
    hosted.LiteLlm,
    hosted.OpenRouter,
    hosted.Mistral,
    hosted.Groq,
    hosted.Anthropic,
    hosted.Gemini,
)


@pytest.fixture(scope="module")
def talk(request: pytest.FixtureRequest) -> Iterator[Talk]:
    """One server for each kind of engine: it learns what its engine's model takes, as it would anywhere."""
    environ = {"OXILLAMA_DURABILITY": "relaxed"}
    with request.param() as engine, Server(engine_url=engine.url, workers=1, environ=environ) as server:
        server.wait_ready()
        with validating_client(server.base_url, max_retries=0) as client:
            yield Talk(engine, client, Http(server.port))


@pytest.mark.parametrize("conversation", conversations.CONVERSATIONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("talk", ENGINES, indirect=True, ids=lambda one: one.__name__)
def test_conversation(talk: Talk, conversation: Callable[[Talk], None]) -> None:
    conversation(talk)
