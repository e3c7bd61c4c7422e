"""What an active run forbids, and in which words: programs parse them (behaviour.md, section 8)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.scenarios.conversation import (
    LISBON,
    PORTO,
    QUESTION,
    ended,
    followed,
    order,
    outputs,
    reach,
    refused,
    steps_of,
    text_of,
)
from tests.scripted_engine import Hang, Reply


@pytest.fixture
def working(client, thread, assistant, engine):
    """A run that the engine leaves hanging."""
    engine.script(Hang())
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    engine.wait_for_requests(1)
    yield run
    engine.release()


@pytest.fixture
def waiting(client, http, thread, assistant, engine):
    """A run that waits for the outputs of two calls."""
    engine.script(Reply(calls=[LISBON, PORTO]))
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    reach(http, run, "thread.run.requires_action")
    return client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)


def check_locked(client, run, assistant):
    thread_id = run.thread_id
    message = f"Can't add messages to {thread_id} while a run {run.id} is active."
    assert refused(client.beta.threads.messages.create, thread_id, role="user", content="Hi") == (400, message)
    message = f"Thread {thread_id} already has an active run {run.id}."
    assert refused(client.beta.threads.runs.create, thread_id, assistant_id=assistant.id) == (400, message)
    extra = [{"role": "user", "content": "Hi"}]
    assert refused(client.beta.threads.runs.create, thread_id, assistant_id=assistant.id, additional_messages=extra) == (400, message)
    assert refused(client.beta.threads.runs.create, thread_id, assistant_id=assistant.id, stream=True) == (400, message)
    assert [text_of(one) for one in client.beta.threads.messages.list(thread_id)] == [QUESTION]
    assert [one.id for one in client.beta.threads.runs.list(thread_id)] == [run.id]


def test_a_working_run_locks_its_thread(client, http, working, assistant, engine):
    check_locked(client, working, assistant)
    engine.release()
    assert ended(client, http, working).status == "completed"
    client.beta.threads.messages.create(working.thread_id, role="user", content="Hi")


def test_a_waiting_run_locks_its_thread(client, waiting, assistant):
    check_locked(client, waiting, assistant)


def test_the_lock_refuses_in_the_documented_envelope(http, working, assistant):
    path = f"/v1/threads/{working.thread_id}"
    message = f"Can't add messages to {working.thread_id} while a run {working.id} is active."
    assert http.post(f"{path}/messages", {"role": "user", "content": "Hi"}).error == (400, message, "invalid_request_error", None, None)
    message = f"Thread {working.thread_id} already has an active run {working.id}."
    answer = http.post(f"{path}/runs", {"assistant_id": assistant.id})
    assert answer.error == (400, message, "invalid_request_error", None, None)


def test_of_two_runs_at_once_one_is_created(client, http, thread, assistant, engine):
    engine.default = Hang()
    with ThreadPoolExecutor(8) as pool:
        body = {"assistant_id": assistant.id}
        answers = list(pool.map(lambda _: http.post(f"/v1/threads/{thread.id}/runs", body), range(8)))
    (created,) = [answer.json for answer in answers if answer.status == 200]
    message = f"Thread {thread.id} already has an active run {created['id']}."
    refusals = [answer.error for answer in answers if answer.status != 200]
    assert refusals == [(400, message, "invalid_request_error", None, None)] * 7
    assert [one.id for one in client.beta.threads.runs.list(thread.id)] == [created["id"]]
    engine.wait_for_requests(1)
    engine.release()
    assert ended(client, http, client.beta.threads.runs.retrieve(created["id"], thread_id=thread.id)).status == "completed"


def test_metadata_can_be_edited_and_messages_deleted_while_a_run_works(client, working, thread):
    (message,) = client.beta.threads.messages.list(thread.id).data
    assert client.beta.threads.messages.update(message.id, thread_id=thread.id, metadata={"a": "b"}).metadata == {"a": "b"}
    assert client.beta.threads.update(thread.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert client.beta.threads.messages.delete(message.id, thread_id=thread.id).deleted


def test_a_working_run_cannot_be_modified(client, working, thread):
    answer = refused(client.beta.threads.runs.update, working.id, thread_id=thread.id, metadata={"a": "b"})
    assert answer == (400, "Cannot update run with status 'in_progress'.")


def test_outputs_for_a_run_that_does_not_wait(client, http, working, thread, engine):
    submit = client.beta.threads.runs.submit_tool_outputs
    given = [{"tool_call_id": "call_x", "output": ""}]
    message = 'Runs in status "in_progress" do not accept tool outputs.'
    assert refused(submit, working.id, thread_id=thread.id, tool_outputs=given) == (400, message)
    assert refused(submit, working.id, thread_id=thread.id, tool_outputs=given, stream=True) == (400, message)
    engine.release()
    assert ended(client, http, working).status == "completed"
    message = 'Runs in status "completed" do not accept tool outputs.'
    assert refused(submit, working.id, thread_id=thread.id, tool_outputs=given) == (400, message)


def test_outputs_that_are_not_those_of_the_calls(client, http, waiting, thread):
    submit = client.beta.threads.runs.submit_tool_outputs
    first, second = (call.id for call in waiting.required_action.submit_tool_outputs.tool_calls)

    def given(*ids):
        return [{"tool_call_id": one, "output": "x"} for one in ids]

    for ids in ([first], [], [first, "call_other"], [first, first], [first, second, second], [first, second, "call_other"]):
        message = f"Expected tool outputs for call_ids {[first, second]}, got {ids}"
        assert refused(submit, waiting.id, thread_id=thread.id, tool_outputs=given(*ids)) == (400, message)
    path = f"/v1/threads/{thread.id}/runs/{waiting.id}/submit_tool_outputs"
    answer = http.post(path, {"tool_outputs": [{"output": "x"}, {"tool_call_id": second}]})
    missing = "tool_outputs[0].tool_call_id"
    text = f"Missing required parameter: '{missing}'."
    assert answer.error == (400, text, "invalid_request_error", missing, "missing_required_parameter")
    assert client.beta.threads.runs.retrieve(waiting.id, thread_id=thread.id) == waiting
    (step,) = steps_of(client, waiting)
    assert (step.status, [call.function.output for call in step.step_details.tool_calls]) == ("in_progress", [None, None])


def test_outputs_may_come_in_any_order_and_empty(client, http, waiting, thread):
    first, second = (call.id for call in waiting.required_action.submit_tool_outputs.tool_calls)
    run = client.beta.threads.runs.submit_tool_outputs(
        waiting.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": second, "output": "noon"}, {"tool_call_id": first}]
    )
    assert (run.status, run.required_action) == ("queued", None)
    assert ended(client, http, run).status == "completed"
    assert [call.function.output for call in steps_of(client, run)[0].step_details.tool_calls] == ["", "noon"]


def test_of_two_submits_at_once_one_is_accepted(client, http, waiting, thread, engine):
    engine.script(Hang())
    body = {"tool_outputs": outputs(waiting, "a", "b")}
    with ThreadPoolExecutor(4) as pool:
        path = f"/v1/threads/{thread.id}/runs/{waiting.id}/submit_tool_outputs"
        answers = list(pool.map(lambda _: http.post(path, body), range(4)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400]
    refusals = {answer.error[1] for answer in answers if answer.status == 400}
    assert refusals <= {f'Runs in status "{status}" do not accept tool outputs.' for status in ("queued", "in_progress")}
    engine.wait_for_requests(2)
    engine.release()
    names = order(followed(http, waiting))
    assert names.count("thread.run.step.completed") == 2 and names[-1] == "thread.run.completed"


def test_a_thread_without_a_user_message_needs_instructions(client, http, engine):
    assistant = client.beta.assistants.create(model="scripted-chat")
    thread = client.beta.threads.create(messages=[{"role": "assistant", "content": "Welcome."}])
    text = "Run creation requires a Thread with a user message or an assistant with instructions."
    expected = (400, text, "invalid_request_error", None, "invalid_thread")
    assert http.post(f"/v1/threads/{thread.id}/runs", {"assistant_id": assistant.id}).error == expected
    assert http.post("/v1/threads/runs", {"assistant_id": assistant.id}).error == expected
    assert http.post("/v1/threads/runs", {"assistant_id": assistant.id, "stream": True}).error == expected
    assert client.beta.threads.runs.list(thread.id).data == []
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, instructions="Say hello.")
    assert ended(client, http, run).status == "completed"
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, additional_messages=[{"role": "user", "content": "Hi"}])
    assert ended(client, http, run).status == "completed"
