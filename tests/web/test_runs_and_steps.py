"""Runs and their steps: read, list, change the metadata."""

from __future__ import annotations

import re

import openai
import pytest


def test_a_new_run_has_every_default(client, engine):
    assistant = client.beta.assistants.create(model="scripted-chat", instructions="Answer.", metadata={"of": "the assistant"})
    thread = client.beta.threads.create()
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    assert re.fullmatch(r"run_[A-Za-z0-9]{24}", run.id)
    assert run.to_dict() == {
        "id": run.id,
        "object": "thread.run",
        "created_at": run.created_at,
        "assistant_id": assistant.id,
        "thread_id": thread.id,
        "status": "queued",
        "started_at": None,
        "expires_at": run.created_at + 600,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "required_action": None,
        "last_error": None,
        "model": "scripted-chat",
        "instructions": "Answer.",
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "reasoning_effort": None,
        "max_completion_tokens": None,
        "max_prompt_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "incomplete_details": None,
        "usage": None,
        "response_format": "auto",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }
    client.beta.threads.runs.poll(run.id, thread_id=thread.id)


def test_list_newest_first(client, objects):
    assert [run.id for run in client.beta.threads.runs.list(objects.thread)] == [objects.run]
    assert client.beta.threads.runs.list(objects.other).data == []


def test_modify_replaces_metadata_and_nothing_else(client, engine):
    assistant = client.beta.assistants.create(model="scripted-chat", instructions="Answer.")
    run = client.beta.threads.create_and_run_poll(assistant_id=assistant.id, metadata={"a": "1"})
    changed = client.beta.threads.runs.update(run.id, thread_id=run.thread_id, metadata={"b": "2"})
    assert changed.to_dict() == {**run.to_dict(), "metadata": {"b": "2"}}
    assert client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id) == changed


def test_steps_of_a_run(client, objects):
    steps = client.beta.threads.runs.steps.list(objects.run, thread_id=objects.thread).data
    assert [step.type for step in steps] == ["message_creation", "tool_calls"], "newest first"
    assert all(re.fullmatch(r"step_[A-Za-z0-9]{24}", step.id) for step in steps)
    for step in steps:
        assert client.beta.threads.runs.steps.retrieve(step.id, thread_id=objects.thread, run_id=objects.run) == step
        assert (step.status, step.run_id, step.thread_id, step.last_error) == ("completed", objects.run, objects.thread, None)
        assert step.usage.total_tokens == 18 and step.completed_at is not None
    (call,) = steps[1].step_details.tool_calls
    assert call.function.to_dict() == {"name": "look", "arguments": "{}", "output": "x"}


def test_include_is_accepted(client, objects):
    include = ["step_details.tool_calls[*].file_search.results[*].content"]
    plain = client.beta.threads.runs.steps.list(objects.run, thread_id=objects.thread).data
    assert client.beta.threads.runs.steps.list(objects.run, thread_id=objects.thread, include=include).data == plain
    step = client.beta.threads.runs.steps.retrieve(objects.step, thread_id=objects.thread, run_id=objects.run, include=include)
    assert step == plain[1]


def test_a_step_of_another_run(client, objects, engine):
    other = client.beta.threads.create_and_run_poll(assistant_id=objects.assistant, poll_interval_ms=20)
    with pytest.raises(openai.NotFoundError, match=re.escape(f"No run step found with id '{objects.step}'.")):
        client.beta.threads.runs.steps.retrieve(objects.step, thread_id=other.thread_id, run_id=other.id)
