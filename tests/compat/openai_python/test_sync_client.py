"""The sync client of openai for Python: every method, every helper and every callback, used as its documentation says."""

from __future__ import annotations

import json
from typing import ClassVar

import openai
import pytest
from openai import AssistantEventHandler

from tests.compat.openai_python.stream_events import (
    CALL_CALLBACKS,
    NEVER_FIRED,
    TEXT_CALLBACKS,
    TROUBLE_CALLBACKS,
    WEATHER,
    NotingHandler,
    callbacks,
    outputs,
    text_of,
)

#: What that release cannot do yet is said where it matters.
AS_OF_2024 = openai.__version__.startswith("1.")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def beta(client):
    return client.beta


@pytest.fixture
def assistant(beta):
    """Makes an assistant whose model does as its name says; see answering_engine.py."""
    return lambda model: beta.assistants.create(model=model, tools=[WEATHER], name="Weather")


@pytest.fixture
def thread(beta):
    return beta.threads.create(messages=[{"role": "user", "content": "How warm is it in Lisbon?"}])


def test_the_life_of_an_assistant(beta):
    made = beta.assistants.create(
        model="answers",
        name="Weather",
        description="Tells the weather",
        instructions="Be brief.",
        tools=[WEATHER, {"type": "code_interpreter"}, {"type": "file_search"}],
        metadata={"team": "travel"},
        temperature=0.5,
        top_p=0.9,
        response_format={"type": "json_object"},
    )
    assert made.id.startswith("asst_")
    assert (made.object, made.model, made.name, made.description) == ("assistant", "answers", "Weather", "Tells the weather")
    assert (made.temperature, made.top_p, made.response_format.type) == (0.5, 0.9, "json_object")
    assert [tool.type for tool in made.tools] == ["function", "code_interpreter", "file_search"]
    assert made.tools[0].function.parameters == WEATHER["function"]["parameters"]
    assert beta.assistants.retrieve(made.id) == made
    changed = beta.assistants.update(made.id, name="Climate", metadata={"team": "science"})
    assert (changed.name, changed.metadata, changed.instructions) == ("Climate", {"team": "science"}, "Be brief.")
    deleted = beta.assistants.delete(made.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "assistant.deleted", True)
    with pytest.raises(openai.NotFoundError, match=f"No assistant found with id '{made.id}'."):
        beta.assistants.retrieve(made.id)


def test_assistants_are_listed_page_by_page_in_both_orders(beta):
    made = [beta.assistants.create(model="answers", name=f"Page {number}").id for number in range(5)]
    first = beta.assistants.list(limit=2)
    assert [one.id for one in first.data] == made[:-3:-1]
    assert first.has_next_page()
    second = first.get_next_page()
    assert [one.id for one in second.data] == made[2:0:-1]
    assert [one.id for one in beta.assistants.list(limit=2, before=second.data[0].id)][:2] == made[:-3:-1]
    newest_first = [one.id for one in beta.assistants.list(limit=3)]
    assert newest_first[:5] == made[::-1]
    assert [one.id for one in beta.assistants.list(limit=2, order="asc", after=made[0])] == made[1:]
    pages = [[one.id for one in page.data] for page in beta.assistants.list(limit=2, order="asc", after=made[0]).iter_pages()]
    # The release of 2024 does not read has_more: it asks until there is nothing.
    assert pages == [made[1:3], made[3:5], *([[]] if AS_OF_2024 else [])]


def test_the_life_of_a_thread_and_its_messages(beta):
    thread = beta.threads.create(messages=[{"role": "user", "content": "First"}], metadata={"user": "u1"})
    assert (thread.object, thread.metadata) == ("thread", {"user": "u1"})
    assert beta.threads.retrieve(thread.id) == thread
    assert beta.threads.update(thread.id, metadata={"user": "u2"}).metadata == {"user": "u2"}

    image = {"type": "image_url", "image_url": {"url": "https://example.com/street.png", "detail": "low"}}
    parts = beta.threads.messages.create(thread.id, role="user", content=[{"type": "text", "text": "Second"}, image])
    assert parts.content[0].text.value == "Second"
    assert (parts.content[1].type, parts.content[1].image_url.detail) == ("image_url", "low")
    third = beta.threads.messages.create(thread.id, role="assistant", content="Third", metadata={"n": "3"})
    assert beta.threads.messages.retrieve(third.id, thread_id=thread.id) == third
    assert beta.threads.messages.update(third.id, thread_id=thread.id, metadata={"n": "three"}).metadata == {"n": "three"}

    listed = list(beta.threads.messages.list(thread.id, limit=1, order="asc"))
    assert [message.content[0].text.value for message in listed] == ["First", "Second", "Third"]
    deleted = beta.threads.messages.delete(third.id, thread_id=thread.id)
    assert (deleted.object, deleted.deleted) == ("thread.message.deleted", True)
    assert [message.content[0].text.value for message in beta.threads.messages.list(thread.id)] == ["Second", "First"]

    assert beta.threads.delete(thread.id).object == "thread.deleted"
    with pytest.raises(openai.NotFoundError, match=f"No thread found with id '{thread.id}'."):
        beta.threads.messages.list(thread.id)


def test_a_run_created_and_polled_step_by_step(beta, assistant, thread):
    helper = assistant("answers")
    created = beta.threads.runs.create(
        thread.id,
        assistant_id=helper.id,
        instructions="Answer.",
        additional_instructions="Now.",
        additional_messages=[{"role": "user", "content": "And in Porto?"}],
        metadata={"purpose": "test"},
        max_completion_tokens=500,
        max_prompt_tokens=2000,
        truncation_strategy={"type": "last_messages", "last_messages": 5},
        tool_choice="none",
        parallel_tool_calls=False,
        temperature=0.1,
        top_p=0.2,
        response_format="auto",
    )
    assert (created.object, created.status, created.thread_id, created.assistant_id) == ("thread.run", "queued", thread.id, helper.id)
    done = beta.threads.runs.poll(created.id, thread_id=thread.id, poll_interval_ms=50)
    assert done.status == "completed"
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens == 18
    assert beta.threads.runs.retrieve(created.id, thread_id=thread.id) == done
    assert beta.threads.runs.update(created.id, thread_id=thread.id, metadata={"purpose": "done"}).metadata == {"purpose": "done"}
    assert [run.id for run in beta.threads.runs.list(thread.id, limit=1)] == [created.id]

    (step,) = beta.threads.runs.steps.list(created.id, thread_id=thread.id, limit=1)
    options = {} if AS_OF_2024 else {"include": ["step_details.tool_calls[*].file_search.results[*].content"]}
    assert beta.threads.runs.steps.retrieve(step.id, thread_id=thread.id, run_id=created.id, **options) == step
    assert (step.type, step.status) == ("message_creation", "completed")
    (answer,) = beta.threads.messages.list(thread.id, run_id=created.id)
    assert answer.id == step.step_details.message_creation.message_id
    assert text_of(answer) == "It is warm in Lisbon."


def test_a_second_turn_remembers_the_first(beta, assistant, thread):
    helper = assistant("counts-messages")
    for question in ("1 asked, the last: How warm is it in Lisbon?", "2 asked, the last: And tomorrow?"):
        run = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=helper.id, poll_interval_ms=50)
        assert run.status == "completed"
        assert text_of(beta.threads.messages.list(thread.id, limit=1).data[0]) == question
        beta.threads.messages.create(thread.id, role="user", content="And tomorrow?")


def test_a_function_is_called_with_polling(beta, assistant, thread):
    run = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant("calls-two-functions").id)
    assert run.status == "requires_action"
    calls = run.required_action.submit_tool_outputs.tool_calls
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("get_weather", {"city": "Lisbon"}),
        ("get_weather", {"city": "Porto"}),
    ]
    done = beta.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C", "17 C"))
    assert done.status == "completed"
    assert text_of(beta.threads.messages.list(thread.id).data[0]) == "I was told: 21 C and 17 C"
    written, called = beta.threads.runs.steps.list(run.id, thread_id=thread.id)
    assert [call.function.output for call in called.step_details.tool_calls] == ["21 C", "17 C"]
    assert done.usage.total_tokens == written.usage.total_tokens + called.usage.total_tokens


def test_outputs_are_submitted_and_the_run_polled_apart(beta, assistant):
    run = beta.threads.create_and_run_poll(assistant_id=assistant("calls-a-function").id, thread={"messages": [_asked("Lisbon?")]})
    queued = beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs(run, "21 C"))
    assert (queued.status, queued.required_action) == ("queued", None)
    assert beta.threads.runs.poll(run.id, thread_id=run.thread_id).status == "completed"


def test_thread_and_run_in_one(beta, assistant):
    run = beta.threads.create_and_run(assistant_id=assistant("answers").id, thread={"messages": [_asked("Lisbon?")]})
    assert run.status == "queued"
    assert beta.threads.runs.poll(run.id, thread_id=run.thread_id).status == "completed"
    assert len(beta.threads.messages.list(run.thread_id).data) == 2


def test_plain_streams_carry_the_documented_events_in_order(beta, assistant):
    helper = assistant("calls-a-function")
    with beta.threads.create_and_run(assistant_id=helper.id, thread={"messages": [_asked("Lisbon?")]}, stream=True) as stream:
        events = list(stream)
    assert [event.event for event in events if not event.event.endswith("delta")] == [
        "thread.created",
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.requires_action",
    ]
    run = events[-1].data
    stream = beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs(run, "21 C"), stream=True)
    names = [event.event for event in stream]
    assert names[:3] == ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]
    assert names[-1] == "thread.run.completed"
    beta.threads.messages.create(run.thread_id, role="user", content="Again")
    stream = beta.threads.runs.create(run.thread_id, assistant_id=helper.id, model="answers", stream=True)
    texts = [event.data.delta.content[0].text.value for event in stream if event.event == "thread.message.delta"]
    assert texts == ["It is ", "warm ", "in Lisbon."]


def test_every_callback_of_an_event_handler_fires(beta, assistant, thread, options):
    """But for images, which only the code interpreter makes."""
    calling, answering, failing = NotingHandler(), NotingHandler(), NotingHandler()
    helper = assistant("calls-two-functions")
    with beta.threads.runs.stream(thread_id=thread.id, assistant_id=helper.id, event_handler=calling) as stream:
        stream.until_done()
    assert calling.names == CALL_CALLBACKS
    assert len(calling.of("on_tool_call_created")) == len(calling.of("on_tool_call_done")) == 2
    assert [json.loads(call.function.arguments)["city"] for (call,) in calling.of("on_tool_call_done")] == ["Lisbon", "Porto"]
    run = calling.get_final_run()
    assert run.status == "requires_action"

    with beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C", "17 C"), event_handler=answering
    ) as stream:
        stream.until_done()
    assert answering.names == TEXT_CALLBACKS
    assert [text.value for (text,) in answering.of("on_text_done")] == ["I was told: 21 C and 17 C"]
    assert "".join(delta.value for delta, _ in answering.of("on_text_delta")) == "I was told: 21 C and 17 C"
    assert answering.of("on_end") == [()]

    hurried = openai.OpenAI(**options, timeout=0.5)
    with (
        pytest.raises(Exception, match=r"[Tt]imed out"),
        hurried.beta.threads.create_and_run_stream(
            assistant_id=assistant("says-nothing").id, thread={"messages": [_asked("Lisbon?")]}, event_handler=failing
        ) as stream,
    ):
        stream.until_done()
    assert failing.names >= TROUBLE_CALLBACKS | {"on_end"}
    beta.threads.runs.cancel(failing.current_run.id, thread_id=failing.current_run.thread_id)
    assert calling.names | answering.names | failing.names == callbacks(AssistantEventHandler) - NEVER_FIRED


def test_the_helpers_of_a_stream(beta, assistant, thread):
    helper = assistant("answers")
    with beta.threads.runs.stream(thread_id=thread.id, assistant_id=helper.id) as stream:
        assert list(stream.text_deltas) == ["It is ", "warm ", "in Lisbon."]
        assert stream.get_final_run().status == "completed"
        (message,) = stream.get_final_messages()
        (step,) = stream.get_final_run_steps()
    assert text_of(message) == "It is warm in Lisbon."
    assert beta.threads.messages.retrieve(message.id, thread_id=thread.id) == message
    assert step.step_details.message_creation.message_id == message.id


def test_what_a_handler_sees_of_itself_while_events_come(beta, assistant, thread):
    class Looking(AssistantEventHandler):
        seen: ClassVar[list] = []

        def on_event(self, event):
            assert self.current_event is event

        def on_text_delta(self, delta, snapshot):
            self.seen.append((self.current_run.status, self.current_run_step_snapshot.status, text_of(self.current_message_snapshot)))

    helper = assistant("answers")
    with beta.threads.runs.create_and_stream(thread_id=thread.id, assistant_id=helper.id, event_handler=Looking()) as stream:
        stream.until_done()
    assert Looking.seen == [("in_progress", "in_progress", text) for text in ("It is ", "It is warm ", "It is warm in Lisbon.")]


def test_a_stream_that_is_left_early_does_not_stop_its_run(beta, assistant):
    with beta.threads.create_and_run_stream(assistant_id=assistant("answers").id, thread={"messages": [_asked("Lisbon?")]}) as stream:
        first = next(event for event in stream if event.event == "thread.run.created")
        stream.close()
    assert beta.threads.runs.poll(first.data.id, thread_id=first.data.thread_id).status == "completed"


def test_a_run_cancelled_in_the_middle_of_its_stream(beta, assistant, thread):
    with beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant("never-finishes").id) as stream:
        texts = []
        for text in stream.text_deltas:
            texts.append(text)
            if len(texts) == 2:
                answer = beta.threads.runs.cancel(stream.current_run.id, thread_id=thread.id)
                assert answer.status == "cancelling"
        assert stream.get_final_run().status == "cancelled"
        (message,) = stream.get_final_messages()
    assert (message.status, message.incomplete_details.reason) == ("incomplete", "run_cancelled")
    assert text_of(message) == "It is warm "
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'cancelled'"):
        beta.threads.runs.cancel(message.run_id, thread_id=thread.id)


def test_runs_that_end_badly(beta, assistant, thread):
    run = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant("runs-out-of-tokens").id)
    assert (run.status, run.incomplete_details.reason) == ("incomplete", "max_completion_tokens")
    with beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant("breaks-down").id) as stream:
        failed = stream.get_final_run()
    assert (failed.status, failed.last_error.code) == ("failed", "server_error")


def test_errors_have_their_class_code_and_parameter(beta, assistant, thread, options):
    with pytest.raises(openai.BadRequestError) as missing:
        beta.assistants.create(model="answers", tools=[{"type": "function"}])
    assert (missing.value.status_code, missing.value.code) == (400, "missing_required_parameter")
    assert (missing.value.param, missing.value.type) == ("tools[0].function", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as mistyped:
        beta.threads.create(metadata={"modified": True})
    assert (mistyped.value.code, mistyped.value.param) == ("invalid_type", "metadata.modified")
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'colour'") as unknown:
        beta.threads.create(extra_body={"colour": "blue"})
    assert unknown.value.code == "unknown_parameter"
    with pytest.raises(openai.NotFoundError) as absent:
        beta.threads.runs.retrieve("run_doesnotexist", thread_id=thread.id)
    assert (absent.value.status_code, absent.value.code) == (404, None)
    with pytest.raises(openai.BadRequestError) as beta_missing:
        beta.threads.retrieve(thread.id, extra_headers={"OpenAI-Beta": "assistants=v1"})
    assert beta_missing.value.code == "invalid_beta"
    with pytest.raises(openai.AuthenticationError) as stranger:
        openai.OpenAI(**{**options, "api_key": "wrong-key"}).beta.assistants.list()
    assert (stranger.value.status_code, stranger.value.code) == (401, "invalid_api_key")
    assert stranger.value.request_id.startswith("req_")
    with pytest.raises(openai.NotFoundError):
        openai.OpenAI(**{**options, "api_key": "other-key"}).beta.threads.retrieve(thread.id)

    active = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant("calls-a-function").id)
    with pytest.raises(openai.BadRequestError, match=f"Can't add messages to {thread.id} while a run {active.id} is active."):
        beta.threads.messages.create(thread.id, role="user", content="Too early")
    with (
        pytest.raises(openai.BadRequestError, match=f"Thread {thread.id} already has an active run {active.id}."),
        beta.threads.runs.stream(thread_id=thread.id, assistant_id=active.assistant_id),
    ):
        pass
    with pytest.raises(openai.BadRequestError, match="Expected tool outputs for call_ids"):
        beta.threads.runs.submit_tool_outputs(active.id, thread_id=thread.id, tool_outputs=[])


@pytest.mark.parametrize("trouble", ["429", "503", "500", "409", "hang-up"])
def test_what_is_worth_another_try_is_tried_again(troubled_url, options, trouble):
    patient = openai.OpenAI(**{**options, "base_url": troubled_url(trouble, 2), "max_retries": 2})
    name = f"After {trouble}"
    made = patient.beta.assistants.create(model="answers", name=name)
    assert [one.id for one in patient.beta.assistants.list(limit=100) if one.name == name] == [made.id]
    patient.beta.assistants.delete(made.id)


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        ("429", openai.RateLimitError),
        ("503", openai.InternalServerError),
        ("403", openai.PermissionDeniedError),
        ("409", openai.ConflictError),
        ("hang-up", openai.APIConnectionError),
        ("stall", openai.APITimeoutError),
    ],
)
def test_what_a_client_without_retries_raises(troubled_url, options, trouble, kind):
    hasty = openai.OpenAI(**{**options, "base_url": troubled_url(trouble, 1)}, timeout=0.5 if trouble == "stall" else 10)
    with pytest.raises(kind):
        hasty.beta.assistants.list()
    assert hasty.beta.assistants.list().object == "list"


def test_a_connection_cut_in_the_middle_of_a_stream_is_not_taken_for_its_end(troubled_url, options, assistant, thread, beta):
    cut = openai.OpenAI(**{**options, "base_url": troubled_url("cut", 1)})
    handler = NotingHandler()
    with (
        pytest.raises(Exception, match=r"incomplete chunked read|peer closed connection"),
        cut.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant("answers").id, event_handler=handler) as stream,
    ):
        stream.until_done()
    assert handler.names >= {"on_exception", "on_end"}
    (run,) = beta.threads.runs.list(thread.id)
    assert beta.threads.runs.poll(run.id, thread_id=thread.id).status == "completed"


def test_models_can_be_listed_and_looked_up(client):
    assert "answers" in [model.id for model in client.models.list()]
    assert client.models.retrieve("answers").object == "model"


def _asked(question):
    return {"role": "user", "content": question}
