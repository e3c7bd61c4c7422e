"""What goes back to the engine of a turn that ended in calls, and what the caller sees of it."""

from __future__ import annotations

import json

from tests.scenarios.conversation import LISBON, last_message, outputs, text_of
from tests.scripted_engine import Call, Reply


def call_and_answer(client, thread, assistant, engine, *turns):
    """A run whose first turns end in calls, each answered; the run as it ended."""
    engine.script(*turns)
    runs = client.beta.threads.runs
    run = runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    for _ in turns:
        assert run.status == "requires_action", run.last_error
        values = ["21 C"] * len(run.required_action.submit_tool_outputs.tool_calls)
        run = runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread.id, tool_outputs=outputs(run, *values))
    return run


def called(request):
    """The messages of a request that call, and those that answer."""
    return [message for message in request["messages"] if message.get("tool_calls") or message["role"] == "tool"]


def test_the_engine_hears_its_own_call_ids_and_the_caller_ours(client, thread, assistant, engine):
    turns = [Reply(calls=[Call("get_weather", "{}", id="D681PevKs")]), Reply(calls=[Call("get_time", "{}", id="0")])]
    run = call_and_answer(client, thread, assistant, engine, *turns)
    assert run.status == "completed"
    for request, expected in zip(engine.requests[1:], [["D681PevKs"], ["D681PevKs", "0"]], strict=True):
        assert [message["tool_calls"][0]["id"] for message in called(request)[::2]] == expected
        assert [message["tool_call_id"] for message in called(request)[1::2]] == expected
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    ours = [call.id for step in steps if step.type == "tool_calls" for call in step.step_details.tool_calls]
    assert len(ours) == 2 and all(call_id.startswith("call_") for call_id in ours)


def test_ids_that_do_not_tell_calls_apart_are_not_used(client, thread, assistant, engine):
    run = call_and_answer(client, thread, assistant, engine, Reply(calls=[LISBON, Call("get_time", "{}", id="")]))
    assert run.status == "completed"
    heard = [message["tool_call_id"] for message in called(engine.requests[1])[1:]]
    assert len(set(heard)) == 2 and all(call_id.startswith("call_") for call_id in heard)


def test_empty_arguments_go_back_as_an_empty_object(client, thread, assistant, engine):
    run = call_and_answer(client, thread, assistant, engine, Reply(calls=[Call("get_weather", "")]))
    assert run.status == "completed"
    assert called(engine.requests[1])[0]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_thoughts_before_a_call_go_back_to_the_model_and_to_nobody_else(client, http, thread, assistant, engine):
    run = call_and_answer(client, thread, assistant, engine, Reply(reasoning=["I need ", "the weather."], calls=[LISBON], usage=None))
    assert run.status == "completed"
    assert called(engine.requests[1])[0]["reasoning_content"] == "I need the weather."
    shown = [client.beta.threads.runs.retrieve(run.id, thread_id=thread.id).to_json()]
    shown += [step.to_json() for step in client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data]
    with http.stream("GET", f"/v1/threads/{thread.id}/runs/{run.id}/events") as stream:
        shown += [json.dumps(event.data) for event in stream]
    assert "I need" not in "".join(shown)
    # The engine did not count, and thoughts are paid for.
    assert run.usage.completion_tokens_details["reasoning_tokens"] == 7
    # A later run does not hear them.
    client.beta.threads.messages.create(thread.id, role="user", content="And now?")
    client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert "I need" not in json.dumps(engine.requests[-1])


def test_thoughts_in_an_answer_are_not_its_text(client, thread, assistant, engine):
    engine.script(Reply(text=["<th", "ink>Let me", " see.</thi", "nk>\n\nIt is", " fine."]))
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    assert text_of(last_message(client, thread.id)) == "It is fine."
