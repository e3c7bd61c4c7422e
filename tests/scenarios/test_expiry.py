"""A run lives for a fixed time, whatever it waits for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.conversation import (
    CALLS,
    LISBON,
    MESSAGE_STARTS,
    QUESTION,
    RUN_STARTS,
    WEATHER,
    ended,
    followed,
    last_message,
    order,
    outputs,
    reach,
    refused,
    steps_of,
    still_works,
    text_of,
)
from tests.scripted_engine import Hang, Reply


@pytest.fixture
def run_of(expiring_client: Any) -> Any:
    """Begins a run of a new assistant on a new thread."""

    def begin() -> Any:
        assistant = expiring_client.beta.assistants.create(model="scripted-chat", tools=[WEATHER])
        messages: Any = [{"role": "user", "content": QUESTION}]
        return expiring_client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": messages})

    return begin


def check_ending(client: Any, http: Any, run: Any) -> Any:
    expired = ended(client, http, run)
    assert expired.status == "expired"
    assert (expired.expires_at, expired.failed_at, expired.cancelled_at, expired.completed_at) == (None, None, None, None)
    assert expired.usage is not None and expired.last_error is None and expired.required_action is None
    assert expired.started_at is not None
    return expired


def test_while_it_waits_for_outputs(expiring_client, expiring_http, engine, run_of):
    engine.script(Reply(calls=[LISBON]))
    run = run_of()
    reach(expiring_http, run, "thread.run.requires_action")
    waiting = expiring_client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)
    assert waiting.expires_at == run.created_at + 2
    check_ending(expiring_client, expiring_http, run)
    ending = ["thread.run.requires_action", "thread.run.step.expired", "thread.run.expired"]
    assert order(followed(expiring_http, run)) == ["thread.created", *RUN_STARTS, *CALLS, *ending]
    (step,) = steps_of(expiring_client, run)
    assert step.status == "expired" and step.expired_at is not None

    submit = expiring_client.beta.threads.runs.submit_tool_outputs
    message = 'Runs in status "expired" do not accept tool outputs.'
    assert refused(submit, run.id, thread_id=run.thread_id, tool_outputs=outputs(waiting, "21 C")) == (400, message)
    still_works(expiring_client, expiring_http, run.thread_id, run.assistant_id)


def test_while_the_engine_hangs(expiring_client, expiring_http, engine, run_of):
    engine.script(Hang())
    run = run_of()
    check_ending(expiring_client, expiring_http, run)
    assert engine.wait_until_hung_up()
    assert order(followed(expiring_http, run)) == ["thread.created", *RUN_STARTS, "thread.run.expired"]
    still_works(expiring_client, expiring_http, run.thread_id, run.assistant_id)


def test_while_text_streams(expiring_client, expiring_http, engine, run_of):
    engine.script(Reply(["It is ", "warm."], hang_after=1))
    run = run_of()
    check_ending(expiring_client, expiring_http, run)
    assert engine.wait_until_hung_up()
    ending = ["thread.message.delta", "thread.message.incomplete", "thread.run.step.expired", "thread.run.expired"]
    assert order(followed(expiring_http, run)) == ["thread.created", *RUN_STARTS, *MESSAGE_STARTS, *ending]
    message = last_message(expiring_client, run.thread_id)
    assert (message.status, message.incomplete_details.reason, text_of(message)) == ("incomplete", "run_expired", "It is ")
    still_works(expiring_client, expiring_http, run.thread_id, run.assistant_id)


def test_while_it_is_queued(expiring_client, expiring_http, engine, run_of):
    engine.default = Hang()
    busy = [run_of() for _ in range(4)]
    engine.wait_for_requests(4)
    run = run_of()
    for one in (*busy, run):
        assert ended(expiring_client, expiring_http, one).status == "expired"
    assert expiring_client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).usage.total_tokens == 0
