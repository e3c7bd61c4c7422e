"""kill -9, in the middle of an answer: nothing that was acknowledged is lost, the process is back, and the run comes to an end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from openai import OpenAI

from tests.process_control import Runner, Server, Web, wait_until
from tests.processes.talk import (
    Question,
    StreamReader,
    answers,
    ask,
    client_of,
    ended,
    only_worker,
    see_an_answer_begin,
    start_run,
)
from tests.scripted_engine import Hang, Reply, ScriptedEngine

BACK_SECONDS = 5
END_SECONDS = 15
RECORD = Callable[[str, object], None]


def kill_and_wait_until_back(server: Server, role: str, record: RECORD, victims: list[int] | None = None) -> None:
    """Kill every process of a role, or some, and see as many new ones and a healthy server in time."""
    old = server.find(role)
    killed = victims or old
    begun = time.monotonic()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    server.wait_for(role, count=len(killed), other_than=old, timeout=BACK_SECONDS)
    wait_until(server.health, BACK_SECONDS - (time.monotonic() - begun), f"healthy after the death of {role}", pause=0.05)
    record(f"seconds until {role} was back", round(time.monotonic() - begun, 2))


def assert_events_go_on_where_they_broke_off(server: Server, client: OpenAI, question: Question, seen: StreamReader) -> None:
    run = client.beta.threads.runs.retrieve(seen.run_id, thread_id=question.thread_id)
    with StreamReader.of_events(server, run, after=seen.last_id) as rest, StreamReader.of_events(server, run) as complete:
        assert seen.frames + rest.wait_end().frames == complete.wait_end().frames
        assert complete.names[-1] == f"thread.run.{run.status}"
        assert not rest.broken


def test_who_has_seen_the_end_of_a_run_is_not_told_it_twice(server: Server):
    """A browser's EventSource asks again whenever a stream is over."""
    with client_of(server) as client:
        run = ended(client, start_run(client, ask(client)))
    with StreamReader.of_events(server, run) as complete:
        complete.wait_end()
    with StreamReader.of_events(server, run, after=complete.last_id) as rest:
        # Not even a sign of life: it was over at once.
        assert rest.wait_end().raw == b""
    assert not rest.broken


def assert_thread_goes_on(client: OpenAI, question: Question, engine: ScriptedEngine) -> None:
    """What was acknowledged is there, and the thread takes a message and a run."""
    assert client.beta.assistants.retrieve(question.assistant_id).id == question.assistant_id
    assert client.beta.threads.messages.retrieve(question.message_id, thread_id=question.thread_id).id == question.message_id
    client.beta.threads.messages.create(question.thread_id, role="user", content="And now?")
    assert ended(client, start_run(client, question)).status == "completed"
    assert answers(client, question)[-2:] == ["And now?", "Hello from the script."]


@pytest.mark.parametrize(
    ("role", "status"),
    [
        ("web-worker", "completed"),
        ("web-master", "completed"),
        # It had begun to stream, so it cannot be told a second time.
        ("runner", "failed"),
    ],
)
def test_a_process_killed_in_the_middle_of_a_stream(
    server: Server, engine: ScriptedEngine, role: str, status: str, record_property: RECORD
):
    go_on = threading.Event()
    engine.script(Reply(["one ", "two ", "three ", "four."], gates={2: go_on}))
    with client_of(server) as client:
        question = ask(client)
        with StreamReader.of_run(server, question) as hosted:
            hosted.wait_for("thread.message.delta", 2)
            run = client.beta.threads.runs.retrieve(hosted.run_id, thread_id=question.thread_id)
            with StreamReader.of_events(server, run) as seen:
                seen.wait_for("thread.message.delta", 2)
                kill_and_wait_until_back(server, role, record_property)
                if role != "runner":
                    # Those who were reading lost their connection.
                    seen.wait_end()
                    hosted.wait_end()
                    assert seen.broken and hosted.broken
                go_on.set()
                begun = time.monotonic()
                run = ended(client, run, END_SECONDS)
                record_property("seconds until the run ended", round(time.monotonic() - begun, 2))
                if role == "runner":
                    seen.wait_end()
                    assert hosted.wait_end().names[-3:] == ["thread.run.step.failed", "thread.run.failed", "done"]
                assert_events_go_on_where_they_broke_off(server, client, question, seen)
        assert run.status == status
        if status == "failed":
            assert run.last_error.code == "server_error"
            assert answers(client, question)[-1] == "one two "
        else:
            assert answers(client, question)[-1] == "one two three four."
        assert_thread_goes_on(client, question, engine)


def test_a_stream_is_picked_up_in_the_middle_while_the_run_goes_on(server: Server, engine: ScriptedEngine):
    go_on = threading.Event()
    engine.script(Reply(["one ", "two ", "three."], gates={1: go_on}))
    with client_of(server) as client:
        question = ask(client)
        run = start_run(client, question)
        with StreamReader.of_events(server, run) as seen:
            seen.wait_for("thread.message.delta", 1)
            server.kill("web-worker")
            seen.wait_end()
        wait_until(server.health, BACK_SECONDS, "healthy")
        with StreamReader.of_events(server, run, after=seen.last_id) as rest:
            go_on.set()
            rest.wait_end()
        with StreamReader.of_events(server, run) as complete:
            assert seen.frames + rest.frames == complete.wait_end().frames
        assert rest.names[-1] == "thread.run.completed"


def test_the_embedded_engine_killed_in_the_middle_of_an_answer(record_property: RECORD):
    with Server() as server, client_of(server.wait_ready()) as client:
        # So that it is not still loading.
        question = ask(client, "Count from 1 to 500, in words, one number a line.")
        see_an_answer_begin(server, client, ask(client, "Hi"))
        run = start_run(client, question)
        with StreamReader.of_events(server, run) as seen:
            seen.wait_for("thread.message.delta", 1, timeout=60)
            kill_and_wait_until_back(server, "engine", record_property)
            run = ended(client, run, END_SECONDS)
            assert (run.status, run.last_error.code) == ("failed", "server_error")
            seen.wait_end()
        client.beta.threads.messages.create(question.thread_id, role="user", content="Just say hello.")
        see_an_answer_begin(server, client, question)


def test_the_embedded_engine_killed_before_it_said_anything(record_property: RECORD):
    with Server() as server, client_of(server.wait_ready()) as client:
        question = ask(client, "Just say hello.")
        see_an_answer_begin(server, client, ask(client, "Hi"))
        (engine,) = server.find("engine")
        # It takes the request, and comes to nothing.
        os.kill(engine, signal.SIGSTOP)
        run = start_run(client, question)
        wait_until(
            lambda: any(one.raddr for one in psutil.Process(server.find("runner")[0]).net_connections("tcp")), 20, "the engine asked"
        )
        kill_and_wait_until_back(server, "engine", record_property)
        run = ended(client, run, 60)
        assert run.status == "completed", run.last_error


def test_one_of_two_web_workers_killed_leaves_the_streams_of_the_other_alone(
    server: Server, engine: ScriptedEngine, record_property: RECORD
):
    go_on = threading.Event()
    engine.default = Reply(["one ", "two."], gates={1: go_on})
    with client_of(server) as client:
        run = start_run(client, ask(client))
        workers = server.find("web-worker")
        victim = workers[0]
        with ExitStack() as stack:
            readers = []
            for worker in workers:
                with only_worker(worker, workers):
                    for _ in range(4):
                        readers.append(stack.enter_context(StreamReader.of_events(server, run)))
                        readers[-1].wait_for("thread.message.delta", 1)
            doomed = {connection.raddr.port for connection in psutil.Process(victim).net_connections() if connection.raddr}
            kill_and_wait_until_back(server, "web-worker", record_property, [victim])
            go_on.set()
            for reader in readers:
                reader.wait_end()
                assert reader.broken == (reader.port in doomed)
                assert reader.broken or reader.names[-1] == "thread.run.completed"
            assert [reader.broken for reader in readers] == [True] * 4 + [False] * 4
            assert ended(client, run).status == "completed"


def test_a_run_whose_runner_dies_before_the_first_token_is_queued_again_and_completes(server: Server, engine: ScriptedEngine):
    engine.script(Hang(), Reply(["At ", "last."]))
    with client_of(server) as client:
        question = ask(client)
        run = start_run(client, question)
        engine.wait_for_requests(1)
        server.kill("runner")
        assert ended(client, run, END_SECONDS).status == "completed"
        assert answers(client, question)[-1] == "At last."
        with StreamReader.of_events(server, run) as events:
            begun = [name for name in events.wait_end().names if name in ("thread.run.queued", "thread.run.in_progress")]
        assert begun == ["thread.run.queued", "thread.run.in_progress"] * 2
        assert len(engine.requests) == 2


def test_a_run_that_takes_three_runners_with_it_is_not_tried_a_fourth_time(engine: ScriptedEngine, tmp_path: Path):
    engine.default = Hang()
    data = tmp_path / "data"
    with Web(engine_url=engine.url, data_dir=data) as web, ExitStack() as stack:
        first = stack.enter_context(Runner(engine_url=engine.url, data_dir=data))
        client = stack.enter_context(client_of(web.wait_ready()))
        question = ask(client)
        run = start_run(client, question)
        engine.wait_for_requests(1)
        first.kill_everything()
        for attempt in (2, 3):
            with Runner(engine_url=engine.url, data_dir=data):
                engine.wait_for_requests(attempt)
        stack.enter_context(Runner(engine_url=engine.url, data_dir=data))
        run = ended(client, run, END_SECONDS)
        assert (run.status, run.last_error.code) == ("failed", "server_error")
        assert len(engine.requests) == 3
        engine.default = Reply(["Fine."])
        assert ended(client, start_run(client, question)).status == "completed"
