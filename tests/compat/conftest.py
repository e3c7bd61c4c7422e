"""The real processes that all programs of this folder speak to, and the engine and the proxy on both sides of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compat.answering_engine import answering_engine
from tests.compat.unreliable_proxy import UnreliableProxy
from tests.process_control import Server


@pytest.fixture(scope="session")
def compat_server() -> Iterator[Server]:
    """Everything as in production, with a key for the programs and one of another project. See answering_engine.py for the models."""
    keys = {"OXILLAMA_API_KEYS": "compat-key,elsewhere:other-key"}
    with answering_engine() as engine, Server(engine_url=engine.url, environ=keys) as server:
        yield server.wait_ready()


@pytest.fixture(scope="session")
def compat_environ(compat_server: Server) -> Iterator[dict[str, str]]:
    """What a program in a process of its own needs to know. `OPENAI_*` are the variables that SDKs and frameworks read."""
    with UnreliableProxy(compat_server.port) as proxy:
        yield {
            "OPENAI_BASE_URL": compat_server.base_url,
            "OPENAI_API_KEY": "compat-key",
            "UNRELIABLE_PROXY": proxy.url,
        }
