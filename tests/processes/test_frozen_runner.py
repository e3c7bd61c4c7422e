"""A runner that lives and does not move: /health says so, and its runs end when they are due."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import openai
import pytest

from oxillama.store.check import check
from tests.process_control import Runner, Web, wait_until
from tests.processes.talk import answers, ask, client_of, ended, start_run
from tests.raw_http import Http
from tests.scripted_engine import Hang, Reply, ScriptedEngine

#: What is promised: within so many seconds of being due.
DUE_SECONDS = 30


@contextmanager
def frozen(runner: Runner) -> Iterator[None]:
    (process,) = runner.alive()
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@pytest.mark.parametrize("runners", [1, 2])
def test_runs_of_a_frozen_runner_end_when_they_are_due(engine: ScriptedEngine, tmp_path: Path, runners: int):
    data = tmp_path / "data"
    engine.default = Hang(Reply(["Too ", "late."]))
    with ExitStack() as stack:
        web = stack.enter_context(Web(engine_url=engine.url, data_dir=data, workers=1, environ={"OXILLAMA_RUN_EXPIRY_SECONDS": "8"}))
        first = stack.enter_context(Runner(engine_url=engine.url, data_dir=data))
        client = stack.enter_context(client_of(web.wait_ready()))
        questions = [ask(client), ask(client)]
        runs = [start_run(client, question) for question in questions]
        for run in runs:
            wait_until(lambda run=run: status(client, run) == "in_progress", 15, "it has begun")
        engine.wait_for_requests(2)
        if runners == 2:
            stack.enter_context(Runner(engine_url=engine.url, data_dir=data))
        with frozen(first):
            begun = time.monotonic()
            cancelled, expired = runs
            assert client.beta.threads.runs.cancel(cancelled.id, thread_id=cancelled.thread_id).status == "cancelling"
            wait_until(lambda: told(web) == (503 if runners == 1 else 200), DUE_SECONDS, "/health names it")
            # Nobody asks for the runs meanwhile; a file tells it.
            wait_until(lambda: os.listdir(data / "queue" / "active") == [], DUE_SECONDS, "both have ended")
            assert ended(client, cancelled, DUE_SECONDS).status == "cancelled"
            assert ended(client, expired, DUE_SECONDS).status == "expired"
            assert time.monotonic() - begun < DUE_SECONDS
            before = contents(data)
        # It goes on with what is not its own any more.
        engine.release()
        engine.default = Reply(["Again."])
        wait_until(lambda: web.health(), 20, "healthy again")
        again = start_run(client, questions[0])
        assert ended(client, again).status == "completed"
        assert contents(data).items() >= {path: old for path, old in before.items() if again.id not in path}.items()
        assert "Again." in answers(client, questions[0])
        assert list(check(data)) == []


def status(client: openai.OpenAI, run: openai.types.beta.threads.Run) -> str:
    return client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status


def told(web: Web) -> int:
    """The status of /health, once it names a runner that does not move; else 0."""
    answer = Http(web.port).get("/health")
    return answer.status if any("does not move" in problem for problem in answer.json["problems"]) else 0


def contents(data: Path) -> dict[str, bytes]:
    """All that is stored of runs."""
    return {str(path): path.read_bytes() for path in data.glob("projects/*/threads/*/runs/**/*") if path.is_file()}
