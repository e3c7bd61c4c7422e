"""Pages: every list is told whole, in order and once, whatever the page's size, and by either cursor."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def many(shared_client):
    """A thread with 250 messages, and their ids, oldest first."""
    messages = [{"role": "user", "content": str(number)} for number in range(250)]
    thread = shared_client.beta.threads.create(messages=messages)
    listed = list(shared_client.beta.threads.messages.list(thread.id, order="asc", limit=100))
    assert [one.content[0].text.value for one in listed] == [str(number) for number in range(250)]
    return thread.id, [one.id for one in listed]


@pytest.mark.parametrize("limit", [7, 50, 100, None])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_client_pages_through_all(client, many, order, limit):
    thread_id, ids = many
    query = {} if limit is None else {"limit": limit}
    found = [one.id for one in client.beta.threads.messages.list(thread_id, order=order, **query)]
    assert found == (ids if order == "asc" else ids[::-1])


@pytest.mark.anyio
async def test_the_async_client_pages_through_all(async_client, many):
    thread_id, ids = many
    assert [one.id async for one in async_client.beta.threads.messages.list(thread_id, order="asc", limit=60)] == ids
    assert [one.id async for one in async_client.beta.threads.messages.list(thread_id)] == ids[::-1]


def page(http, thread_id, query):
    answer = http.get(f"/v1/threads/{thread_id}/messages?{query}").json
    found = [one["id"] for one in answer["data"]]
    assert (answer["object"], answer["first_id"], answer["last_id"]) == ("list", found[0] if found else None, found[-1] if found else None)
    return found, answer["has_more"]


def test_a_page_is_twenty_newest_first(http, many):
    thread_id, ids = many
    assert page(http, thread_id, "") == (ids[:-21:-1], True)
    assert page(http, thread_id, "limit=&order=&after=&before=") == (ids[:-21:-1], True), "an empty parameter is none"


def test_has_more_is_exact(http, many):
    thread_id, ids = many
    assert page(http, thread_id, f"order=asc&limit=10&after={ids[239]}") == (ids[240:], False)
    assert page(http, thread_id, f"order=asc&limit=10&after={ids[238]}") == (ids[239:249], True)
    assert page(http, thread_id, f"order=asc&after={ids[249]}") == ([], False)
    assert page(http, thread_id, f"after={ids[0]}") == ([], False)


def test_before_is_the_page_that_ends_just_before_the_cursor(http, many):
    thread_id, ids = many
    assert page(http, thread_id, f"order=asc&limit=10&before={ids[100]}")[0] == ids[90:100]
    assert page(http, thread_id, f"order=desc&limit=10&before={ids[100]}")[0] == ids[110:100:-1]
    assert page(http, thread_id, f"order=asc&before={ids[0]}") == ([], False)


def test_both_cursors_are_the_window_between(http, many):
    thread_id, ids = many
    assert page(http, thread_id, f"order=asc&after={ids[100]}&before={ids[106]}") == (ids[101:106], False)
    assert page(http, thread_id, f"order=desc&after={ids[106]}&before={ids[100]}") == (ids[105:100:-1], False)
    assert page(http, thread_id, f"order=asc&limit=3&after={ids[100]}&before={ids[106]}") == (ids[101:104], True)


def test_messages_that_are_added_while_one_pages_do_not_move_the_pages(client):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": str(number)} for number in range(6)])
    first = client.beta.threads.messages.list(thread.id, limit=3)
    client.beta.threads.messages.create(thread.id, role="user", content="new")
    texts = [one.content[0].text.value for one in [*first.data, *first.get_next_page().data]]
    assert texts == ["5", "4", "3", "2", "1", "0"]


def test_assistants_and_runs_and_steps_have_pages_too(client, http, engine):
    made = [client.beta.assistants.create(model="scripted-chat", instructions="x", name=str(number)) for number in range(5)]
    found = [one.id for one in client.beta.assistants.list(limit=2, before=made[0].id, order="desc")]
    assert made[0].id not in found
    newest = client.beta.assistants.list(limit=3).data
    assert [one.name for one in newest] == ["4", "3", "2"]
    assert [one.name for one in client.beta.assistants.list(limit=2, after=newest[-1].id).data] == ["1", "0"]

    thread = client.beta.threads.create()
    runs = [client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=made[0].id, poll_interval_ms=10) for _ in range(3)]
    ids = [run.id for run in runs]
    assert [run.id for run in client.beta.threads.runs.list(thread.id, limit=1)] == ids[::-1]
    assert [run.id for run in client.beta.threads.runs.list(thread.id, limit=2, order="asc", after=ids[0])] == ids[1:]
    (step,) = client.beta.threads.runs.steps.list(ids[0], thread_id=thread.id, limit=1)
    assert client.beta.threads.runs.steps.list(ids[0], thread_id=thread.id, after=step.id).data == []


def test_an_empty_list(http, client):
    thread = client.beta.threads.create()
    for noun in ("messages", "runs"):
        answer = http.get(f"/v1/threads/{thread.id}/{noun}").json
        assert answer == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
