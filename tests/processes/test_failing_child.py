"""A part that cannot start is tried again and again, ever more slowly, and the rest goes on without it."""

from __future__ import annotations

import time

from tests.process_control import Server, wait_until
from tests.processes.talk import ask, client_of, ended, start_run

REASON = "The embedded engine cannot start: cannot read the model /nonexistent.gguf"


def test_an_engine_without_its_model_does_not_take_the_rest_along():
    with Server(environ={"OXILLAMA_MODEL_PATH": "/nonexistent.gguf"}) as server, client_of(server.wait_ready()) as client:
        runner, web = server.find("runner"), server.find("web-master")
        question = ask(client)
        run = start_run(client, question)
        times = []
        for count in (1, 2, 3):
            wait_until(lambda count=count: server.log().count(REASON) >= count, 15, f"start number {count} of the engine")
            times.append(time.monotonic())
        # supervisord waits a second longer each time.
        assert times[2] - times[1] > 1.8
        assert server.health()
        # A run waits for an engine that may only be slow to load. It can be cancelled.
        assert client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "in_progress"
        client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
        assert ended(client, run, 5).status == "cancelled"
        assert (server.find("runner"), server.find("web-master")) == (runner, web)
        server.stop()
