"""From instructions, thread and options to the request that reaches the engine."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from tests.scenarios.conversation import INSTRUCTIONS, LISBON, PORTO, QUESTION, TIME, WEATHER, ended, last_message, outputs, text_of
from tests.scripted_engine import Reply, context_exceeded


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def said(request: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in request["messages"]]


def run_of(client: Any, http: Any, thread: Any, assistant: Any, **options: Any) -> Any:
    return ended(client, http, client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **options))


def test_instructions_and_history_in_order(client, http, assistant, engine):
    thread = client.beta.threads.create(
        messages=[user("One"), {"role": "assistant", "content": "Two"}, {"role": "user", "content": [{"type": "text", "text": "Three"}]}]
    )
    client.beta.threads.messages.create(thread.id, role="user", content="Four")
    run_of(client, http, thread, assistant)
    client.beta.threads.messages.create(thread.id, role="user", content="Six")
    run_of(client, http, thread, assistant, instructions="Other rules.", additional_messages=[user("Seven")])
    first, second = engine.requests
    history = [("user", "One"), ("assistant", "Two"), ("user", "Three"), ("user", "Four")]
    assert said(first) == [("system", INSTRUCTIONS), *history]
    answers = [("assistant", "Hello from the script."), ("user", "Six"), ("user", "Seven")]
    assert said(second) == [("system", "Other rules."), *history, *answers]


def test_additional_instructions_are_appended_and_shown(client, http, thread, assistant, engine):
    run = run_of(client, http, thread, assistant, additional_instructions="Be brief.")
    assert run.instructions == f"{INSTRUCTIONS}\nBe brief."
    assert said(engine.requests[0])[0] == ("system", f"{INSTRUCTIONS}\nBe brief.")


def test_no_instructions_no_system_message(client, http, thread, engine):
    assistant = client.beta.assistants.create(model="scripted-chat")
    assert run_of(client, http, thread, assistant).instructions is None
    assert said(engine.requests[0]) == [("user", QUESTION)]


def test_a_modified_message_is_heard_as_it_is_now_and_a_deleted_one_not_at_all(client, http, assistant, engine):
    thread = client.beta.threads.create(messages=[user("One"), user("Two"), user("Three")])
    two = client.beta.threads.messages.list(thread.id).data[1]
    client.beta.threads.messages.delete(two.id, thread_id=thread.id)
    run_of(client, http, thread, assistant)
    assert said(engine.requests[0])[1:] == [("user", "One"), ("user", "Three")]


def test_images_by_url_and_several_texts(client, http, assistant, engine):
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/street.png", "detail": "low"}},
    ]
    thread = client.beta.threads.create(messages=[{"role": "user", "content": content}])
    two_texts: Any = [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]
    client.beta.threads.messages.create(thread.id, role="user", content=two_texts)
    run_of(client, http, thread, assistant)
    assert said(engine.requests[0])[1:] == [("user", content), ("user", "One\nTwo")]


def test_the_round_trip_of_tool_calls(client, http, thread, assistant, engine):
    own = ["D681PevKs", "call_2"]
    engine.script(Reply(["Let me look."], calls=[replace(LISBON, id=own[0]), replace(PORTO, id=own[1])]))
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tool_choice="required")
    client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C", "noon"))
    ended(client, http, run)
    first, second = engine.requests
    assert first["tools"] == [{"type": "function", "function": dict(tool["function"])} for tool in (WEATHER, TIME)]
    assert (first["tool_choice"], first["parallel_tool_calls"]) == ("required", True)
    assert second["tools"] == first["tools"]
    assert second["tool_choice"] == "auto", "a forced choice holds for the first turn only"
    calls = run.required_action.submit_tool_outputs.tool_calls
    assert second["messages"] == [
        *first["messages"],
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {"id": engine_id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
                for engine_id, call in zip(own, calls, strict=True)
            ],
        },
        {"role": "tool", "tool_call_id": own[0], "content": "21 C"},
        {"role": "tool", "tool_call_id": own[1], "content": "noon"},
    ]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_time"}}], ids=["required", "named"])
def test_a_forced_choice_is_echoed_and_holds_for_the_first_turn(client, http, thread, assistant, engine, choice):
    engine.script(Reply(calls=[PORTO]))
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, tool_choice=choice)
    client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs(run, "noon"))
    run = ended(client, http, run)
    assert (run.tool_choice if isinstance(run.tool_choice, str) else run.tool_choice.to_dict()) == choice
    assert [request["tool_choice"] for request in engine.requests] == [choice, "auto"]


def test_options_reach_the_engine_and_are_echoed(client, http, thread, assistant, engine):
    schema: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}}
    run = run_of(
        client,
        http,
        thread,
        assistant,
        temperature=0.25,
        top_p=0.5,
        max_completion_tokens=300,
        response_format=schema,
        tool_choice="none",
        parallel_tool_calls=False,
        reasoning_effort="low",
        model="other-model",
    )
    (request,) = engine.requests
    assert (request["temperature"], request["top_p"], request["max_tokens"]) == (0.25, 0.5, 300)
    assert request["response_format"] == schema and request["reasoning_effort"] == "low"
    assert (request["tool_choice"], request["parallel_tool_calls"], request["model"]) == ("none", False, "other-model")
    assert (run.temperature, run.top_p, run.max_completion_tokens, run.model) == (0.25, 0.5, 300, "other-model")
    assert run.response_format.to_dict() == schema and run.parallel_tool_calls is False


def test_what_was_not_said_is_not_sent(client, http, thread, engine):
    assistant = client.beta.assistants.create(model="scripted-chat", instructions=INSTRUCTIONS)
    run_of(client, http, thread, assistant)
    (request,) = engine.requests
    assert set(request) == {"model", "messages", "stream", "stream_options"}


def test_the_options_of_the_assistant_are_those_of_its_runs(client, http, thread, engine):
    assistant = client.beta.assistants.create(
        model="scripted-chat", temperature=0.5, top_p=0.75, response_format={"type": "json_object"}, instructions="JSON only."
    )
    run = run_of(client, http, thread, assistant)
    (request,) = engine.requests
    assert (request["temperature"], request["top_p"], request["response_format"]) == (0.5, 0.75, {"type": "json_object"})
    assert (run.temperature, run.top_p, run.response_format.to_dict()) == (0.5, 0.75, {"type": "json_object"})


def test_later_edits_of_the_assistant_do_not_reach_a_run(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON]))
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    client.beta.assistants.update(assistant.id, instructions="Other rules.", model="other-model", tools=[], temperature=0.1)
    client.beta.assistants.delete(assistant.id)
    client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C"))
    run = ended(client, http, run)
    assert (run.status, run.instructions, run.model) == ("completed", INSTRUCTIONS, "scripted-chat")
    first, second = engine.requests
    assert (second["model"], second["tools"], "temperature" in second) == (first["model"], first["tools"], False)
    assert second["messages"][: len(first["messages"])] == first["messages"]


def test_truncation_to_the_last_messages(client, http, assistant, engine):
    thread = client.beta.threads.create(messages=[user(str(number)) for number in range(10)])
    run = run_of(client, http, thread, assistant, truncation_strategy={"type": "last_messages", "last_messages": 3})
    assert said(engine.requests[0]) == [("system", INSTRUCTIONS), ("user", "7"), ("user", "8"), ("user", "9")]
    assert run.truncation_strategy.to_dict() == {"type": "last_messages", "last_messages": 3}


def test_a_prompt_that_the_engine_finds_too_long_is_tried_again_with_less_of_the_history(client, http, assistant, engine):
    messages = [user(f"{number} " + "word " * 180) for number in range(30)]
    thread = client.beta.threads.create(messages=messages)
    engine.script(context_exceeded(), context_exceeded())
    run = run_of(client, http, thread, assistant)
    assert run.status == "completed"
    counts = [len(request["messages"]) for request in engine.requests]
    assert len(counts) == 3 and counts[0] > counts[1] > counts[2] >= 2
    for request in engine.requests:
        assert said(request)[0] == ("system", INSTRUCTIONS)
        assert request["messages"][-1]["content"].startswith("29 "), "the newest message stays"
    assert len(client.beta.threads.messages.list(thread.id, limit=100).data) == 31, "the thread itself keeps everything"


def test_a_prompt_that_never_fits_fails_the_run(client, http, thread, assistant, engine):
    engine.script(*[context_exceeded(prompt_tokens=5000, context_tokens=4096)] * 4)
    run = run_of(client, http, thread, assistant)
    assert (run.status, run.last_error.code) == ("failed", "invalid_prompt")
    assert run.last_error.message == "The prompt does not fit the model's context of 4096 tokens: it has 5000."


def test_the_limit_on_prompt_tokens_drops_old_messages_and_then_ends_the_run(client, http, assistant, engine):
    thread = client.beta.threads.create(messages=[user(f"{number} " + "x" * 300) for number in range(10)])
    assert run_of(client, http, thread, assistant, max_prompt_tokens=600).status == "completed"
    heard = [re.match(r"\d+", text)[0] for role, text in said(engine.requests[0]) if role == "user"]
    assert 1 <= len(heard) < 10 and heard == [str(number) for number in range(10 - len(heard), 10)]

    client.beta.threads.messages.create(thread.id, role="user", content="x" * 3000)
    run = run_of(client, http, thread, assistant, max_prompt_tokens=256)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_prompt_tokens")
    assert len(engine.requests) == 1
    assert text_of(last_message(client, thread.id)) == "x" * 3000


def test_the_engines_key_is_not_the_callers(client, http, thread, assistant, engine):
    run_of(client, http, thread, assistant)
    assert "test-key" not in engine.headers[0].get("authorization", "")
