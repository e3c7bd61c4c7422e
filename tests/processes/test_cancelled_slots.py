"""A run that is cancelled holds nothing of the embedded engine: with one slot, the next run is answered soon."""

from __future__ import annotations

import time

import pytest

from tests.process_control import Server, wait_until
from tests.processes.talk import StreamReader, ask, client_of, ended, see_an_answer_begin, start_run


@pytest.mark.parametrize("text", ["word and " * 1500, "Tell a very long story."], ids=["in its prompt", "in its answer"])
def test_what_a_cancelled_run_held_is_free_at_once(text: str):
    with Server(environ={"OXILLAMA_RUN_CONCURRENCY": "1"}) as server, client_of(server.wait_ready()) as client:
        see_an_answer_begin(server, client, ask(client))
        run = start_run(client, ask(client, text))
        if text.startswith("Tell"):
            with StreamReader.of_events(server, run) as stream:
                stream.wait_for("thread.message.delta", timeout=60)
        else:
            wait_until(lambda: client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).started_at, 10, "it started")
        client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
        assert ended(client, run).status == "cancelled"
        begun = time.monotonic()
        see_an_answer_begin(server, client, ask(client))
        assert time.monotonic() - begun < 15
