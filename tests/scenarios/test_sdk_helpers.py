"""What the official SDK builds upon the endpoints: polling, event handlers and streams, from threads and from asyncio."""

from __future__ import annotations

from typing import Any

import pytest
from openai import AssistantEventHandler, AsyncAssistantEventHandler

from tests.scenarios.conversation import LISBON, PORTO, RUN_STARTS, WEATHER, last_message, order, outputs, text_of
from tests.scripted_engine import Reply, server_error

#: Every callback of the SDK that a text answer or a function call sets off.
TEXT_CALLBACKS = [
    *["run_step_created", "message_created", "text_created", "text_delta", "message_delta", "text_delta", "message_delta"],
    *["text_done", "message_done", "run_step_done", "end"],
]


class Noting(AssistantEventHandler):
    """Notes each callback, and what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []
        self.text = self.arguments = ""
        self.events: list[Any] = []

    def on_event(self, event: Any) -> None:
        self.events.append(event)

    def on_run_step_created(self, run_step: Any) -> None:
        self.called.append("run_step_created")

    def on_run_step_delta(self, delta: Any, snapshot: Any) -> None:
        self.called.append("run_step_delta")

    def on_run_step_done(self, run_step: Any) -> None:
        self.called.append("run_step_done")

    def on_message_created(self, message: Any) -> None:
        self.called.append("message_created")

    def on_message_delta(self, delta: Any, snapshot: Any) -> None:
        self.called.append("message_delta")

    def on_message_done(self, message: Any) -> None:
        self.called.append("message_done")

    def on_text_created(self, text: Any) -> None:
        self.called.append("text_created")

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.called.append("text_delta")
        self.text += delta.value
        assert snapshot.value == self.text

    def on_text_done(self, text: Any) -> None:
        self.called.append("text_done")
        assert text.value == self.text

    def on_tool_call_created(self, tool_call: Any) -> None:
        self.called.append("tool_call_created")
        assert tool_call.function.name

    def on_tool_call_delta(self, delta: Any, snapshot: Any) -> None:
        self.called.append("tool_call_delta")
        self.arguments += delta.function.arguments

    def on_tool_call_done(self, tool_call: Any) -> None:
        self.called.append("tool_call_done")

    def on_exception(self, exception: Exception) -> None:
        self.called.append("exception")

    def on_timeout(self) -> None:
        self.called.append("timeout")

    def on_end(self) -> None:
        self.called.append("end")


def test_create_and_poll(client, thread, assistant):
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    assert text_of(last_message(client, thread.id)) == "Hello from the script."


def test_create_and_run_poll_and_submit_tool_outputs_and_poll(client, assistant, engine):
    engine.script(Reply(calls=[LISBON, PORTO]))
    run = client.beta.threads.create_and_run_poll(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]})
    assert run.status == "requires_action"
    run = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs(run, "21 C", "noon")
    )
    assert (run.status, run.required_action) == ("completed", None)


def test_poll_returns_a_failed_run_instead_of_waiting_for_ever(client, thread, assistant, engine):
    engine.script(server_error())
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert (run.status, run.last_error.code) == ("failed", "server_error")


def test_an_unfinished_run_says_when_to_poll_again(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON]))
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    path = f"/v1/threads/{thread.id}/runs/{run.id}"
    assert 200 <= int(http.get(path).headers["openai-poll-after-ms"]) <= 500
    client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    assert "openai-poll-after-ms" not in http.get(path).headers


def test_every_callback_of_a_text_answer(client, thread, assistant, engine):
    engine.script(Reply(["It is ", "warm."]))
    handler = Noting()
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=handler) as stream:
        stream.until_done()
        (final,) = stream.get_final_messages()
        run = stream.get_final_run()
        (step,) = stream.get_final_run_steps()
    assert handler.called == TEXT_CALLBACKS
    assert handler.text == text_of(final) == "It is warm."
    assert (run.status, step.type) == ("completed", "message_creation")


def test_every_callback_of_a_function_call_and_of_the_stream_after_it(client, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON]), Reply(["It is ", "warm."]))
    handler = Noting()
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=handler) as stream:
        stream.until_done()
        run = stream.get_final_run()
    # The SDK tells of a call that is done only at the end of the stream.
    calls = ["tool_call_created", "run_step_delta", "tool_call_delta", "run_step_delta", "tool_call_delta", "run_step_delta"]
    assert sorted(handler.called) == sorted(["run_step_created", *calls, "tool_call_done", "end"])
    assert handler.called[:2] == ["run_step_created", "tool_call_created"] and handler.called[-1] == "end"
    assert handler.arguments == '{"city":"Lisbon"}'
    assert run.status == "requires_action"

    resumed = Noting()
    with client.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C"), event_handler=resumed
    ) as stream:
        stream.until_done()
        assert stream.get_final_run().status == "completed"
    assert [name for name in resumed.called if name not in ("run_step_done", "run_step_created")] == [
        name for name in TEXT_CALLBACKS if name not in ("run_step_done", "run_step_created")
    ]


def test_create_and_run_stream(client, assistant):
    with client.beta.threads.create_and_run_stream(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}
    ) as stream:
        assert "".join(stream.text_deltas) == "Hello from the script."
        assert stream.get_final_run().status == "completed"


def test_a_stream_in_which_the_engine_fails_ends_for_the_handler_too(client, thread, assistant, engine):
    engine.script(Reply(["It is ", "warm."], cut_after=2))
    handler = Noting()
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=handler) as stream:
        stream.until_done()
        run = stream.get_final_run()
        (message,) = stream.get_final_messages()
    assert (run.status, message.status, text_of(message)) == ("failed", "incomplete", "It is warm.")
    assert handler.called[-1] == "end" and "exception" not in handler.called


class AsyncNoting(AsyncAssistantEventHandler):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.ended = False

    async def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.text += delta.value

    async def on_end(self) -> None:
        self.ended = True


@pytest.mark.anyio
async def test_async_client_streams_calls_and_polls(async_client, engine):
    engine.script(Reply(calls=[LISBON]), Reply(["It is ", "warm."]), Reply(["Still ", "warm."]))
    threads = async_client.beta.threads
    assistant = await async_client.beta.assistants.create(model="scripted-chat", instructions="Answer.", tools=[WEATHER])
    thread = await threads.create(messages=[{"role": "user", "content": "Hi"}])
    events = [event async for event in await threads.runs.create(thread.id, assistant_id=assistant.id, stream=True)]
    assert order(events)[:3] == RUN_STARTS and events[-1].event == "thread.run.requires_action"
    run = events[-1].data
    handler = AsyncNoting()
    async with threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C"), event_handler=handler
    ) as stream:
        await stream.until_done()
    assert (handler.text, handler.ended) == ("It is warm.", True)
    run = await threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    messages = [text_of(message) async for message in threads.messages.list(thread.id, order="asc")]
    assert messages == ["Hi", "It is warm.", "Still warm."]


@pytest.mark.anyio
async def test_async_client_uses_its_connection_again_after_a_stream(async_client):
    assistant = await async_client.beta.assistants.create(model="scripted-chat", instructions="Answer.")
    for _ in range(5):
        async with async_client.beta.threads.create_and_run_stream(assistant_id=assistant.id) as stream:
            assert "".join([text async for text in stream.text_deltas]) == "Hello from the script."
            assert (await stream.get_final_run()).status == "completed"
