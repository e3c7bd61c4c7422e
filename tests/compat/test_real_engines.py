"""Conversations with real engines and a model of 135 million parameters: how a run ends and of what form it is, not how wise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.compat import real_engine
from tests.contract.validation import validating_client
from tests.process_control import wait_until
from tests.scenarios.conversation import TIME, WEATHER, last_message, outputs, text_of

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

USER, GREETING = {"role": "user", "content": "Say one word."}, {"role": "assistant", "content": "Good morning!"}
#: The API allows no lower limit.
_FEWEST_TOKENS = 256
ENDS = ("completed", "incomplete")
_SCHEMA = {"type": "object", "properties": {"fine": {"type": "boolean"}}, "required": ["fine"], "additionalProperties": False}
FORM = {"type": "json_schema", "json_schema": {"name": "state", "strict": True, "schema": _SCHEMA}}


class Talk:
    """Threads and runs with one engine.

    Args:
        client: of the server.
        model: that runs name.
        prompted: whether functions are described in the prompt: then a call that is asked for is made.
    """

    def __init__(self, client: Any, model: str, *, prompted: bool) -> None:
        self.client, self.model, self.prompted = client, model, prompted

    def run(self, *messages: dict[str, Any], thread: Any = None, tools: list[Any] | None = None, **options: Any) -> Any:
        """A run that is over or waits for outputs; on a thread of its own unless one is given."""
        if thread is None:
            thread = self.client.beta.threads.create(messages=list(messages))
        assistant = self.client.beta.assistants.create(model=self.model, instructions="Answer with one word.", tools=tools or [])
        options.setdefault("max_completion_tokens", _FEWEST_TOKENS)
        return self.client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=100, **options
        )

    def called(self, run: Any, *names: str) -> Any:
        """The run after its calls, which are of these functions. It has made one, or run out of tokens, where that is promised."""
        if run.status == "requires_action":
            assert {call.function.name for call in run.required_action.submit_tool_outputs.tool_calls} <= set(names)
        elif self.prompted:
            assert run.status == "incomplete", run.last_error
        return self.ended(run)

    def ended(self, run: Any) -> Any:
        """The run, after two rounds of calls at most; whoever calls a third time is cancelled."""
        runs = self.client.beta.threads.runs
        for _ in range(2):
            if run.status == "requires_action":
                values = ["21 C"] * len(run.required_action.submit_tool_outputs.tool_calls)
                run = runs.submit_tool_outputs_and_poll(
                    run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs(run, *values), poll_interval_ms=100
                )
        assert run.status in (*ENDS, "requires_action"), run.last_error
        if run.status == "requires_action":
            runs.cancel(run.id, thread_id=run.thread_id)
        elif run.status == "completed":
            assert last_message(self.client, run.thread_id).role == "assistant"
            assert run.usage.prompt_tokens > 0
        return run


def plain_answer(talk: Talk) -> None:
    talk.ended(talk.run(USER))


def additional_instructions(talk: Talk) -> None:
    talk.ended(talk.run(USER, additional_instructions="Be kind."))


def two_users_in_a_row(talk: Talk) -> None:
    talk.ended(talk.run(USER, USER))


def assistant_greets_first(talk: Talk) -> None:
    talk.ended(talk.run(GREETING, USER))


def assistant_spoke_last(talk: Talk) -> None:
    talk.ended(talk.run(USER, GREETING))


def after_a_failed_run(talk: Talk) -> None:
    thread = talk.client.beta.threads.create(messages=[USER])
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/nowhere"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "broken", "schema": schema}}
    assert talk.run(thread=thread, response_format=form).status == "failed"
    talk.ended(talk.run(thread=thread))


def after_a_cancelled_run(talk: Talk) -> None:
    thread = talk.client.beta.threads.create(messages=[{"role": "user", "content": "Tell a very long story."}])
    assistant = talk.client.beta.assistants.create(model=talk.model)
    runs = talk.client.beta.threads.runs
    run = runs.create(thread.id, assistant_id=assistant.id)
    wait_until(lambda: last_message(talk.client, thread.id).role == "assistant", 60, "the answer begins")
    runs.cancel(run.id, thread_id=thread.id)
    wait_until(lambda: runs.retrieve(run.id, thread_id=thread.id).status == "cancelled", 30, "the run is cancelled")
    talk.client.beta.threads.messages.create(thread.id, **USER)
    talk.ended(talk.run(thread=thread))


def additional_messages(talk: Talk) -> None:
    talk.ended(talk.run(USER, additional_messages=[GREETING, USER, USER]))


def a_call_if_it_likes(talk: Talk) -> None:
    talk.ended(talk.run(USER, tools=[WEATHER]))


def calls_at_once_if_it_likes(talk: Talk) -> None:
    talk.ended(talk.run(USER, tools=[WEATHER, TIME], parallel_tool_calls=True))


def two_rounds_and_another_question(talk: Talk) -> None:
    run = talk.ended(talk.run(USER, tools=[WEATHER, TIME], tool_choice="required"))
    thread = talk.client.beta.threads.retrieve(run.thread_id)
    wait_until(lambda: talk.client.beta.threads.runs.retrieve(run.id, thread_id=thread.id).status in (*ENDS, "cancelled"), 30, "it is over")
    talk.client.beta.threads.messages.create(thread.id, **USER)
    talk.ended(talk.run(thread=thread, tools=[WEATHER, TIME]))


def required_choice(talk: Talk) -> None:
    talk.called(talk.run(USER, tools=[WEATHER, TIME], tool_choice="required"), "get_weather", "get_time")


def named_choice(talk: Talk) -> None:
    choice = {"type": "function", "function": {"name": "get_time"}}
    talk.called(talk.run(USER, tools=[WEATHER, TIME], tool_choice=choice), "get_time")


def answer_in_a_form(talk: Talk) -> None:
    run = talk.ended(talk.run(USER, response_format=FORM))
    if run.status == "completed":
        assert set(json.loads(text_of(last_message(talk.client, run.thread_id)))) == {"fine"}


def sampling(talk: Talk) -> None:
    talk.ended(talk.run(USER, temperature=0.2, top_p=0.9))


def budgets(talk: Talk) -> None:
    talk.ended(talk.run(USER, max_prompt_tokens=20_000, max_completion_tokens=20_000))


def history_beyond_the_window(talk: Talk) -> None:
    old = [{"role": role, "content": f"{place} " * 400} for place in range(8) for role in ("user", "assistant")]
    talk.ended(talk.run(*old, USER))


def effort_of_thinking(talk: Talk) -> None:
    talk.ended(talk.run(USER, reasoning_effort="low"))


CONVERSATIONS: tuple[Callable[[Talk], None], ...] = (
    plain_answer,
    additional_instructions,
    two_users_in_a_row,
    assistant_greets_first,
    assistant_spoke_last,
    after_a_failed_run,
    after_a_cancelled_run,
    additional_messages,
    a_call_if_it_likes,
    calls_at_once_if_it_likes,
    two_rounds_and_another_question,
    required_choice,
    named_choice,
    answer_in_a_form,
    sampling,
    budgets,
    history_beyond_the_window,
    effort_of_thinking,
)


@pytest.fixture(scope="module")
def talk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    engine, tools = request.param.split()
    started = real_engine.litellm(tmp_path_factory.mktemp("litellm"), tools) if engine == "LiteLLM" else real_engine.llama_cpp(tools)
    with started as server, validating_client(server.base_url, max_retries=0) as client:
        yield Talk(client, real_engine.PROXIED if engine == "LiteLLM" else "any", prompted=tools == "prompted")


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("talk", ["llama.cpp prompted", "llama.cpp native", "LiteLLM auto", "LiteLLM prompted"], indirect=True)
def test_conversation(talk: Talk, conversation: Callable[[Talk], None]) -> None:
    conversation(talk)
