"""However the server is told to stop: everything is gone in time, streams end behind a whole event, and no run is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process_control import Runner, Server, Web, wait_until
from tests.processes.talk import StreamReader, answers, ask, client_of, ended, start_run
from tests.scripted_engine import Hang, Reply, ScriptedEngine

STOP_SECONDS = 10
ORPHAN_SECONDS = 8


@pytest.mark.parametrize(
    ("send", "number"),
    [
        pytest.param(os.kill, signal.SIGTERM, id="SIGTERM to the main process"),
        pytest.param(os.killpg, signal.SIGTERM, id="SIGTERM to the whole group"),
        pytest.param(os.killpg, signal.SIGINT, id="Ctrl-C"),
    ],
)
def test_a_signal_stops_everything_and_loses_nothing(
    engine: ScriptedEngine, tmp_path: Path, send: Callable[[int, int], None], number: int, record_property: Callable[[str, object], None]
):
    engine.script(Reply(["one ", "two ", "three."], hang_after=2), Hang(), Reply(["Later."]))
    with Server(engine_url=engine.url, data_dir=tmp_path / "data") as server, client_of(server.wait_ready()) as client:
        streamed, silent = ask(client), ask(client)
        with StreamReader.of_run(server, streamed) as hosted:
            hosted.wait_for("thread.message.delta", 2)
            run = client.beta.threads.runs.retrieve(hosted.run_id, thread_id=streamed.thread_id)
            with StreamReader.of_events(server, run) as events:
                events.wait_for("thread.message.delta", 2)
                waiting = start_run(client, silent)
                engine.wait_for_requests(2)
                begun = time.monotonic()
                send(server.pid, number)
                wait_until(lambda: server.returncode is not None and not server.alive(), STOP_SECONDS, "everything is gone")
                record_property("seconds to stop", round(time.monotonic() - begun, 2))
                for stream in (hosted, events):
                    stream.wait_end()
                    assert not stream.broken
                    assert stream.raw.endswith(b"\n\n")
                    assert set(stream.names[-2:]) & {"error", "thread.run.failed"}
    assert server.returncode == 0
    with Server(engine_url=engine.url, data_dir=tmp_path / "data") as again, client_of(again.wait_ready()) as client:
        # It had begun to stream, so it cannot go on.
        run = ended(client, run)
        assert (run.status, run.last_error.code) == ("failed", "server_error")
        assert answers(client, streamed)[-1] == "one two "
        # Nothing of it had come, so it was queued again.
        assert ended(client, waiting).status == "completed"
        assert answers(client, silent)[-1] == "Later."


def test_a_run_that_is_nearly_done_may_finish_while_the_server_stops(engine: ScriptedEngine, tmp_path: Path):
    go_on = threading.Event()
    engine.script(Reply(["one ", "two."], gates={1: go_on}))
    with Server(engine_url=engine.url, data_dir=tmp_path / "data") as server:
        with client_of(server.wait_ready()) as client:
            question = ask(client)
            run = start_run(client, question)
            with StreamReader.of_events(server, run) as events:
                events.wait_for("thread.message.delta", 1)
                os.kill(server.pid, signal.SIGTERM)
                # The web has been told to stop, so the runner has been, too.
                events.wait_end()
                go_on.set()
        wait_until(lambda: not server.alive(), STOP_SECONDS, "everything is gone")
    with Server(engine_url=engine.url, data_dir=tmp_path / "data") as again, client_of(again.wait_ready()) as client:
        assert ended(client, run).status == "completed"
        assert answers(client, question)[-1] == "one two."
        with StreamReader.of_events(again, run, after=events_before_error(events)) as rest:
            assert rest.wait_end().names[-1] == "thread.run.completed"


def events_before_error(stream: StreamReader) -> int:
    """The last id that was given: the closing `error` has none."""
    ids = [int(line.removeprefix(b"id: ")) for line in stream.raw.split(b"\n") if line.startswith(b"id: ")]
    return ids[-1]


def test_a_server_that_is_stopped_as_soon_as_it_starts_is_gone_at_once(engine: ScriptedEngine):
    """supervisord then starts everything and stops it within milliseconds: what missed its signal would be killed only after 7 s."""
    with Server(engine_url=engine.url) as server:
        pid_file = server.data_dir / "supervisord.pid"
        wait_until(lambda: pid_file.exists() and pid_file.read_text(), 10, "the process manager runs", pause=0.005)
        server.stop(timeout=5)


def test_the_embedded_engine_stops_with_the_rest_even_while_it_loads():
    with Server() as server:
        server.wait_for("engine")
        server.stop(STOP_SECONDS, group=True)


def test_nothing_outlives_a_process_manager_that_was_killed(record_property: Callable[[str, object], None]):
    with Server() as server, client_of(server.wait_ready()) as client:
        question = ask(client, "Count from 1 to 500, in words, one number a line.")
        with StreamReader.of_run(server, question) as stream:
            stream.wait_for("thread.message.delta", 1, timeout=30)
            assert len(server.children()) >= 5
            begun = time.monotonic()
            os.kill(server.pid, signal.SIGKILL)
            wait_until(lambda: not server.alive(), ORPHAN_SECONDS, f"nothing is left of {server.children()}")
            record_property("seconds until the orphans were gone", round(time.monotonic() - begun, 2))
            stream.wait_end()


def test_ctrl_c_ends_the_streams_of_the_web_alone_behind_a_whole_event(engine: ScriptedEngine, tmp_path: Path):
    engine.script(Reply(["one ", "two."], hang_after=1))
    data = tmp_path / "data"
    with Web(engine_url=engine.url, data_dir=data) as web, Runner(engine_url=engine.url, data_dir=data):
        with client_of(web.wait_ready()) as client, StreamReader.of_run(web, ask(client)) as stream:
            stream.wait_for("thread.message.delta", 1)
            os.killpg(web.pid, signal.SIGINT)
            stream.wait_end()
            assert not stream.broken
            assert stream.names[-1] == "error"
        wait_until(lambda: not web.alive(), STOP_SECONDS, "everything is gone")
