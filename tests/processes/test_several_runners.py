"""Any number of runners on one data directory: each run is executed once, and the runs of a dead runner are taken over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from oxillama.store import locks
from tests.process_control import Runner, Web, wait_until
from tests.processes.talk import answers, ask, client_of, ended, start_run
from tests.scripted_engine import Hang, Reply, ScriptedEngine


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def web(engine: ScriptedEngine, data: Path) -> Iterator[Web]:
    with Web(engine_url=engine.url, data_dir=data) as web:
        yield web


def living_runners(data: Path) -> int:
    """Runners hold a lock on a file of their own for as long as they live."""
    return sum(locks.is_held(str(path)) for path in (data / "runners").glob("*"))


def test_twenty_runs_on_three_runners_are_executed_once_each(web: Web, engine: ScriptedEngine, data: Path):
    engine.default = lambda request: Reply([f"You said: {request['messages'][-1]['content']}"])
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Runner(engine_url=engine.url, data_dir=data))
        client = stack.enter_context(client_of(web.wait_ready()))
        wait_until(lambda: living_runners(data) == 3, 30, "three runners")
        questions = [ask(client, f"number {number}") for number in range(20)]
        runs = [start_run(client, question) for question in questions]
        assert {ended(client, run, 30).status for run in runs} == {"completed"}
        asked = Counter(request["messages"][-1]["content"] for request in engine.requests)
        assert asked == Counter(f"number {number}" for number in range(20))
        for number, question in enumerate(questions):
            assert answers(client, question) == [f"number {number}", f"You said: number {number}"]


def test_the_runs_of_a_dead_runner_are_taken_over_by_another(
    web: Web, engine: ScriptedEngine, data: Path, record_property: Callable[[str, object], None]
):
    engine.default = Hang(Reply(["Taken over."]))
    with (
        Runner(engine_url=engine.url, data_dir=data) as one,
        Runner(engine_url=engine.url, data_dir=data),
        client_of(web.wait_ready()) as client,
    ):
        wait_until(lambda: living_runners(data) == 2, 30, "two runners")
        # Each runner works on four at once, so both are full.
        questions = [ask(client) for _ in range(8)]
        runs = [start_run(client, question) for question in questions]
        engine.wait_for_requests(8)
        begun = time.monotonic()
        one.kill_everything()

        def queued() -> int:
            return sum(client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).status == "queued" for run in runs)

        wait_until(lambda: queued() == 4, 20, "the four runs of the dead runner are queued again")
        record_property("seconds until its runs were recovered", round(time.monotonic() - begun, 2))
        engine.default = Reply(["Taken over."])
        engine.release()
        assert {ended(client, run).status for run in runs} == {"completed"}
        assert len(engine.requests) == 12
        for question in questions:
            assert answers(client, question)[1:] == ["Taken over."]
