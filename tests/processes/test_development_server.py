"""`python app.py`: the Flask development server with a runner and an engine in its own process."""

from __future__ import annotations

import os
import signal

import pytest

from oxillama.store import locks
from tests.process_control import ProcessTree, wait_until
from tests.processes.talk import answers, ask, client_of, see_an_answer_begin
from tests.raw_http import Http
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


def test_it_shows_no_debugger_and_no_versions(engine: ScriptedEngine):
    with DevelopmentServer(engine_url=engine.url, environ={"FLASK_DEBUG": "1"}) as server:
        http = Http(server.wait_ready().port)
        for path in ("/console", "/?__debugger__=yes&cmd=resource&f=debugger.js", "/v1/threads?__debugger__=yes&cmd=pinauth&pin=0&s=x"):
            answer = http.get(path)
            assert answer.error[0] in (404, 405), path
            assert answer.headers["server"] == "oxillama"
        # An error that nobody foresaw.
        (server.data_dir / "projects" / "default" / "assistants" / f"asst_{'A' * 24}.json").mkdir()
        answer = http.get(f"/v1/assistants/asst_{'A' * 24}")
        assert answer.error[0] >= 500
        assert b"Traceback" not in answer.body and str(server.data_dir).encode() not in answer.body
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
