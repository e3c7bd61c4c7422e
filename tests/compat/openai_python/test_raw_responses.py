"""`with_raw_response` and `with_streaming_response`: the same methods, with the HTTP answer around what they return."""

from __future__ import annotations

import functools

import pytest

from tests.compat.openai_python.stream_events import WEATHER, outputs, text_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ASKED = {"messages": [{"role": "user", "content": "How warm is it in Lisbon?"}]}


def _checked(response):
    assert response.status_code == 200
    assert response.headers["x-request-id"].startswith("req_")
    return response.parse()


def raw(resource, method, *arguments, **options):
    return _checked(getattr(resource.with_raw_response, method)(*arguments, **options))


def streaming(resource, method, *arguments, **options):
    with getattr(resource.with_streaming_response, method)(*arguments, **options) as response:
        return _checked(response)


async def async_raw(resource, method, *arguments, **options):
    return _checked(await getattr(resource.with_raw_response, method)(*arguments, **options))


async def async_streaming(resource, method, *arguments, **options):
    async with getattr(resource.with_streaming_response, method)(*arguments, **options) as response:
        assert response.status_code == 200
        return await response.parse()


@pytest.mark.parametrize("form", [raw, streaming])
def test_every_method_of_the_sync_client(client, form):
    beta, runs = client.beta, client.beta.threads.runs
    assistants, threads, messages, steps = (
        functools.partial(form, resource) for resource in (beta.assistants, beta.threads, beta.threads.messages, runs.steps)
    )
    calling = assistants("create", model="calls-a-function", tools=[WEATHER])
    stuck = assistants("create", model="never-finishes")
    assert assistants("retrieve", calling.id).id == calling.id
    assert assistants("update", calling.id, name="Weather").name == "Weather"
    assert [one.id for one in assistants("list", limit=2).data] == [stuck.id, calling.id]

    thread = threads("create", **ASKED)
    assert threads("retrieve", thread.id).id == thread.id
    assert threads("update", thread.id, metadata={"a": "b"}).metadata == {"a": "b"}
    message = messages("create", thread.id, role="user", content="And in Porto?")
    assert messages("retrieve", message.id, thread_id=thread.id).id == message.id
    assert messages("update", message.id, thread_id=thread.id, metadata={"a": "b"}).metadata == {"a": "b"}
    assert messages("list", thread.id).data[0].id == message.id
    assert messages("delete", message.id, thread_id=thread.id).deleted

    created = form(runs, "create", thread.id, assistant_id=calling.id)
    waiting = runs.poll(created.id, thread_id=thread.id)
    form(runs, "submit_tool_outputs", created.id, thread_id=thread.id, tool_outputs=outputs(waiting, "21 C"))
    runs.poll(created.id, thread_id=thread.id)
    assert form(runs, "retrieve", created.id, thread_id=thread.id).status == "completed"
    assert form(runs, "update", created.id, thread_id=thread.id, metadata={"a": "b"}).metadata == {"a": "b"}
    assert form(runs, "list", thread.id).data[0].id == created.id
    step = steps("list", created.id, thread_id=thread.id).data[0]
    assert steps("retrieve", step.id, thread_id=thread.id, run_id=created.id).id == step.id

    endless = threads("create_and_run", assistant_id=stuck.id, thread=ASKED)
    assert form(runs, "cancel", endless.id, thread_id=endless.thread_id).status == "cancelling"
    assert threads("delete", thread.id).deleted
    assert assistants("delete", calling.id).deleted


@pytest.mark.anyio
@pytest.mark.parametrize("form", [async_raw, async_streaming])
async def test_every_method_of_the_async_client(async_client, form):
    beta, runs = async_client.beta, async_client.beta.threads.runs
    assistants, threads, messages, steps = (
        functools.partial(form, resource) for resource in (beta.assistants, beta.threads, beta.threads.messages, runs.steps)
    )
    calling = await assistants("create", model="calls-a-function", tools=[WEATHER])
    stuck = await assistants("create", model="never-finishes")
    assert (await assistants("retrieve", calling.id)).id == calling.id
    assert (await assistants("update", calling.id, name="Weather")).name == "Weather"
    assert [one.id for one in (await assistants("list", limit=2)).data] == [stuck.id, calling.id]

    thread = await threads("create", **ASKED)
    assert (await threads("retrieve", thread.id)).id == thread.id
    assert (await threads("update", thread.id, metadata={"a": "b"})).metadata == {"a": "b"}
    message = await messages("create", thread.id, role="user", content="And in Porto?")
    assert (await messages("retrieve", message.id, thread_id=thread.id)).id == message.id
    assert (await messages("update", message.id, thread_id=thread.id, metadata={"a": "b"})).metadata == {"a": "b"}
    assert (await messages("list", thread.id)).data[0].id == message.id
    assert (await messages("delete", message.id, thread_id=thread.id)).deleted

    created = await form(runs, "create", thread.id, assistant_id=calling.id)
    waiting = await runs.poll(created.id, thread_id=thread.id)
    await form(runs, "submit_tool_outputs", created.id, thread_id=thread.id, tool_outputs=outputs(waiting, "21 C"))
    await runs.poll(created.id, thread_id=thread.id)
    assert (await form(runs, "retrieve", created.id, thread_id=thread.id)).status == "completed"
    assert (await form(runs, "update", created.id, thread_id=thread.id, metadata={"a": "b"})).metadata == {"a": "b"}
    assert (await form(runs, "list", thread.id)).data[0].id == created.id
    step = (await steps("list", created.id, thread_id=thread.id)).data[0]
    assert (await steps("retrieve", step.id, thread_id=thread.id, run_id=created.id)).id == step.id

    endless = await threads("create_and_run", assistant_id=stuck.id, thread=ASKED)
    assert (await form(runs, "cancel", endless.id, thread_id=endless.thread_id)).status == "cancelling"
    assert (await threads("delete", thread.id)).deleted
    assert (await assistants("delete", calling.id)).deleted


def test_a_stream_behind_a_raw_response(client):
    helper = client.beta.assistants.create(model="answers")
    response = client.beta.threads.with_raw_response.create_and_run(assistant_id=helper.id, thread=ASKED, stream=True)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [event.event for event in response.parse()][-1] == "thread.run.completed"


def test_the_bytes_of_a_stream(client):
    helper = client.beta.assistants.create(model="answers")
    thread = client.beta.threads.create(**ASKED)
    with client.beta.threads.runs.with_streaming_response.create(thread.id, assistant_id=helper.id, stream=True) as response:
        lines = [line for line in response.iter_lines() if line and not line.startswith(":")]
    assert lines[0] == "event: thread.run.created"
    assert lines[-2:] == ["event: done", "data: [DONE]"]
    assert text_of(client.beta.threads.messages.list(thread.id).data[0]) == "It is warm in Lisbon."
