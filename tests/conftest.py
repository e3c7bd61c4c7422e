"""What all suites share: real server processes on loopback, an engine that does as it is told, and clients that check every answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.builders import end_runners
from tests.contract.validation import (
    ValidatingAsyncClient,
    ValidatingClient,
    take_violations,
    validating_async_client,
    validating_client,
)
from tests.process_control import Server
from tests.raw_http import Http
from tests.scripted_engine import ScriptedEngine


class RestartableEngine(ScriptedEngine):
    """A scripted engine that keeps its port from test to test, and nothing else."""

    def start_over(self) -> None:
        """Forget script, requests and models; what still hangs goes on and ends."""
        fresh = ScriptedEngine()
        fresh._server.server_close()
        self.release()
        self.wait_until_idle()
        with self._changed:
            self.default, self.models, self.strict_models = fresh.default, fresh.models, fresh.strict_models
            self.other_endpoints, self.props, self.tokenize = fresh.other_endpoints, fresh.props, fresh.tokenize
            for kept in (self._script, self._requests, self._headers, self._paths):
                kept.clear()
            self._hung_up = 0


def pytest_configure(config: pytest.Config) -> None:
    # What the SDK says at every call of `client.beta.assistants`, in just this word. That of the others is in pyproject.toml.
    config.addinivalue_line("filterwarnings", "ignore:deprecated:DeprecationWarning")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def every_answer_kept_to_the_contract(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test in which any validating client saw something that the hosted API would not send."""
    yield
    if request.path.parent.name != "contract":
        assert take_violations() == []


@pytest.fixture(autouse=True)
def runners_of_a_test_end_with_it() -> Iterator[None]:
    """Each holds a descriptor, and there are thousands of tests."""
    yield
    end_runners()


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[RestartableEngine]:
    with RestartableEngine() as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: RestartableEngine) -> Iterator[RestartableEngine]:
    """The engine behind `server`, with a script of this test's own."""
    shared_engine.start_over()
    yield shared_engine
    shared_engine.release()


@pytest.fixture(scope="session")
def server(shared_engine: RestartableEngine) -> Iterator[Server]:
    """Two web workers and a runner, as in production, for the whole session."""
    with Server(engine_url=shared_engine.url) as server:
        yield server.wait_ready()


@pytest.fixture(scope="session")
def shared_client(server: Server) -> Iterator[ValidatingClient]:
    with validating_client(server.base_url, max_retries=0) as client:
        yield client
        client.violations.clear()


@pytest.fixture
def client(shared_client: ValidatingClient, engine: ScriptedEngine) -> Any:
    """The official SDK. It does not retry, so that a test sees each answer."""
    return shared_client


@pytest.fixture
async def async_client(server: Server, engine: ScriptedEngine) -> AsyncIterator[ValidatingAsyncClient]:
    async with validating_async_client(server.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
def http(server: Server, engine: ScriptedEngine) -> Http:
    """Raw requests to the server."""
    return Http(server.port)
