"""A part that cannot start is tried again and again, ever more slowly, and the rest goes on without it."""

from __future__ import annotations

import os
from pathlib import Path

from tests.process_control import Server, wait_until
from tests.processes.talk import ask, client_of, ended, start_run

TICKS = os.sysconf("SC_CLK_TCK")
REASON = "The embedded engine cannot start: cannot read the model /nonexistent.gguf"


def start_of(pid: int) -> int | None:
    """When a process was started, in ticks since the machine was, by the machine's own account; None when it has gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None


def test_an_engine_without_its_model_does_not_take_the_rest_along():
    starts: dict[int, int] = {}

    def started(times: int) -> bool:
        starts.update({pid: ticks for pid in server.find("engine") if (ticks := start_of(pid))})
        return len(starts) >= times

    with Server(environ={"OXILLAMA_MODEL_PATH": "/nonexistent.gguf"}) as server:
        wait_until(lambda: started(1), 30, "the first start of the engine")
        with client_of(server.wait_ready()) as client:
            run = start_run(client, ask(client))
        runner, web = server.find("runner"), server.find("web-master")
        wait_until(lambda: started(3), 60, "the third start of the engine")
        # supervisord waits a second longer each time. What else takes time, and a start that was missed here, only add to that.
        first, second, third = sorted(starts.values())
        assert second - first >= TICKS
        assert third - second >= 2 * TICKS
        assert REASON in server.log()
        assert server.health()
        # A run waits for an engine that may only be slow to load. It can be cancelled.
        with client_of(server) as client:
            assert client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "in_progress"
            client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
            assert ended(client, run).status == "cancelled"
        assert (server.find("runner"), server.find("web-master")) == (runner, web)
        server.stop()
