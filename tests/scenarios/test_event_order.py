"""The order of events in every kind of stream (behaviour.md, section 6). The client checks each object and that nothing overlaps."""

from __future__ import annotations

from threading import Event
from typing import Any

from tests.scenarios.conversation import (
    CALLS,
    COMPLETED,
    LISBON,
    MESSAGE,
    MESSAGE_STARTS,
    PORTO,
    RESUMED,
    RUN_STARTS,
    WAITS,
    ended,
    followed,
    last_message,
    order,
    outputs,
    steps_of,
    text_of,
)
from tests.scripted_engine import Call, Reply, Usage


def run_of(client: Any, thread: Any, assistant: Any, **options: Any) -> list[Any]:
    return list(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True, **options))


def submit(client: Any, run: Any, *values: str) -> list[Any]:
    stream = client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs(run, *values), stream=True)
    return list(stream)


def named(events: list[Any], name: str) -> list[Any]:
    return [event.data for event in events if event.event == name]


def test_plain_text(client, thread, assistant, engine):
    engine.script(Reply(["It is ", "wärm", " 🌞."], usage=Usage(11, 7, cached_tokens=3, reasoning_tokens=2)))
    events = run_of(client, thread, assistant)

    assert order(events) == [*RUN_STARTS, *MESSAGE, *COMPLETED[:1]]
    created, queued, in_progress = (event.data for event in events[:3])
    assert created == queued
    assert (created.status, created.started_at, created.completed_at, created.usage) == ("queued", None, None, None)
    assert created.expires_at == created.created_at + 600
    assert in_progress.started_at is not None and in_progress.expires_at == created.expires_at

    (step,) = named(events, "thread.run.step.created")
    assert step == named(events, "thread.run.step.in_progress")[0]
    assert step.type == "message_creation" and step.usage is None and step.expires_at == created.expires_at
    (message,) = named(events, "thread.message.created")
    assert message == named(events, "thread.message.in_progress")[0]
    assert step.step_details.message_creation.message_id == message.id
    assert (message.content, message.role, message.run_id, message.assistant_id) == ([], "assistant", created.id, assistant.id)

    deltas = [delta.delta.content for delta in named(events, "thread.message.delta")]
    assert [delta[0].text.value for delta in deltas] == ["It is ", "wärm", " 🌞."]
    assert [delta[0].index for delta in deltas] == [0, 0, 0]
    assert [delta[0].text.annotations for delta in deltas] == [[], None, None]

    (whole,) = named(events, "thread.message.completed")
    assert text_of(whole) == "It is wärm 🌞." and whole.completed_at is not None
    (step,) = named(events, "thread.run.step.completed")
    assert step.usage.total_tokens == 18 and step.expires_at is None
    (run,) = named(events, "thread.run.completed")
    assert run.usage.to_dict() == {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
        "prompt_token_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert run.expires_at is None and run.completed_at is not None


def test_a_stream_ends_with_done_and_then_the_body_ends(http, client, thread, assistant):
    answer = http.post(f"/v1/threads/{thread.id}/runs", {"assistant_id": assistant.id, "stream": True})
    assert answer.body.endswith(b"\n\nevent: done\ndata: [DONE]\n\n")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache" and answer.headers["x-accel-buffering"] == "no"


def test_a_new_thread_comes_before_its_run(client, assistant):
    stream = client.beta.threads.create_and_run(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": "b"}}, stream=True
    )
    events = list(stream)
    assert order(events) == ["thread.created", *RUN_STARTS, *MESSAGE, "thread.run.completed"]
    assert events[0].data.metadata == {"a": "b"} and events[0].data.id == events[1].data.thread_id
    assert client.beta.threads.retrieve(events[0].data.id) == events[0].data


def test_a_function_call_and_its_outputs(client, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON], usage=Usage(260, 12)), Reply(["21 C"], usage=Usage(284, 80)))
    events = run_of(client, thread, assistant)
    assert order(events) == [*RUN_STARTS, *CALLS, *WAITS[:1]]

    (step,) = named(events, "thread.run.step.created")
    assert step.step_details.to_dict() == {"type": "tool_calls", "tool_calls": []}
    opening, *fragments = [delta.delta.to_dict() for delta in named(events, "thread.run.step.delta")]
    (call,) = opening["step_details"]["tool_calls"]
    assert call == {
        "index": 0,
        "id": call["id"],
        "type": "function",
        "function": {"name": "get_weather", "arguments": "", "output": None},
    }
    assert [one["step_details"]["tool_calls"] for one in fragments] == [
        [{"index": 0, "type": "function", "function": {"arguments": '{"city":'}}],
        [{"index": 0, "type": "function", "function": {"arguments": '"Lisbon"}'}}],
    ]
    (run,) = named(events, "thread.run.requires_action")
    (required,) = run.required_action.submit_tool_outputs.tool_calls
    assert (required.id, required.function.arguments) == (call["id"], '{"city":"Lisbon"}')
    assert run.usage is None

    resumed = submit(client, run, "21 C, clear")
    assert order(resumed) == [*RESUMED, *MESSAGE, "thread.run.completed"]
    assert resumed[0].data.id == step.id and resumed[0].data.usage.total_tokens == 272
    assert resumed[0].data.step_details.tool_calls[0].function.output == "21 C, clear"
    assert resumed[1].data.required_action is None and resumed[1].data.expires_at == run.expires_at
    assert resumed[-1].data.usage.prompt_tokens == 544 and resumed[-1].data.usage.completion_tokens == 92
    assert [one.status for one in steps_of(client, run)] == ["completed", "completed"]


def test_text_before_calls_is_a_message_that_ends_before_the_tool_step_begins(client, thread, assistant, engine):
    engine.script(Reply(["Let me ", "look."], calls=[LISBON], usage=Usage(20, 5)))
    events = run_of(client, thread, assistant)
    assert order(events) == [*RUN_STARTS, *MESSAGE, *CALLS, "thread.run.requires_action"]
    run = events[-1].data
    message_step, tool_step = steps_of(client, run)
    assert (message_step.type, tool_step.type) == ("message_creation", "tool_calls")
    resumed = submit(client, run, "21 C")
    assert order(resumed) == [*RESUMED, *MESSAGE, "thread.run.completed"]
    assert resumed[-1].data.usage.prompt_tokens == 31, "the tokens of the first turn count once"
    texts = [text_of(one) for one in client.beta.threads.messages.list(thread.id, order="asc", run_id=run.id)]
    assert texts == ["Let me look.", "Hello from the script."]


def test_parallel_calls_share_a_step_and_open_in_the_order_of_their_index(client, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON, PORTO, Call("get_time", '{"city":"Faro"}')]))
    events = run_of(client, thread, assistant)
    assert order(events) == [*RUN_STARTS, *CALLS, "thread.run.requires_action"]
    opened = [call for delta in named(events, "thread.run.step.delta") for call in delta.delta.step_details.tool_calls if call.id]
    assert [call.index for call in opened] == [0, 1, 2]
    assert {call.function.arguments for call in opened} == {""}
    run = events[-1].data
    calls = run.required_action.submit_tool_outputs.tool_calls
    assert [call.id for call in calls] == [call.id for call in opened]
    assert [call.function.arguments for call in calls] == ['{"city":"Lisbon"}', '{"city":"Porto"}', '{"city":"Faro"}']
    (step,) = steps_of(client, run)
    assert step.status == "in_progress" and len(step.step_details.tool_calls) == 3
    submit(client, run, "a", "b", "c")
    (step, _) = steps_of(client, run)
    assert [call.function.output for call in step.step_details.tool_calls] == ["a", "b", "c"]


def test_without_parallel_calls_only_the_first_is_made(client, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON, PORTO]))
    events = run_of(client, thread, assistant, parallel_tool_calls=False)
    (call,) = events[-1].data.required_action.submit_tool_outputs.tool_calls
    assert call.function.name == "get_weather"


def test_several_rounds_of_calls(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON]), Reply(calls=[PORTO]), Reply(calls=[LISBON]), Reply(["Done."]))
    events = run_of(client, thread, assistant)
    for answer in ("1", "2"):
        events = submit(client, events[-1].data, answer)
        assert order(events) == [*RESUMED, *CALLS, "thread.run.requires_action"]
    run = events[-1].data
    assert order(submit(client, run, "3")) == [*RESUMED, *MESSAGE, "thread.run.completed"]
    assert [step.type for step in steps_of(client, run)] == ["tool_calls"] * 3 + ["message_creation"]
    whole = [*RUN_STARTS, *CALLS, "thread.run.requires_action"]
    for _ in range(2):
        whole += [*RESUMED, *CALLS, "thread.run.requires_action"]
    assert order(followed(http, run)) == [*whole, *RESUMED, *MESSAGE, "thread.run.completed"]


def test_token_limit(client, thread, assistant, engine):
    engine.script(Reply(["It is wa"], finish="length"))
    events = run_of(client, thread, assistant, max_completion_tokens=256)
    incomplete = ["thread.message.delta", "thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]
    assert order(events) == [*RUN_STARTS, *MESSAGE_STARTS, *incomplete]
    run, message = events[-1].data, last_message(client, thread.id)
    assert run.incomplete_details.reason == "max_completion_tokens"
    assert run.usage is not None and run.completed_at is not None and run.expires_at is None
    assert (message.status, message.incomplete_details.reason, text_of(message)) == ("incomplete", "max_tokens", "It is wa")
    assert message.completed_at is None and message.incomplete_at is not None


def test_token_limit_within_a_call(client, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON], finish="length"))
    events = run_of(client, thread, assistant)
    assert order(events) == [*RUN_STARTS, *CALLS, "thread.run.step.completed", "thread.run.incomplete"]
    assert events[-1].data.incomplete_details.reason == "max_completion_tokens"


def test_content_filter(client, thread, assistant, engine):
    engine.script(Reply(["I should"], finish="content_filter"))
    events = run_of(client, thread, assistant)
    incomplete = ["thread.message.delta", "thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]
    assert order(events) == [*RUN_STARTS, *MESSAGE_STARTS, *incomplete]
    message = last_message(client, thread.id)
    assert (message.incomplete_details.reason, text_of(message)) == ("content_filter", "I should")


def test_an_answer_without_text_is_an_empty_message(client, thread, assistant, engine):
    engine.script(Reply([]))
    events = run_of(client, thread, assistant)
    assert order(events)[-3:] == ["thread.message.completed", "thread.run.step.completed", "thread.run.completed"]
    assert text_of(last_message(client, thread.id)) == ""


def test_blank_lines_before_a_call_are_no_message(client, thread, assistant, engine):
    engine.script(Reply(["\n", "\n"], calls=[LISBON]))
    assert order(run_of(client, thread, assistant)) == [*RUN_STARTS, *CALLS, "thread.run.requires_action"]


def test_the_limit_on_tokens_counts_over_all_turns(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON], usage=Usage(200, 250)), Reply(calls=[LISBON], usage=Usage(250, 6)))
    run = run_of(client, thread, assistant, max_completion_tokens=256)[-1].data
    run = submit(client, run, "21 C")[-1].data
    assert [one["max_tokens"] for one in engine.requests] == [256, 6]
    last = submit(client, run, "22 C")
    assert order(last) == [*RESUMED, "thread.run.incomplete"]
    assert last[-1].data.incomplete_details.reason == "max_completion_tokens"
    assert len(engine.requests) == 2, "no turn begins without tokens left"


def test_text_arrives_while_the_engine_still_writes(client, http, thread, assistant, engine):
    gate = Event()
    engine.script(Reply(["first ", "second"], gates={1: gate}))
    stream = iter(client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, stream=True))
    for event in stream:
        if event.event == "thread.message.delta":
            break
    else:
        raise AssertionError("no delta")
    assert event.data.delta.content[0].text.value == "first "

    working = last_message(client, thread.id)
    assert (working.status, text_of(working), working.id) == ("in_progress", "first ", event.data.id)
    assert client.beta.threads.messages.retrieve(working.id, thread_id=thread.id) == working
    assert [one.id for one in client.beta.threads.messages.list(thread.id, run_id=working.run_id)] == [working.id]
    (step,) = client.beta.threads.runs.steps.list(working.run_id, thread_id=thread.id).data
    assert step.status == "in_progress"

    gate.set()
    assert order(stream) == ["thread.message.delta", "thread.message.completed", "thread.run.step.completed", "thread.run.completed"]
    done = last_message(client, thread.id)
    assert (done.status, text_of(done), done.id) == ("completed", "first second", working.id)


def test_what_is_streamed_is_what_is_stored(client, http, thread, assistant, engine):
    engine.script(Reply(["Let me look."], calls=[LISBON]))
    run = run_of(client, thread, assistant)[-1].data
    assert client.beta.threads.runs.retrieve(run.id, thread_id=thread.id) == run
    events = submit(client, run, "21 C")
    assert ended(client, http, run) == events[-1].data
    stored = {step.id: step for step in steps_of(client, run)}
    for step in named(events, "thread.run.step.completed"):
        assert stored[step.id] == step
    (message,) = named(events, "thread.message.completed")
    assert client.beta.threads.messages.retrieve(message.id, thread_id=thread.id) == message
