"""One of each object, finished and at rest, for tests that look at answers and leave nothing behind."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.contract.validation import ValidatingClient
from tests.process_control import Server
from tests.raw_http import Http
from tests.scripted_engine import Call, Reply


@pytest.fixture(scope="session")
def objects(server: Server, shared_client: ValidatingClient, shared_engine: Any) -> Any:
    """An assistant, a thread with a message, a finished run with its two steps, and another thread. Nobody may change them."""
    shared_engine.start_over()
    shared_engine.script(Reply(calls=[Call("look")]))
    beta = shared_client.beta
    tool: Any = {"type": "function", "function": {"name": "look"}}
    assistant = beta.assistants.create(model="scripted-chat", instructions="Answer.", tools=[tool])
    thread = beta.threads.create(messages=[{"role": "user", "content": "Hi"}])
    run = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
    (call,) = run.required_action.submit_tool_outputs.tool_calls  # type: ignore[union-attr]
    beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": call.id, "output": "x"}], poll_interval_ms=20
    )
    messages = beta.threads.messages.list(thread.id, order="asc").data
    steps = beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc").data
    other = beta.threads.create(messages=[{"role": "user", "content": "Hi"}])
    return SimpleNamespace(assistant=assistant.id, thread=thread.id, message=messages[0].id, run=run.id, step=steps[0].id, other=other.id)


class Fingerprint:
    """What is on disk of some objects, and which others there are at all."""

    def __init__(self, data_dir: Path, objects: Any) -> None:
        self._project, self._objects = data_dir / "projects" / "default", objects

    def take(self) -> dict[str, Any]:
        folders = [self._project / "threads" / thread for thread in (self._objects.thread, self._objects.other)]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        files.append(self._project / "assistants" / f"{self._objects.assistant}.json")
        found: dict[str, Any] = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        for kind in ("threads", "assistants"):
            found[kind] = sorted(path.name for path in (self._project / kind).iterdir())
        return found


@pytest.fixture
def unchanged(server: Server, objects: Any) -> Any:
    """Fails the test if anything on disk changes in it."""
    fingerprint = Fingerprint(server.data_dir, objects)
    before = fingerprint.take()
    assert len(before) >= 12, "it looks at the wrong place"
    yield
    assert fingerprint.take() == before


@pytest.fixture
def bare(server: Server, objects: Any) -> Http:
    """Raw requests to a server that has the `objects`."""
    return Http(server.port)
