"""Servers with small limits, and the assistant and thread that most scenarios begin with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.validation import ValidatingClient, validating_client
from tests.process_control import Server, free_port
from tests.raw_http import Http
from tests.scenarios.conversation import INSTRUCTIONS, QUESTION, TIME, WEATHER
from tests.scripted_engine import ScriptedEngine

_FEW_STREAMS = 3


@pytest.fixture
def assistant(client: Any) -> Any:
    return client.beta.assistants.create(model="scripted-chat", instructions=INSTRUCTIONS, tools=[WEATHER, TIME])


@pytest.fixture
def thread(client: Any) -> Any:
    return client.beta.threads.create(messages=[{"role": "user", "content": QUESTION}])


@pytest.fixture(scope="session")
def strict_server() -> Iterator[Server]:
    """One worker with few streams and other names for models. Its engine is not always there."""
    environ = {
        "OXILLAMA_MAX_STREAMS": str(_FEW_STREAMS),
        "OXILLAMA_MODEL_MAP": "gpt-4o=scripted-chat,gpt-4=not-served",
        "OXILLAMA_DURABILITY": "relaxed",
    }
    with Server(engine_url=f"http://127.0.0.1:{free_port()}/v1", workers=1, environ=environ) as server:
        yield server.wait_ready()


@pytest.fixture
def strict_engine(strict_server: Server) -> Iterator[ScriptedEngine]:
    """The engine of `strict_server`; where a test does not ask for it, nothing listens there."""
    with engine_of(strict_server) as engine:
        yield engine


@pytest.fixture
def strict_client(strict_server: Server) -> Iterator[ValidatingClient]:
    with validating_client(strict_server.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
def strict_http(strict_server: Server) -> Http:
    return Http(strict_server.port)


def engine_of(server: Server) -> ScriptedEngine:
    """An engine where a server expects it; enter it to start it."""
    return ScriptedEngine(int(server.environ["OXILLAMA_ENGINE_URL"].rpartition(":")[2].removesuffix("/v1")))
