"""Threads of any shape with models whose chat template is strict: no thread is ever dead."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scripted_engine import AnyReply, Reply, ScriptedEngine, http_error


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def assistant(text: str) -> Any:
    return {"role": "assistant", "content": text}


def strict(request: dict[str, Any]) -> AnyReply:
    """A template as Gemma's, which knows no system role and wants turns that begin and end with the user."""
    roles = [message["role"] for message in request["messages"]]
    if "system" in roles:
        return http_error(400, "System role not supported", "BadRequestError", 400)
    if roles != ["user" if place % 2 == 0 else "assistant" for place in range(len(roles))]:
        return http_error(400, "Conversation roles must alternate user/assistant/user/assistant/...", "BadRequestError", 400)
    if roles[-1] != "user":
        return http_error(400, "Assistant response prefill is incompatible with this model.", "BadRequestError", 400)
    return Reply("fine")


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("two", [user("Here is my data: 1 2 3"), user("Sum it.")]),
        ("greeting", [assistant("How can I help?"), user("When do you open?")]),
        ("ends", [user("Hello"), assistant("Hello")]),
        ("only", [assistant("Hello")]),
        ("empty", []),
    ],
)
def test_every_thread_is_answered_again_and_again(client: Any, engine: ScriptedEngine, name: str, messages: list[Any]) -> None:
    engine.script(*[strict] * 12)
    model = f"strict-{name}"
    asked = client.beta.assistants.create(model=model, instructions="Be brief.")
    thread = client.beta.threads.create(messages=messages)
    options: Any = {"thread_id": thread.id, "assistant_id": asked.id, "poll_interval_ms": 20}
    for added in ([], [user("And then?"), user("And then?")]):
        run = client.beta.threads.runs.create_and_poll(**options, additional_messages=added)
        assert run.status == "completed", run.last_error
    assert engine.requests[-1]["messages"][0]["content"].startswith("Be brief.")


def test_a_run_that_failed_leaves_no_dead_thread(client: Any, engine: ScriptedEngine) -> None:
    engine.script(http_error(400, "The image is too large.", "invalid_request_error"), *[strict] * 12)
    asked = client.beta.assistants.create(model="strict-failed")
    thread = client.beta.threads.create(messages=[user("one")])
    options: Any = {"thread_id": thread.id, "assistant_id": asked.id, "poll_interval_ms": 20}
    assert client.beta.threads.runs.create_and_poll(**options).status == "failed"
    for question in ("two", "three"):
        client.beta.threads.messages.create(thread.id, **user(question))
        assert client.beta.threads.runs.create_and_poll(**options).status == "completed"
    assert [message["content"] for message in engine.requests[-1]["messages"]] == ["one\n\ntwo", "fine", "three"]


def test_nothing_is_sent_that_nobody_asked_for(client: Any, engine: ScriptedEngine) -> None:
    """A run shows 1.0 for both; some models refuse to be told any."""
    engine.script(Reply("fine"), Reply("fine"))
    asked = client.beta.assistants.create(model="scripted-chat")
    messages: Any = {"messages": [user("hi")]}
    for more in ({}, {"temperature": 1.0, "top_p": 0.5}):
        client.beta.threads.create_and_run_poll(assistant_id=asked.id, thread=messages, poll_interval_ms=20, **more)
    first, second = engine.requests
    assert set(first) == {"model", "messages", "stream", "stream_options"}
    assert set(second) - set(first) == {"top_p"}
