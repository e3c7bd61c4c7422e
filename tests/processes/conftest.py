"""Every test here hurts its processes, so each has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process_control import Server
from tests.scripted_engine import ScriptedEngine


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
def server(engine: ScriptedEngine) -> Iterator[Server]:
    """Two web workers and a runner, on the scripted engine."""
    with Server(engine_url=engine.url) as server:
        yield server.wait_ready()
