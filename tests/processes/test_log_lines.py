"""What callers write comes into the log through llama.cpp too; it looks like nobody's line but the engine's."""

from __future__ import annotations

import signal
from typing import Any

from tests.process_control import Server, wait_until
from tests.processes.talk import ask, client_of, ended, start_run

FORGED = "x\nFORGED\x1b[2K line\nrunner: FORGED too\r"


def test_every_line_says_who_wrote_it():
    with Server() as server:
        with client_of(server.wait_ready()) as client:
            schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": FORGED}}}
            wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            ended(client, start_run(client, ask(client), response_format=wanted, max_completion_tokens=256), 60)
        wait_until(lambda: "FORGED too" in server.log(), 10, "llama.cpp quotes the pattern")
        server.kill("runner", signal.SIGTERM)
        server.stop()
        lines = server.log().removesuffix("\n").split("\n")
        assert {line.partition(": ")[0] for line in lines} <= {"oxillama", "web", "runner", "engine"}
        assert all(line.startswith("engine: ") for line in lines if "FORGED" in line)
        assert any(line.startswith("runner: ") for line in lines)
        assert "\x1b" not in server.log() and "\r" not in server.log()
