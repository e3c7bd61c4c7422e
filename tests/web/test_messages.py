"""Messages: create, read, change, delete, and lists of one run's."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest

from tests.scripted_engine import Call, Reply


@pytest.fixture
def thread(client):
    return client.beta.threads.create()


def test_a_string_becomes_one_text_and_the_message_is_complete(client, thread):
    message = client.beta.threads.messages.create(thread.id, role="user", content="Hi", metadata={"a": "b"})
    assert re.fullmatch(r"msg_[A-Za-z0-9]{24}", message.id)
    assert message.to_dict() == {
        "id": message.id,
        "object": "thread.message",
        "created_at": message.created_at,
        "assistant_id": None,
        "thread_id": thread.id,
        "run_id": None,
        "status": "completed",
        "incomplete_details": None,
        "incomplete_at": None,
        "completed_at": message.created_at,
        "role": "user",
        "content": [{"type": "text", "text": {"value": "Hi", "annotations": []}}],
        "attachments": [],
        "metadata": {"a": "b"},
    }
    assert client.beta.threads.messages.retrieve(message.id, thread_id=thread.id) == message


def test_parts_and_attachments_are_echoed(client, thread):
    parts: Any = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_file", "image_file": {"file_id": "file-1", "detail": "high"}},
    ]
    attachments: Any = [{"file_id": "file-2", "tools": [{"type": "file_search"}, {"type": "code_interpreter"}]}]
    message = client.beta.threads.messages.create(thread.id, role="assistant", content=parts, attachments=attachments)
    shown = message.to_dict()
    assert shown["content"] == [
        {"type": "text", "text": {"value": "Look", "annotations": []}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "auto"}},
        parts[2],
    ]
    assert (shown["attachments"], shown["role"], shown["assistant_id"]) == (attachments, "assistant", None)


def test_modify_changes_metadata_only_and_keeps_the_place(client, thread):
    ids = [client.beta.threads.messages.create(thread.id, role="user", content=str(number)).id for number in range(3)]
    before = client.beta.threads.messages.retrieve(ids[1], thread_id=thread.id)
    changed = client.beta.threads.messages.update(ids[1], thread_id=thread.id, metadata={"a": "b"})
    assert changed.to_dict() == {**before.to_dict(), "metadata": {"a": "b"}}
    assert client.beta.threads.messages.update(ids[1], thread_id=thread.id) == changed
    listed = client.beta.threads.messages.list(thread.id, order="asc").data
    assert [one.id for one in listed] == ids and listed[1] == changed


def test_delete_and_what_is_left(client, thread):
    ids = [client.beta.threads.messages.create(thread.id, role="user", content=str(number)).id for number in range(3)]
    answer = client.beta.threads.messages.delete(ids[1], thread_id=thread.id)
    assert answer.to_dict() == {"id": ids[1], "object": "thread.message.deleted", "deleted": True}
    assert [one.id for one in client.beta.threads.messages.list(thread.id, order="asc")] == [ids[0], ids[2]]
    for again in (client.beta.threads.messages.delete, client.beta.threads.messages.retrieve, client.beta.threads.messages.update):
        with pytest.raises(openai.NotFoundError, match=re.escape(f"No message found with id '{ids[1]}'.")):
            again(ids[1], thread_id=thread.id)
    after = client.beta.threads.messages.list(thread.id, order="asc", after=ids[1])
    assert [one.id for one in after] == [ids[2]], "the cursor of a deleted message still says where"


def test_the_messages_of_one_run(client, engine, thread):
    assistant = client.beta.assistants.create(
        model="scripted-chat", instructions="Answer.", tools=[{"type": "function", "function": {"name": "look"}}]
    )
    engine.script(Reply(["One"]), Reply(["Two"], calls=[Call("look")]), Reply(["Three"]))
    first = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    second = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    (call,) = second.required_action.submit_tool_outputs.tool_calls
    client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=second.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": call.id, "output": "x"}]
    )

    def texts(run_id, **query):
        return [one.content[0].text.value for one in client.beta.threads.messages.list(thread.id, run_id=run_id, **query)]

    assert texts(first.id) == ["One"]
    assert texts(second.id) == ["Three", "Two"]
    assert texts(second.id, order="asc", limit=1) == ["Two", "Three"], "the second page keeps to the run"
    assert texts("run_" + "0" * 24) == []


def test_a_body_too_large_is_told_to_the_official_client(client, thread):
    """Not a reset connection, which it would take for a failure of the network and try again."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.beta.threads.messages.create(thread.id, role="user", content="x" * (9 * 1024 * 1024))
    assert caught.value.status_code == 413
