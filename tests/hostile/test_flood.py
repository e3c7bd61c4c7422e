"""A run whose engine floods it fails and says so; neither its text nor the number of its deltas costs the runner more than promised."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from tests.contract.validation import validating_client
from tests.engine.raw_engine import Connection, raw_engine
from tests.process_control import Server

MEBIBYTE = 1024 * 1024
MAX_GROWTH_BYTES = 300 * MEBIBYTE


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.parametrize("characters", [1000, 100])
def test_a_flood_of_text(characters: int) -> None:
    delta = f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': 'x' * characters}}]})}\n\n".encode()

    def flood(connection: Connection) -> None:
        if connection.request.path != "/v1/chat/completions":
            connection.answer(404, {"error": {"message": "no such path"}})
            return
        connection.begin_stream()
        with contextlib.suppress(OSError):
            while True:
                connection.send(delta * 100)

    with (
        raw_engine(flood) as engine,
        Server(engine_url=engine.url, workers=1, environ={"OXILLAMA_DURABILITY": "relaxed"}) as server,
        validating_client(server.base_url) as client,
    ):
        server.wait_ready()
        (runner,) = server.find("runner")
        before = peak_bytes(runner)
        assistant = client.beta.assistants.create(model="m")
        run = client.beta.threads.create_and_run_poll(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]})
        assert run.status == "failed"
        assert run.last_error.message == "The model engine's answer is longer than 64 MB."
        assert (peak_bytes(runner) - before) // MEBIBYTE < MAX_GROWTH_BYTES // MEBIBYTE
