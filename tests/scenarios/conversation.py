"""The words in which the scenarios are told: an assistant with two functions, a thread with a question, and what a run streamed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import openai
import pytest

from tests.raw_http import Event, Http
from tests.scripted_engine import Call

INSTRUCTIONS = "Answer about the weather."
QUESTION = "How is the weather in Lisbon?"


def function(name: str) -> Any:
    """The definition of a function with one string parameter."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "description": f"{name} of a city", "parameters": parameters}}


WEATHER = function("get_weather")
TIME = function("get_time")

LISBON = Call("get_weather", ['{"city":', '"Lisbon"}'])
PORTO = Call("get_time", ['{"city":', '"Porto"}'])

#: The beginning of every run that streams text, and of every one that calls a function.
RUN_STARTS = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
MESSAGE_STARTS = ["thread.run.step.created", "thread.run.step.in_progress", "thread.message.created", "thread.message.in_progress"]
MESSAGE = [*MESSAGE_STARTS, "thread.message.delta", "thread.message.completed", "thread.run.step.completed"]
CALLS = ["thread.run.step.created", "thread.run.step.in_progress", "thread.run.step.delta"]
COMPLETED = ["thread.run.completed", "done"]
WAITS = ["thread.run.requires_action", "done"]
RESUMED = ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]


def order(events: Iterable[Any]) -> list[str]:
    """The names of events in their order; several deltas in a row count as one."""
    names = [event.name if isinstance(event, Event) else event.event for event in events]
    return [name for name, group in groupby(names) for _ in ([None] if name.endswith(".delta") else group)]


def followed(http: Http, run: Any) -> list[Event]:
    """Everything that a run streamed, once it is over."""
    with http.stream("GET", f"/v1/threads/{run.thread_id}/runs/{run.id}/events") as stream:
        assert stream.status == 200
        return list(stream)


def reach(http: Http, run: Any, name: str) -> list[Event]:
    """What a run streamed up to the first event of this name, as soon as it is there."""
    with http.stream("GET", f"/v1/threads/{run.thread_id}/runs/{run.id}/events") as stream:
        return stream.until(name)


def ended(client: Any, http: Http, run: Any) -> Any:
    """The run, once it is over."""
    followed(http, run)
    return client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)


def outputs(run: Any, *values: str) -> Any:
    """The outputs of the calls that a run waits for, in their order."""
    calls = run.required_action.submit_tool_outputs.tool_calls
    return [{"tool_call_id": call.id, "output": value} for call, value in zip(calls, values, strict=True)]


def last_message(client: Any, thread_id: str) -> Any:
    return client.beta.threads.messages.list(thread_id, limit=1).data[0]


def text_of(message: Any) -> str:
    return "".join(part.text.value for part in message.content)


def steps_of(client: Any, run: Any) -> list[Any]:
    """The steps of a run, oldest first."""
    return list(client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc"))


def refused(call: Any, *args: Any, **kwargs: Any) -> tuple[int, str]:
    """Status and message with which the server refuses a call."""
    with pytest.raises(openai.APIStatusError) as caught:
        call(*args, **kwargs)
    body: Any = caught.value.body
    assert set(body) == {"message", "type", "param", "code"}
    return caught.value.status_code, body["message"]


def still_works(client: Any, http: Http, thread_id: str, assistant_id: str) -> None:
    """The thread is free again: it takes a message, and the next run on it answers."""
    client.beta.threads.messages.create(thread_id, role="user", content="And now?")
    run = client.beta.threads.runs.create(thread_id, assistant_id=assistant_id)
    assert ended(client, http, run).status == "completed"
    assert text_of(last_message(client, thread_id)) == "Hello from the script."
