"""GET /v1/threads/{thread_id}/runs/{run_id}/events: what a run streams, from any point on, as often as one likes, from any worker."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from openai import Stream
from openai.types.beta import AssistantStreamEvent

from tests.processes.talk import only_worker
from tests.raw_http import events_in
from tests.scenarios.conversation import LISBON, ended, followed, outputs, reach
from tests.scripted_engine import Reply


def path_of(run):
    return f"/v1/threads/{run.thread_id}/runs/{run.id}/events"


@pytest.fixture
def gate():
    event = Event()
    yield event
    event.set()


@pytest.fixture
def finished(client, http, thread, assistant, engine):
    """A run with a call, its outputs and an answer in several pieces."""
    engine.script(Reply(["Let me ", "look."], calls=[LISBON]), Reply(["It ", "is ", "wärm."]))
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C"))
    return ended(client, http, run)


def test_the_same_events_every_time_each_with_its_id_and_no_done(http, finished):
    first, second = http.get(path_of(finished)), http.get(path_of(finished))
    assert first.body == second.body and first.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = events_in(first.body)
    assert events[-1].name == "thread.run.completed"
    positions = [int(event.id) for event in events]
    assert positions == sorted(set(positions)) and positions[0] > 0


def test_from_any_id_on_nothing_is_missing_and_nothing_comes_twice(http, finished):
    whole = http.get(path_of(finished)).body
    events = events_in(whole)
    for number, event in enumerate(events):
        rest = http.get(f"{path_of(finished)}?after={event.id}").body
        assert events_in(rest) == events[number + 1 :] and whole.endswith(rest)
        assert http.get(path_of(finished), {"Last-Event-ID": event.id}).body == rest
    assert http.get(f"{path_of(finished)}?after=0").body == whole


def test_a_position_that_is_not_the_end_of_an_event_is_refused(http, finished):
    last = int(events_in(http.get(path_of(finished)).body)[-1].id)
    kind = "invalid_request_error"
    for position in (1, last - 1, last + 1, 10**15):
        message = f"Invalid 'after': {position}. Expected the id of an event of this run."
        assert http.get(f"{path_of(finished)}?after={position}").error == (400, message, kind, "after", "invalid_value")
    for position in ("-1", "x", "1.5", "%C2%B2", "1e3", "9" * 30, "0x10"):
        message = "Invalid 'after': expected the id of an event of this run."
        assert http.get(f"{path_of(finished)}?after={position}").error == (400, message, kind, "after", "invalid_value")
    assert http.get(path_of(finished), {"Last-Event-ID": "x"}).error[0] == 400


def test_of_what_does_not_exist(http, finished, client):
    other = client.beta.threads.create()
    wrong = f"/v1/threads/{other.id}/runs/{finished.id}/events"
    assert http.get(wrong).error[:2] == (404, f"No run found with id '{finished.id}'.")
    unknown = "run_" + "0" * 24
    assert http.get(f"/v1/threads/{finished.thread_id}/runs/{unknown}/events").error[:2] == (404, f"No run found with id '{unknown}'.")


def test_readers_who_come_and_go_while_the_run_works_see_each_event_once(client, http, thread, assistant, engine, gate):
    engine.script(Reply(["One ", "two ", "three ", "four."], gates={1: gate, 3: gate}))
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    parts = reach(http, run, "thread.message.delta")
    with http.stream("GET", f"{path_of(run)}?after={parts[-1].id}") as stream:
        gate.set()
        for event in stream:
            parts.append(event)
            if event.name == "thread.message.delta":
                break
    parts += events_in(http.get(f"{path_of(run)}?after={parts[-1].id}").body)
    assert parts == followed(http, run)
    assert [part.data["delta"]["content"][0]["text"]["value"] for part in parts if part.name == "thread.message.delta"] == [
        *["One ", "two ", "three ", "four."]
    ]


def test_it_goes_on_over_a_wait_for_outputs(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON]))
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    with http.stream("GET", path_of(run)) as stream:
        stream.until("thread.run.requires_action")
        run = client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
        client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C"))
        stream.until("thread.run.completed")
        assert list(stream) == [], "it ends with the run"


def test_many_readers_at_once(client, http, thread, assistant, engine, gate):
    engine.script(Reply([f"{number} " for number in range(50)], gates={25: gate}))
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(followed, http, run) for _ in range(8)]
        reach(http, run, "thread.message.delta")
        gate.set()
        seen = [reader.result() for reader in readers]
    assert all(events == seen[0] for events in seen)
    assert len([event for event in seen[0] if event.name == "thread.message.delta"]) == 50


def test_every_worker_tells_the_same(client, http, server, thread, assistant, engine, gate):
    engine.script(Reply(["One ", "two ", "three."], gates={1: gate}))
    workers = server.find("web-worker")
    assert len(workers) == 2
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    with only_worker(workers[0], workers):
        first = reach(http, run, "thread.message.delta")
    with only_worker(workers[1], workers):
        assert reach(http, run, "thread.message.delta") == first
        gate.set()
        rest = events_in(http.get(f"{path_of(run)}?after={first[-1].id}").body)
        whole = followed(http, run)
    with only_worker(workers[0], workers):
        assert followed(http, run) == whole == first + rest


def test_what_the_official_client_streamed_is_what_the_log_holds(client, http, thread, assistant, engine):
    engine.script(Reply(["Let me ", "look."], calls=[LISBON]), Reply(["It ", "is ", "wärm."]))
    path = f"/v1/threads/{thread.id}/runs"
    hosted = events_in(http.post(path, {"assistant_id": assistant.id, "stream": True}).body)
    run = client.beta.threads.runs.retrieve(hosted[0].data["id"], thread_id=thread.id)
    body = {"tool_outputs": outputs(run, "21 C"), "stream": True}
    hosted += events_in(http.post(f"{path}/{run.id}/submit_tool_outputs", body).body)
    assert [event.name for event in hosted].count("done") == 2
    log = [(event.name, event.data) for event in followed(http, run)]
    assert [(event.name, event.data) for event in hosted if event.name != "done"] == log
    assert all(event.id is None for event in hosted)


def test_a_reader_who_has_seen_everything_is_answered_at_once(client, http, thread, assistant, engine, gate):
    engine.script(Reply(["One ", "two."], gates={1: gate}))
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    last = reach(http, run, "thread.message.delta")[-1]
    begun = time.monotonic()
    with http.stream("GET", f"{path_of(run)}?after={last.id}") as stream:
        assert stream.status == 200 and time.monotonic() - begun < 4, "the headers must not wait for the next event"
        gate.set()
        assert stream.until("thread.run.completed")[0].name == "thread.message.delta"


def test_the_official_client_can_read_it_too(client, http, finished):
    events = client.get(path_of(finished).removeprefix("/v1"), cast_to=object, stream=True, stream_cls=Stream[AssistantStreamEvent])
    assert [event.event for event in events] == [event.name for event in followed(http, finished)]
