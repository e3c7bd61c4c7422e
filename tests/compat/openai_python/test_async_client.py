"""The asyncio client of openai for Python: every method, every helper and every callback."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
from openai import AsyncAssistantEventHandler

from tests.compat.openai_python.stream_events import (
    CALL_CALLBACKS,
    NEVER_FIRED,
    TEXT_CALLBACKS,
    TROUBLE_CALLBACKS,
    WEATHER,
    AsyncNotingHandler,
    callbacks,
    outputs,
    text_of,
)

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

ASKED = {"messages": [{"role": "user", "content": "How warm is it in Lisbon?"}]}


@pytest.fixture
async def beta(async_client):
    return async_client.beta


@pytest.fixture
async def assistant(beta):
    """Makes an assistant whose model does as its name says; see answering_engine.py."""

    async def make(model):
        return await beta.assistants.create(model=model, tools=[WEATHER], name="Weather")

    return make


@pytest.fixture
async def thread(beta):
    return await beta.threads.create(**ASKED)


async def test_the_life_of_an_assistant(beta):
    made = await beta.assistants.create(model="answers", name="Weather", tools=[WEATHER])
    assert await beta.assistants.retrieve(made.id) == made
    assert (await beta.assistants.update(made.id, name="Climate")).name == "Climate"
    more = [(await beta.assistants.create(model="answers")).id for _ in range(4)]
    assert [one.id async for one in beta.assistants.list(limit=2, order="asc", after=made.id)] == more
    page = await beta.assistants.list(limit=3)
    assert [one.id for one in page.data] == more[:0:-1]
    assert [one.id for one in (await page.get_next_page()).data][:2] == [more[0], made.id]
    assert (await beta.assistants.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError, match=f"No assistant found with id '{made.id}'."):
        await beta.assistants.retrieve(made.id)


async def test_the_life_of_a_thread_and_its_messages(beta):
    thread = await beta.threads.create(metadata={"user": "u1"})
    assert await beta.threads.retrieve(thread.id) == thread
    assert (await beta.threads.update(thread.id, metadata={"user": "u2"})).metadata == {"user": "u2"}
    made = [await beta.threads.messages.create(thread.id, role="user", content=text) for text in ("First", "Second", "Third")]
    assert await beta.threads.messages.retrieve(made[0].id, thread_id=thread.id) == made[0]
    assert (await beta.threads.messages.update(made[0].id, thread_id=thread.id, metadata={"n": "1"})).metadata == {"n": "1"}
    assert [text_of(message) async for message in beta.threads.messages.list(thread.id, limit=2)] == ["Third", "Second", "First"]
    assert (await beta.threads.messages.delete(made[2].id, thread_id=thread.id)).deleted
    assert [text_of(message) async for message in beta.threads.messages.list(thread.id, order="asc")] == ["First", "Second"]
    assert (await beta.threads.delete(thread.id)).object == "thread.deleted"


async def test_a_run_created_and_polled_step_by_step(beta, assistant, thread):
    created = await beta.threads.runs.create(thread.id, assistant_id=(await assistant("answers")).id)
    done = await beta.threads.runs.poll(created.id, thread_id=thread.id)
    assert (created.status, done.status) == ("queued", "completed")
    assert await beta.threads.runs.retrieve(created.id, thread_id=thread.id) == done
    assert (await beta.threads.runs.update(created.id, thread_id=thread.id, metadata={"a": "b"})).metadata == {"a": "b"}
    assert [run.id async for run in beta.threads.runs.list(thread.id)] == [created.id]
    (step,) = [step async for step in beta.threads.runs.steps.list(created.id, thread_id=thread.id)]
    assert await beta.threads.runs.steps.retrieve(step.id, thread_id=thread.id, run_id=created.id) == step


async def test_functions_are_called_with_polling(beta, assistant, thread):
    helper = await assistant("calls-two-functions")
    run = await beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=helper.id)
    done = await beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C", "17 C")
    )
    assert (run.status, done.status) == ("requires_action", "completed")
    assert text_of((await beta.threads.messages.list(thread.id)).data[0]) == "I was told: 21 C and 17 C"
    run = await beta.threads.create_and_run_poll(assistant_id=helper.id, thread=ASKED)
    queued = await beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs(run, "21 C", "17 C"))
    assert queued.status == "queued"
    assert (await beta.threads.runs.poll(run.id, thread_id=run.thread_id)).status == "completed"


async def test_many_conversations_at_once(beta, assistant):
    helper = await assistant("counts-messages")

    async def conversation(number):
        thread = {"messages": [{"role": "user", "content": f"Number {number}"}]}
        run = await beta.threads.create_and_run_poll(assistant_id=helper.id, thread=thread, poll_interval_ms=50)
        return text_of((await beta.threads.messages.list(run.thread_id)).data[0])

    answers = await asyncio.gather(*(conversation(number) for number in range(12)))
    assert answers == [f"1 asked, the last: Number {number}" for number in range(12)]


async def test_plain_streams(beta, assistant):
    helper = await assistant("calls-a-function")
    events = [event async for event in await beta.threads.create_and_run(assistant_id=helper.id, thread=ASKED, stream=True)]
    assert (events[0].event, events[-1].event) == ("thread.created", "thread.run.requires_action")
    run = events[-1].data
    stream = await beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs(run, "21 C"), stream=True)
    names = [event.event async for event in stream]
    assert (names[0], names[-1]) == ("thread.run.step.completed", "thread.run.completed")
    stream = await beta.threads.runs.create(run.thread_id, assistant_id=helper.id, model="answers", stream=True)
    async with stream:
        async for event in stream:
            if event.event == "thread.message.delta":
                assert event.data.delta.content[0].text.value == "It is "
                break


async def test_every_callback_of_an_event_handler_fires(beta, assistant, thread, options):
    """But for images, which only the code interpreter makes."""
    calling, answering, failing = AsyncNotingHandler(), AsyncNotingHandler(), AsyncNotingHandler()
    helper = await assistant("calls-two-functions")
    async with beta.threads.runs.stream(thread_id=thread.id, assistant_id=helper.id, event_handler=calling) as stream:
        await stream.until_done()
    assert calling.names == CALL_CALLBACKS
    assert [json.loads(call.function.arguments)["city"] for (call,) in calling.of("on_tool_call_done")] == ["Lisbon", "Porto"]
    run = await calling.get_final_run()

    async with beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C", "17 C"), event_handler=answering
    ) as stream:
        await stream.until_done()
    assert answering.names == TEXT_CALLBACKS
    assert [text.value for (text,) in answering.of("on_text_done")] == ["I was told: 21 C and 17 C"]

    silent = await assistant("says-nothing")
    async with openai.AsyncOpenAI(**options, timeout=0.5) as hurried:
        waiting = hurried.beta.threads.create_and_run_stream(assistant_id=silent.id, thread=ASKED, event_handler=failing)
        with pytest.raises(Exception):  # noqa: B017 (what it is differs from release to release; the callbacks tell)
            async with waiting as stream:
                await stream.until_done()
    assert failing.names >= TROUBLE_CALLBACKS | {"on_end"}
    await beta.threads.runs.cancel(failing.current_run.id, thread_id=failing.current_run.thread_id)
    assert calling.names | answering.names | failing.names == callbacks(AsyncAssistantEventHandler) - NEVER_FIRED


async def test_the_helpers_of_a_stream(beta, assistant, thread):
    helper = await assistant("answers")
    async with beta.threads.runs.stream(thread_id=thread.id, assistant_id=helper.id) as stream:
        assert [text async for text in stream.text_deltas] == ["It is ", "warm ", "in Lisbon."]
        assert (await stream.get_final_run()).status == "completed"
        (message,) = await stream.get_final_messages()
        (step,) = await stream.get_final_run_steps()
    assert await beta.threads.messages.retrieve(message.id, thread_id=thread.id) == message
    assert step.step_details.message_creation.message_id == message.id
    async with beta.threads.runs.create_and_stream(thread_id=thread.id, assistant_id=helper.id) as stream:
        names = [event.event async for event in stream]
    assert (names[0], names[-1]) == ("thread.run.created", "thread.run.completed")


async def test_a_run_cancelled_in_the_middle_of_its_stream(beta, assistant, thread):
    helper = await assistant("never-finishes")
    async with beta.threads.runs.stream(thread_id=thread.id, assistant_id=helper.id) as stream:
        texts = []
        async for text in stream.text_deltas:
            texts.append(text)
            if len(texts) == 2:
                await beta.threads.runs.cancel(stream.current_run.id, thread_id=thread.id)
        assert (await stream.get_final_run()).status == "cancelled"


async def test_a_task_that_is_cancelled_leaves_its_run_to_be_polled(beta, assistant, thread):
    helper = await assistant("never-finishes")
    begun = asyncio.Event()

    async def read():
        async with beta.threads.runs.stream(thread_id=thread.id, assistant_id=helper.id) as stream:
            async for _ in stream.text_deltas:
                begun.set()

    reading = asyncio.create_task(read())
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    (run,) = (await beta.threads.runs.list(thread.id)).data
    assert run.status == "in_progress"
    await beta.threads.runs.cancel(run.id, thread_id=thread.id)
    assert (await beta.threads.runs.poll(run.id, thread_id=thread.id)).status == "cancelled"


async def test_errors_have_their_class_code_and_parameter(beta, options):
    with pytest.raises(openai.BadRequestError) as mistyped:
        await beta.threads.create(metadata={"modified": True})
    assert (mistyped.value.code, mistyped.value.param) == ("invalid_type", "metadata.modified")
    async with openai.AsyncOpenAI(**{**options, "api_key": "wrong-key"}) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.beta.assistants.list()


@pytest.mark.parametrize("trouble", ["429", "503", "hang-up"])
async def test_what_is_worth_another_try_is_tried_again(troubled_url, options, trouble):
    async with openai.AsyncOpenAI(**{**options, "base_url": troubled_url(trouble, 2), "max_retries": 2}) as patient:
        assert (await patient.beta.threads.create(metadata={"after": trouble})).metadata == {"after": trouble}


@pytest.mark.parametrize(
    ("trouble", "kind"), [("429", openai.RateLimitError), ("503", openai.InternalServerError), ("stall", openai.APITimeoutError)]
)
async def test_what_a_client_without_retries_raises(troubled_url, options, trouble, kind):
    timeout = 0.5 if trouble == "stall" else 10
    async with openai.AsyncOpenAI(**{**options, "base_url": troubled_url(trouble, 1)}, timeout=timeout) as hasty:
        with pytest.raises(kind):
            await hasty.beta.assistants.list()
