"""The embedded engine as a process of its own, and questions to it as anybody on the machine may put them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raw_engine import reserved

from oxillama import settings
from tests.process_control import wait_until

KEY = "a-key-of-the-engine"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


@dataclass
class EmbeddedEngine:
    """One that runs.

    Attributes:
        process: the engine's.
        settings: those that it was started with; the runner's and the web's side can use them.
        log: all that it said.
    """

    process: subprocess.Popen[bytes]
    settings: settings.Settings
    log: Path

    def answer(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body; 0 when the engine breaks off or does not answer within a minute."""
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.embedded_port, timeout=60)
        given = {"Authorization": f"Bearer {KEY}"} if headers is None else headers
        with contextlib.closing(connection):
            try:
                connection.request(method, path, None if body is None else json.dumps(body), given)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException):
                return 0, b""

    def chat(self, body: dict[str, Any]) -> int:
        """The status of a chat completion."""
        return self.answer("POST", "/v1/chat/completions", body)[0]


@contextlib.contextmanager
def embedded_engine(scratch: Path, **environ: str) -> Iterator[EmbeddedEngine]:
    """An engine that has answered once. At the end it is killed."""
    with reserved() as probe:
        port = str(probe.getsockname()[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OXILLAMA_")}
    env = {**kept, "OXILLAMA_EMBEDDED_PORT": port, "OXILLAMA_ENGINE_API_KEY": KEY, "OXILLAMA_CONTEXT_TOKENS": "1024", **environ}
    log = scratch / "engine.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "oxillama.engine.embedded"], env=env, stdout=output, stderr=subprocess.STDOUT)
    running = EmbeddedEngine(process, settings.read(env), log)
    try:
        wait_until(lambda: running.chat(HELLO) == 200, 100, "the engine answers")
        yield running
    finally:
        process.kill()
        process.wait()
