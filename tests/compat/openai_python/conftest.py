"""Clients for the programs of this folder. They run with the project's own openai, and by `make test-compat` with an older one too.

Nothing here or in the programs may import more than openai and pytest: an older release lives in an environment with nothing else.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import openai
import pytest

from tests.compat.openai_python import recorded_calls

_FOLDER = os.path.dirname(__file__)
#: Whether this is another environment than the project's own, started by test_other_environments.py.
_GUEST = "UNRELIABLE_PROXY" in os.environ

recorded_calls.record_from(_FOLDER)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks back at all calls comes last."""
    items.sort(key=lambda item: item.path.name == "test_nothing_was_forgotten.py" and str(item.path).startswith(_FOLDER))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def environ(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Given by the process that started this one, or else by the fixture of the folder above."""
    return os.environ if _GUEST else request.getfixturevalue("compat_environ")


@pytest.fixture
def options(environ: Mapping[str, str]) -> dict[str, Any]:
    return {"base_url": environ["OPENAI_BASE_URL"], "api_key": environ["OPENAI_API_KEY"], "max_retries": 0}


@pytest.fixture
def client(options: dict[str, Any]) -> Iterator[openai.OpenAI]:
    """One that does not retry, so that a test sees each answer. The newest also holds every answer against the official schema."""
    if _GUEST:
        made = openai.OpenAI(**options)
    else:
        from tests.contract.validation import validating_client

        made = validating_client(**options)
    with made as client:
        yield client


@pytest.fixture
async def async_client(options: dict[str, Any]) -> AsyncIterator[openai.AsyncOpenAI]:
    if _GUEST:
        made = openai.AsyncOpenAI(**options)
    else:
        from tests.contract.validation import validating_async_client

        made = validating_async_client(**options)
    async with made as client:
        yield client


@pytest.fixture
def troubled_url(environ: Mapping[str, str]) -> Callable[[str, int], str]:
    """Base URL of the server behind a proxy that makes some trouble so many times; see unreliable_proxy.py."""
    return lambda trouble, times: f"{environ['UNRELIABLE_PROXY']}/{trouble}/{times}/{uuid.uuid4()}/v1"
