"""Cancelling a run in each of its states: it ends within a second, keeps what it wrote, and its thread is free."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.scenarios.conversation import (
    CALLS,
    LISBON,
    MESSAGE_STARTS,
    RUN_STARTS,
    ended,
    followed,
    last_message,
    order,
    reach,
    refused,
    steps_of,
    still_works,
    text_of,
)
from tests.scripted_engine import Hang, Reply


def test_while_text_streams(client, http, thread, assistant, engine):
    engine.script(Reply(["It is ", "warm."], hang_after=1))
    stream = iter(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True))
    seen = []
    for event in stream:
        seen.append(event)
        if event.event == "thread.message.delta":
            break
    run = client.beta.threads.runs.cancel(seen[0].data.id, thread_id=thread.id)
    assert (run.status, run.cancelled_at) == ("cancelling", None) and run.expires_at is not None
    seen += stream

    names = order(seen)
    assert names.count("thread.run.cancelling") == 1
    names.remove("thread.run.cancelling")  # It may come as soon as the cancel arrives.
    ending = ["thread.message.delta", "thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled"]
    assert names == [*RUN_STARTS, *MESSAGE_STARTS, *ending]
    assert engine.wait_until_hung_up()

    run = seen[-1].data
    assert run.cancelled_at is not None and run.expires_at is None and run.usage is not None and run.last_error is None
    message = last_message(client, thread.id)
    assert (message.status, message.incomplete_details.reason, text_of(message)) == ("incomplete", "run_cancelled", "It is ")
    (step,) = steps_of(client, run)
    assert step.status == "cancelled" and step.cancelled_at is not None
    still_works(client, http, thread.id, assistant.id)


def test_while_the_engine_has_not_said_a_word(client, http, thread, assistant, engine):
    engine.script(Hang())
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    engine.wait_for_requests(1)
    begun = time.monotonic()
    assert client.beta.threads.runs.cancel(run.id, thread_id=thread.id).status == "cancelling"
    run = ended(client, http, run)
    assert time.monotonic() - begun < 1
    assert run.status == "cancelled"
    assert engine.wait_until_hung_up(), "the engine must not go on writing for nobody"
    assert order(followed(http, run)) == [*RUN_STARTS, "thread.run.cancelling", "thread.run.cancelled"]
    assert steps_of(client, run) == [] and len(client.beta.threads.messages.list(thread.id).data) == 1
    still_works(client, http, thread.id, assistant.id)


def test_while_it_waits_for_outputs(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON]))
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    reach(http, run, "thread.run.requires_action")
    answer = client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    assert answer.status == "cancelling"
    names = order(followed(http, run))
    ending = ["thread.run.requires_action", "thread.run.step.cancelled", "thread.run.cancelling", "thread.run.cancelled"]
    assert names == [*RUN_STARTS, *CALLS, *ending]
    run = client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
    assert (run.status, run.required_action) == ("cancelled", None)
    (step,) = steps_of(client, run)
    assert (step.status, step.usage) == ("cancelled", None)
    still_works(client, http, thread.id, assistant.id)


def test_while_it_is_queued(client, http, thread, assistant, engine):
    # As many runs as the runner executes at once keep it busy.
    engine.default = Hang()
    busy = [client.beta.threads.create_and_run(assistant_id=assistant.id) for _ in range(4)]
    engine.wait_for_requests(4)
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    assert client.beta.threads.runs.cancel(run.id, thread_id=thread.id).status == "cancelling"
    events = followed(http, run)
    assert order(events) == ["thread.run.created", "thread.run.queued", "thread.run.cancelling", "thread.run.cancelled"]
    assert events[-1].data["started_at"] is None
    assert len(engine.requests) == 4, "a run that was cancelled in the queue is never asked for"

    for one in busy:
        client.beta.threads.runs.cancel(one.id, thread_id=one.thread_id)
    for one in busy:
        assert ended(client, http, one).status == "cancelled"
    engine.default = Reply(["Hello ", "from the ", "script."])
    still_works(client, http, thread.id, assistant.id)


def test_in_the_middle_of_a_calls_arguments(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON], hang_after=2))
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    reach(http, run, "thread.run.step.delta")
    client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    run = ended(client, http, run)
    assert (run.status, run.required_action) == ("cancelled", None)
    (step,) = steps_of(client, run)
    assert step.status == "cancelled"
    still_works(client, http, thread.id, assistant.id)


def test_a_run_that_is_over_cannot_be_cancelled(client, http, thread, assistant, engine):
    run = ended(client, http, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id))
    cancel = client.beta.threads.runs.cancel
    assert refused(cancel, run.id, thread_id=thread.id) == (400, "Cannot cancel run with status 'completed'.")
    engine.script(Hang())
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    cancel(run.id, thread_id=thread.id)
    assert ended(client, http, run).status == "cancelled"
    assert refused(cancel, run.id, thread_id=thread.id) == (400, "Cannot cancel run with status 'cancelled'.")
    assert client.beta.threads.runs.retrieve(run.id, thread_id=thread.id).status == "cancelled"


@pytest.mark.parametrize("attempt", range(10))
def test_a_cancel_that_races_the_end_leaves_one_ending(client, http, thread, assistant, engine, attempt):
    engine.script(Reply(["It is ", "warm."], delay=0.001 * attempt))
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    engine.wait_for_requests(1)
    answer = http.post(f"/v1/threads/{thread.id}/runs/{run.id}/cancel")
    events = followed(http, run)
    endings = [event.name for event in events if event.name in ("thread.run.completed", "thread.run.cancelled")]
    assert len(endings) == 1 and events[-1].name == endings[0]
    assert (answer.status == 200) == (endings == ["thread.run.cancelled"])
    assert client.beta.threads.runs.retrieve(run.id, thread_id=thread.id).status == endings[0].rpartition(".")[2]


def test_of_many_cancels_at_once_one_is_accepted(client, http, thread, assistant, engine):
    engine.script(Hang())
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    engine.wait_for_requests(1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http.post(f"/v1/threads/{thread.id}/runs/{run.id}/cancel"), range(8)))
    accepted = [answer for answer in answers if answer.status == 200]
    refusals = {answer.error[1] for answer in answers if answer.status != 200}
    assert len(accepted) == 1
    assert refusals <= {"Cannot cancel run with status 'cancelling'.", "Cannot cancel run with status 'cancelled'."}
    assert ended(client, http, run).status == "cancelled"


def test_deleting_a_thread_cancels_its_run_and_tells_its_streams(client, http, thread, assistant, engine):
    engine.script(Reply(["It is "], hang_after=1))
    with http.stream("POST", f"/v1/threads/{thread.id}/runs", {"assistant_id": assistant.id, "stream": True}) as stream:
        stream.until("thread.message.delta")
        assert client.beta.threads.delete(thread.id).deleted
        rest = list(stream)
    assert rest[-1].name == "error" or [event.name for event in rest[-2:]] == ["thread.run.cancelled", "done"]
    assert engine.wait_until_hung_up()
    assert refused(client.beta.threads.retrieve, thread.id) == (404, f"No thread found with id '{thread.id}'.")
