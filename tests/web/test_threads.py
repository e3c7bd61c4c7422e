"""Threads: create, read, change, delete."""

from __future__ import annotations

import re

import openai
import pytest


def test_defaults(client):
    thread = client.beta.threads.create()
    assert re.fullmatch(r"thread_[A-Za-z0-9]{24}", thread.id)
    expected = {"id": thread.id, "object": "thread", "created_at": thread.created_at, "metadata": {}, "tool_resources": {}}
    assert thread.to_dict() == expected
    assert client.beta.threads.retrieve(thread.id) == thread
    assert client.beta.threads.messages.list(thread.id).data == []


def test_first_messages_keep_their_order(client):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": str(number)} for number in range(5)], metadata={"a": "b"})
    assert thread.metadata == {"a": "b"}
    messages = client.beta.threads.messages.list(thread.id, order="asc").data
    assert [message.content[0].text.value for message in messages] == ["0", "1", "2", "3", "4"]


def test_modify_changes_only_what_is_given(client):
    thread = client.beta.threads.create(metadata={"a": "1"}, tool_resources={"code_interpreter": {"file_ids": ["file-1"]}})
    changed = client.beta.threads.update(thread.id, metadata={"b": "2"})
    assert changed.to_dict() == {**thread.to_dict(), "metadata": {"b": "2"}}
    assert client.beta.threads.retrieve(thread.id) == changed == client.beta.threads.update(thread.id)
    emptied = client.beta.threads.update(thread.id, tool_resources={})
    assert emptied.to_dict() == {**changed.to_dict(), "tool_resources": {}}


def test_delete_takes_everything_in_it(client):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}])
    (message,) = client.beta.threads.messages.list(thread.id).data
    assert client.beta.threads.delete(thread.id).to_dict() == {"id": thread.id, "object": "thread.deleted", "deleted": True}
    for call in (
        lambda: client.beta.threads.retrieve(thread.id),
        lambda: client.beta.threads.delete(thread.id),
        lambda: client.beta.threads.update(thread.id, metadata={}),
        lambda: client.beta.threads.messages.list(thread.id),
        lambda: client.beta.threads.messages.retrieve(message.id, thread_id=thread.id),
        lambda: client.beta.threads.messages.create(thread.id, role="user", content="Hi"),
        lambda: client.beta.threads.runs.list(thread.id),
    ):
        with pytest.raises(openai.NotFoundError, match=re.escape(f"No thread found with id '{thread.id}'.")):
            call()


def test_there_is_no_list_of_threads(http):
    assert http.get("/v1/threads").error[0] == 405
