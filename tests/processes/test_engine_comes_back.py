"""The embedded engine dies or hangs: the next run is answered soon, and one that was not answered yet is tried again."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.process_control import Server, wait_until
from tests.processes.talk import ask, client_of, ended, see_an_answer_begin, start_run

#: The least that the API allows; an answer's length is the model's affair.
SHORT: Any = {"max_completion_tokens": 256}
ANSWERED = ("completed", "incomplete")
#: A prompt that two cores evaluate for some seconds.
LONG = "word and " * 800

pytestmark = pytest.mark.timeout(300)


def seconds_to_an_answer(server: Server) -> float:
    """From now until the answer to a new run has begun. Its end is the model's affair, so it is cancelled."""
    begun = time.monotonic()
    with client_of(server) as client:
        see_an_answer_begin(server, client, ask(client))
    return time.monotonic() - begun


def test_after_it_was_killed_it_answers_again_within_15_seconds():
    with Server() as server:
        seconds_to_an_answer(server.wait_ready())
        # One is in the middle of its prompt; nothing of it was streamed, so it is tried again.
        with client_of(server) as client:
            run = start_run(client, ask(client, LONG), **SHORT)
            wait_until(lambda: client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).started_at, 10, "it started")
            server.kill("engine")
            assert ended(client, run, 100).status in ANSWERED
        server.kill("engine")
        assert seconds_to_an_answer(server) < 15
        server.stop()


def test_one_that_hangs_is_replaced_by_one_that_answers_within_45_seconds():
    with Server() as server:
        seconds_to_an_answer(server.wait_ready())
        hung = server.kill("engine", signal.SIGSTOP)
        assert seconds_to_an_answer(server) < 45
        assert not {*hung} & {*server.find("engine")}
        server.stop()
