"""`python app.py`: the Flask development server with a runner and an engine in its own process."""

from __future__ import annotations

import os
import signal

import pytest

from oxillama.store import locks
from tests.process_control import ProcessTree, wait_until
from tests.processes.talk import answers, ask, client_of, see_an_answer_begin
from tests.scripted_engine import ScriptedEngine


class DevelopmentServer(ProcessTree):
    """Everything, for developers."""

    arguments = ("app.py",)

    def runners(self) -> int:
        return sum(locks.is_held(str(path)) for path in (self.data_dir / "runners").glob("*"))


@pytest.mark.parametrize(("debug", "processes"), [("0", 1), ("1", 2)], ids=["plain", "with the reloader"])
def test_it_answers_with_one_runner_and_stops(engine: ScriptedEngine, debug: str, processes: int):
    with DevelopmentServer(engine_url=engine.url, environ={"FLASK_DEBUG": debug}) as server:
        with client_of(server.wait_ready()) as client:
            question = ask(client)
            with client.beta.threads.runs.stream(thread_id=question.thread_id, assistant_id=question.assistant_id) as stream:
                assert list(stream.text_deltas) == ["Hello ", "from the ", "script."]
            assert answers(client, question)[-1] == "Hello from the script."
        assert server.runners() == 1
        assert len(server.alive()) == processes
        assert len(engine.requests) == 1
        server.stop()


def test_the_reloaders_child_does_not_outlive_a_parent_that_was_killed(engine: ScriptedEngine):
    with DevelopmentServer(engine_url=engine.url, environ={"FLASK_DEBUG": "1"}) as server:
        server.wait_ready()
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not server.alive(), 15, "the child is gone")


def test_it_answers_with_the_embedded_engine():
    with DevelopmentServer() as server, client_of(server.wait_ready()) as client:
        see_an_answer_begin(server, client, ask(client))
        assert len(server.alive()) == 1
        server.stop()
