"""Assistants: create, read, change, delete. The client checks every object against the official schema."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest


def test_defaults(client):
    made = client.beta.assistants.create(model="local")
    assert re.fullmatch(r"asst_[A-Za-z0-9]{24}", made.id)
    assert made.to_dict() == {
        "id": made.id,
        "object": "assistant",
        "created_at": made.created_at,
        "name": None,
        "description": None,
        "model": "local",
        "instructions": None,
        "tools": [],
        "top_p": 1.0,
        "temperature": 1.0,
        "reasoning_effort": None,
        "tool_resources": {},
        "metadata": {},
        "response_format": "auto",
    }
    assert client.beta.assistants.retrieve(made.id) == made


def test_everything_given_comes_back(client):
    tools: Any = [
        {"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object"}, "strict": True}},
        {"type": "code_interpreter"},
    ]
    given: Any = {
        "model": "local",
        "name": "n" * 256,
        "description": "ä" * 512,
        "instructions": "x" * 256_000,
        "tools": tools,
        "tool_resources": {"code_interpreter": {"file_ids": ["file-1"]}},
        "metadata": {str(number): "v" * 512 for number in range(16)},
        "temperature": 2,
        "top_p": 0,
        "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
    }
    made = client.beta.assistants.create(**given)
    shown = client.beta.assistants.retrieve(made.id).to_dict()
    assert {name: shown[name] for name in given} == given


def test_tools_are_normalised(client):
    tools: Any = [{"type": "function", "function": {"name": "f"}}, {"type": "file_search"}]
    made = client.beta.assistants.create(model="local", tools=tools)
    ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}
    assert [tool.to_dict() for tool in made.tools] == [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}},
        {"type": "file_search", "file_search": {"ranking_options": ranking}},
    ]


def test_modify_changes_only_what_is_given_and_replaces_metadata(client):
    made = client.beta.assistants.create(model="local", name="One", instructions="Rules.", metadata={"a": "1", "b": "2"})
    changed = client.beta.assistants.update(made.id, name="Two", metadata={"c": "3"})
    assert changed.to_dict() == {**made.to_dict(), "name": "Two", "metadata": {"c": "3"}}
    assert client.beta.assistants.retrieve(made.id) == changed
    assert client.beta.assistants.update(made.id) == changed
    assert client.beta.assistants.update(made.id, metadata={}).metadata == {}


def test_delete(client):
    made = client.beta.assistants.create(model="local")
    assert client.beta.assistants.delete(made.id).to_dict() == {"id": made.id, "object": "assistant.deleted", "deleted": True}
    for again in (client.beta.assistants.delete, client.beta.assistants.retrieve, client.beta.assistants.update):
        with pytest.raises(openai.NotFoundError, match=re.escape(f"No assistant found with id '{made.id}'.")):
            again(made.id)
    assert made.id not in [one.id for one in client.beta.assistants.list()]
