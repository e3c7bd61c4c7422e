"""Small things that programs came to rely on, as the sync client shows them: the words of errors, what is null when, orders, defaults."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.compat.openai_python.stream_events import WEATHER, outputs, text_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

QUESTION = {"role": "user", "content": "How warm is it in Lisbon?"}
NOWHERE = "0" * 24


@pytest.fixture
def beta(client):
    return client.beta


@pytest.fixture
def assistant(beta):
    """Makes an assistant whose model does as its name says; see answering_engine.py."""
    return lambda model, **options: beta.assistants.create(model=model, tools=[WEATHER], name="Weather", **options)


@pytest.fixture
def thread(beta):
    return beta.threads.create(messages=[QUESTION])


@pytest.fixture
def waiting(beta, assistant, thread):
    """A run that waits for the outputs of two calls."""
    return beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant("calls-two-functions").id)


def refused(method, *arguments, **options):
    """(code, param, message) of what must be a 400."""
    with pytest.raises(openai.BadRequestError) as caught:
        method(*arguments, **options)
    assert caught.value.type == "invalid_request_error"
    return caught.value.code, caught.value.param, caught.value.body["message"]


# --- assistants ----------------------------------------------------------------------------------------------------------------------


def test_an_update_of_one_field_leaves_the_others(beta, assistant):
    made = assistant("answers", instructions="Be brief.", temperature=0.5, metadata={"team": "travel"})
    changed = beta.assistants.update(made.id, name="Climate")
    assert changed.to_dict() == {**made.to_dict(), "name": "Climate"}
    assert beta.assistants.retrieve(made.id) == changed


def test_a_function_without_parameters_gets_some(beta):
    made = beta.assistants.create(model="answers", tools=[{"type": "function", "function": {"name": "now"}}])
    assert made.tools[0].to_dict()["function"] == {"name": "now", "parameters": {"type": "object", "properties": {}}, "strict": False}


# --- refusals ------------------------------------------------------------------------------------------------------------------------


def refusals(client, thread_id, stranger):
    threads = client.beta.threads
    yield 400, lambda: threads.create(extra_body={"colour": "blue"})
    yield 400, lambda: threads.retrieve("undefined")
    yield 400, lambda: threads.runs.list(thread_id, limit=101)
    yield 401, lambda: stranger.beta.threads.retrieve(thread_id)
    yield 404, lambda: threads.retrieve(f"thread_{NOWHERE}")
    yield 404, lambda: threads.runs.create(thread_id, assistant_id=f"asst_{NOWHERE}", stream=True)
    yield 404, lambda: client.models.retrieve("no-such-model")
    yield 404, lambda: client.get("/nowhere", cast_to=object)
    yield 405, lambda: client.put("/threads", cast_to=object)


def test_every_error_has_four_keys_and_a_request_id(client, thread, options):
    stranger = openai.OpenAI(**{**options, "api_key": "wrong-key"})
    for status, refusal in refusals(client, thread.id, stranger):
        with pytest.raises(openai.APIStatusError) as caught:
            refusal()
        assert caught.value.status_code == status
        assert set(caught.value.response.json()) == {"error"}
        assert set(caught.value.response.json()["error"]) == {"message", "type", "param", "code"}
        assert caught.value.request_id == caught.value.response.headers["x-request-id"]
        assert re.fullmatch("req_[0-9a-f]{32}", caught.value.request_id)


def test_another_version_of_the_api(beta):
    expected = ("invalid_beta", None)
    assert refused(beta.threads.create, extra_headers={"OpenAI-Beta": "assistants=v1"})[:2] == expected
    assert refused(beta.assistants.list, extra_headers={"OpenAI-Beta": "assistants=v3"})[:2] == expected


def test_a_wrong_key_is_not_repeated(options):
    with pytest.raises(openai.AuthenticationError, match=r"Incorrect API key provided: sk-\*\*\*99\.") as caught:
        openai.OpenAI(**{**options, "api_key": "sk-secret-of-mine-99"}).beta.threads.create()
    assert caught.value.code == "invalid_api_key"
    assert "secret" not in caught.value.response.text


def test_metadata_of_sixteen_pairs_and_of_seventeen(beta):
    pairs = {f"key{number}": "value" for number in range(16)}
    assert beta.threads.create(metadata=pairs).metadata == pairs
    assert refused(beta.threads.create, metadata={**pairs, "one": "more"}) == (
        "object_above_max_properties",
        "metadata",
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
        "but got an object with 17 properties instead.",
    )


def test_metadata_that_is_no_text(beta):
    assert refused(beta.threads.create, metadata={"modified": True}) == (
        "invalid_type",
        "metadata.modified",
        "Invalid type for 'metadata.modified': expected a string, but got a boolean instead.",
    )


def test_a_parameter_that_there_is_not(beta):
    message = {**QUESTION, "id": "msg_1"}
    expected = ("unknown_parameter", "messages[0].id", "Unknown parameter: 'messages[0].id'.")
    assert refused(beta.threads.create, messages=[message]) == expected


def test_a_run_of_no_assistant(client, thread):
    text = "Missing required parameter: 'assistant_id'."
    for path in (f"/threads/{thread.id}/runs", "/threads/runs"):
        assert refused(client.post, path, cast_to=object, body={}) == ("missing_required_parameter", "assistant_id", text)


def test_an_id_of_something_else(beta, thread):
    text = "Invalid 'thread_id': 'undefined'. Expected an ID that begins with 'thread'."
    assert refused(beta.threads.retrieve, "undefined") == ("invalid_value", "thread_id", text)
    code, param, text = refused(beta.threads.runs.retrieve, thread.id, thread_id=thread.id)
    assert (code, param) == ("invalid_value", "run_id")
    assert text == f"Invalid 'run_id': '{thread.id}'. Expected an ID that begins with 'run'."


# --- threads and messages ------------------------------------------------------------------------------------------------------------


def test_a_thread_from_nothing(beta, client):
    assert beta.threads.create().to_dict().keys() == {"id", "object", "created_at", "metadata", "tool_resources"}
    # With no body at all, as other clients send it.
    assert client.post("/threads", cast_to=object)["object"] == "thread"


def test_first_messages_are_listed_in_order_though_their_times_are_equal(beta):
    thread = beta.threads.create(messages=[{"role": "user", "content": text} for text in ("One", "Two")])
    first, second = beta.threads.messages.list(thread.id, order="asc").data
    assert first.created_at == second.created_at
    assert [text_of(first), text_of(second)] == ["One", "Two"]
    assert [text_of(message) for message in beta.threads.messages.list(thread.id)] == ["Two", "One"]


def test_a_message_as_it_comes_back(beta, thread):
    image = {"type": "image_url", "image_url": {"url": "https://example.com/street.png"}}
    said = beta.threads.messages.create(thread.id, role="user", content="Hi")
    shown = beta.threads.messages.create(thread.id, role="assistant", content=[{"type": "text", "text": "Look"}, image])
    assert said.to_dict()["content"] == [{"type": "text", "text": {"value": "Hi", "annotations": []}}]
    assert (said.status, said.completed_at, said.incomplete_at, said.attachments) == ("completed", said.created_at, None, [])
    assert shown.content[1].image_url.detail == "auto"
    assert (shown.role, shown.assistant_id, shown.run_id) == ("assistant", None, None)


def test_pages_of_a_list(beta):
    thread = beta.threads.create()
    made = [beta.threads.messages.create(thread.id, role="user", content=str(number)).id for number in range(21)]
    page = beta.threads.messages.with_raw_response.list(thread.id).http_response.json()
    assert [message["id"] for message in page["data"]] == made[:0:-1]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", made[20], made[1], True)
    found = [message.id for message in beta.threads.messages.list(thread.id, limit=2)]
    assert found == made[::-1]


def test_an_empty_list(beta, thread):
    answer = beta.threads.runs.with_raw_response.list(thread.id).http_response.json()
    assert answer == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_page_that_is_too_large(beta, thread):
    text = "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead."
    assert refused(beta.threads.messages.list, thread.id, limit=101) == ("integer_above_max_value", "limit", text)


def test_messages_of_one_run(beta, assistant, thread):
    helper = assistant("counts-messages")
    first = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=helper.id)
    second = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=helper.id)
    for run in (first, second):
        (message,) = beta.threads.messages.list(thread.id, run_id=run.id)
        assert (message.run_id, message.assistant_id) == (run.id, helper.id)
    assert len(beta.threads.messages.list(thread.id).data) == 3


# --- runs ----------------------------------------------------------------------------------------------------------------------------


def test_what_a_run_is_before_and_after(beta, assistant, thread):
    new = beta.threads.runs.create(thread.id, assistant_id=assistant("answers").id)
    assert (new.status, new.expires_at, new.started_at, new.completed_at, new.usage) == ("queued", new.created_at + 600, None, None, None)
    done = beta.threads.runs.poll(new.id, thread_id=thread.id)
    assert (done.status, done.expires_at, done.required_action, done.last_error) == ("completed", None, None, None)
    assert new.created_at <= done.started_at <= done.completed_at


def test_the_usage_of_a_run_is_the_sum_of_its_steps(beta, waiting):
    assert waiting.usage is None
    done = beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=waiting.id, thread_id=waiting.thread_id, tool_outputs=outputs(waiting, "21 C", "17 C")
    )
    steps = beta.threads.runs.steps.list(waiting.id, thread_id=waiting.thread_id).data
    assert len(steps) == 2
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(done.usage, count) == sum(getattr(step.usage, count) for step in steps) > 0


def test_what_a_run_overrides_is_echoed_and_the_assistant_stays(beta, assistant, thread):
    helper = assistant("breaks-down", instructions="Be long.", temperature=1.5, metadata={"of": "assistant"})
    given = {
        "model": "answers",
        "instructions": "Be brief.",
        "tools": [{"type": "code_interpreter"}],
        "temperature": 0.5,
        "top_p": 0.25,
        "metadata": {"of": "run"},
        "max_prompt_tokens": 2000,
        "max_completion_tokens": 500,
        "truncation_strategy": {"type": "last_messages", "last_messages": 3},
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "response_format": {"type": "text"},
    }
    run = beta.threads.runs.create(thread.id, assistant_id=helper.id, **given)
    shown = run.to_dict()
    assert {name: shown[name] for name in given} == given
    assert beta.threads.runs.poll(run.id, thread_id=thread.id).status == "completed"
    assert beta.assistants.retrieve(helper.id) == helper


def test_later_edits_of_an_assistant_do_not_change_its_runs(beta, assistant, waiting):
    before = waiting.to_dict()
    beta.assistants.update(waiting.assistant_id, model="breaks-down", instructions="Other.", tools=[], temperature=2)
    assert beta.threads.runs.retrieve(waiting.id, thread_id=waiting.thread_id).to_dict() == before
    done = beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=waiting.id, thread_id=waiting.thread_id, tool_outputs=outputs(waiting, "21 C", "17 C")
    )
    assert (done.status, done.model, done.instructions) == ("completed", "calls-two-functions", None)


def test_nothing_to_answer(beta, assistant):
    helper = assistant("answers")
    text = "Run creation requires a Thread with a user message or an assistant with instructions."
    assert refused(beta.threads.runs.create, beta.threads.create().id, assistant_id=helper.id) == ("invalid_thread", None, text)
    assert refused(beta.threads.create_and_run, assistant_id=helper.id) == ("invalid_thread", None, text)


def test_a_thread_is_busy(beta, waiting):
    thread_id = waiting.thread_id
    text = f"Can't add messages to {thread_id} while a run {waiting.id} is active."
    assert refused(beta.threads.messages.create, thread_id, role="user", content="Hi") == (None, None, text)
    text = f"Thread {thread_id} already has an active run {waiting.id}."
    assert refused(beta.threads.runs.create, thread_id, assistant_id=waiting.assistant_id) == (None, None, text)


def test_of_two_runs_at_once_one_is_created(beta, assistant, thread):
    helper = assistant("never-finishes")

    def create(_):
        try:
            return beta.threads.runs.create(thread.id, assistant_id=helper.id)
        except openai.BadRequestError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(create, range(2))
    run, error = (other, one) if isinstance(one, Exception) else (one, other)
    assert error.body["message"] == f"Thread {thread.id} already has an active run {run.id}."
    assert [listed.id for listed in beta.threads.runs.list(thread.id)] == [run.id]
    beta.threads.runs.cancel(run.id, thread_id=thread.id)


def test_polling_waits_as_long_as_the_server_says(beta, assistant, thread, monkeypatch):
    run = beta.threads.runs.create(thread.id, assistant_id=assistant("never-finishes").id)
    said = beta.threads.runs.with_raw_response.retrieve(run.id, thread_id=thread.id).headers["openai-poll-after-ms"]
    pauses = []

    def sleep(resource, seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            beta.threads.runs.cancel(run.id, thread_id=thread.id)
        time.sleep(seconds)

    monkeypatch.setattr(type(beta.threads.runs), "_sleep", sleep)
    assert beta.threads.runs.poll(run.id, thread_id=thread.id).status == "cancelled"
    assert set(pauses) == {int(said) / 1000} and 0 < pauses[0] < 1


def test_outputs_that_nobody_waits_for(beta, assistant, thread):
    run = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant("answers").id)
    given = [{"tool_call_id": "call_1", "output": "x"}]
    answer = refused(beta.threads.runs.submit_tool_outputs, run.id, thread_id=thread.id, tool_outputs=given)
    assert answer == (None, None, 'Runs in status "completed" do not accept tool outputs.')


def test_outputs_of_some_of_the_calls(beta, waiting):
    both = outputs(waiting, "21 C", "17 C")
    ids = [one["tool_call_id"] for one in both]
    answer = refused(beta.threads.runs.submit_tool_outputs, waiting.id, thread_id=waiting.thread_id, tool_outputs=both[:1])
    assert answer == (None, None, f"Expected tool outputs for call_ids {ids}, got {ids[:1]}")
    assert beta.threads.runs.retrieve(waiting.id, thread_id=waiting.thread_id) == waiting


def test_after_a_cancel_the_thread_takes_messages(beta, assistant, thread):
    run = beta.threads.runs.create(thread.id, assistant_id=assistant("says-nothing").id)
    answer = beta.threads.runs.cancel(run.id, thread_id=thread.id)
    assert (answer.status, answer.cancelled_at) == ("cancelling", None)
    done = beta.threads.runs.poll(run.id, thread_id=thread.id)
    assert done.status == "cancelled" and done.cancelled_at is not None
    beta.threads.messages.create(thread.id, role="user", content="Again")


def test_a_run_that_is_over_is_not_cancelled(beta, assistant, thread):
    run = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant("answers").id)
    answer = refused(beta.threads.runs.cancel, run.id, thread_id=thread.id)
    assert answer == (None, None, "Cannot cancel run with status 'completed'.")


# --- streams -------------------------------------------------------------------------------------------------------------------------

RUN_STARTS = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
STEP_STARTS = ["thread.run.step.created", "thread.run.step.in_progress"]
MESSAGE_STARTS = [*STEP_STARTS, "thread.message.created", "thread.message.in_progress"]


def test_every_event_of_a_plain_answer(beta, assistant, thread):
    helper = assistant("answers")
    names = [event.event for event in beta.threads.runs.create(thread.id, assistant_id=helper.id, stream=True)]
    ending = ["thread.message.completed", "thread.run.step.completed", "thread.run.completed"]
    assert names == [*RUN_STARTS, *MESSAGE_STARTS, *["thread.message.delta"] * 3, *ending]


def test_the_body_ends_with_done_at_once(beta, assistant, thread):
    helper = assistant("answers")
    with beta.threads.runs.with_streaming_response.create(thread.id, assistant_id=helper.id, stream=True) as response:
        lines = response.iter_lines()
        assert "data: [DONE]" in lines
        begun = time.monotonic()
        assert [line for line in lines if line] == []
    assert time.monotonic() - begun < 1


def test_pieces_of_arguments_make_up_what_is_asked_for(beta, assistant, thread):
    helper = assistant("calls-two-functions")
    events = list(beta.threads.runs.create(thread.id, assistant_id=helper.id, stream=True))
    joined = {}
    for event in events:
        if event.event == "thread.run.step.delta":
            for call in event.data.delta.step_details.tool_calls:
                joined[call.index] = joined.get(call.index, "") + call.function.arguments
    asked = events[-1].data.required_action.submit_tool_outputs.tool_calls
    assert [joined[index] for index in sorted(joined)] == [call.function.arguments for call in asked]
    assert [json.loads(call.function.arguments) for call in asked] == [{"city": "Lisbon"}, {"city": "Porto"}]


def test_every_event_of_an_answer_that_is_cut_off(beta, assistant, thread):
    helper = assistant("runs-out-of-tokens")
    events = list(beta.threads.runs.create(thread.id, assistant_id=helper.id, stream=True))
    ending = ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]
    assert [event.event for event in events] == [*RUN_STARTS, *MESSAGE_STARTS, *["thread.message.delta"] * 2, *ending]
    run, message = events[-1].data, events[-3].data
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    assert (message.status, message.incomplete_details.reason, text_of(message)) == ("incomplete", "max_tokens", "It is war")
