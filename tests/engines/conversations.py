"""Twenty conversations, as any client of the API may have them, and how each of them is due to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.engines.personality import MODEL, Personality, Saying
from tests.raw_http import Http
from tests.scenarios.conversation import function as described
from tests.scenarios.conversation import last_message, outputs, reach, text_of
from tests.scripted_engine import Hang, server_error

WEATHER, TIME = described("get_weather"), described("get_time")
LISBON, PORTO = ("get_weather", {"city": "Lisbon"}), ("get_time", {"city": "Porto"})
CALLS, BOTH, FINE = Saying(calls=(LISBON,)), Saying(calls=(LISBON, PORTO)), Saying(("It is ", "fine."))

USER, GREETING = {"role": "user", "content": "How is Lisbon?"}, {"role": "assistant", "content": "Good morning!"}


#: Events behind which a run does nothing more by itself.
_RESTS = {f"thread.run.{name}" for name in ("requires_action", "completed", "failed", "cancelled", "expired", "incomplete")}


@dataclass
class Talk:
    """One thread with an engine of a kind behind it.

    Attributes:
        engine: what is behind the server.
        client: the SDK's.
        http: raw requests to the server.
    """

    engine: Personality
    client: Any
    http: Http

    def thread(self, *messages: dict[str, Any]) -> Any:
        """A thread with these messages."""
        return self.client.beta.threads.create(messages=list(messages))

    def start(self, thread: Any, *, tools: list[Any] | None = None, **options: Any) -> Any:
        """A new run, with functions where they are named."""
        assistant = self.client.beta.assistants.create(model=MODEL, instructions="Answer briefly.", tools=tools or [])
        return self.client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **options)

    def over(self, run: Any, rounds: int = 0) -> Any:
        """The run, once it is over or waits for outputs; it has waited for them so many times before."""
        rests = 0
        with self.http.stream("GET", f"/v1/threads/{run.thread_id}/runs/{run.id}/events") as stream:
            for event in stream:
                rests = rests + 1 if event.name in _RESTS else rests
                if rests > rounds:
                    break
        return self.client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)

    def completed(self, run: Any, text: str = "It is fine.", rounds: int = 0) -> Any:
        """The run, which must have answered with this text."""
        run = self.over(run, rounds)
        assert run.status == "completed", run.last_error or run.status
        assert text_of(last_message(self.client, run.thread_id)) == text
        return run

    def answered(self, run: Any, *names: str, text: str = "It is fine.", rounds: int = 0) -> Any:
        """The run, which must have called these functions, and answers once it has their outputs."""
        run = self.over(run, rounds)
        assert run.status == "requires_action", run.last_error or run.status
        calls = run.required_action.submit_tool_outputs.tool_calls
        assert [call.function.name for call in calls] == list(names)
        values = outputs(run, *(f"output {place}" for place in range(len(calls))))
        self.client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=values)
        return self.completed(run, text, rounds + 1) if text else run


def plain_answer(talk: Talk) -> None:
    talk.engine.begin(FINE)
    run = talk.completed(talk.start(talk.thread(USER)))
    assert run.usage.completion_tokens == (7 if talk.engine.counts else -(-len("It is fine.") // 3))


def two_users_in_a_row(talk: Talk) -> None:
    talk.engine.begin(FINE)
    talk.completed(talk.start(talk.thread(USER, USER)))
    assert str(talk.engine.requests_taken[-1]["messages"]).count("How is Lisbon?") == 2


def assistant_greets_first(talk: Talk) -> None:
    talk.engine.begin(FINE)
    talk.completed(talk.start(talk.thread(GREETING, USER)))
    assert "Good morning!" in str(talk.engine.requests_taken[-1]["messages"])


def assistant_spoke_last(talk: Talk) -> None:
    talk.engine.begin(FINE)
    talk.completed(talk.start(talk.thread(USER, GREETING)))


def after_a_failed_run(talk: Talk) -> None:
    talk.engine.begin(FINE)
    talk.engine.troubles.extend([server_error()] * 3)
    thread = talk.thread(USER)
    assert talk.over(talk.start(thread)).status == "failed"
    talk.engine.begin(FINE)
    talk.client.beta.threads.messages.create(thread.id, role="user", content="And now?")
    talk.completed(talk.start(thread))


def after_a_cancelled_run(talk: Talk) -> None:
    talk.engine.begin(FINE)
    talk.engine.troubles.append(Hang())
    thread = talk.thread(USER)
    run = talk.start(thread)
    reach(talk.http, run, "thread.run.in_progress")
    talk.client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    assert talk.over(run).status == "cancelled"
    talk.engine.begin(FINE)
    talk.client.beta.threads.messages.create(thread.id, role="user", content="And now?")
    talk.completed(talk.start(thread))


def additional_messages(talk: Talk) -> None:
    talk.engine.begin(FINE)
    talk.completed(talk.start(talk.thread(USER), additional_messages=[GREETING, USER, USER]))


def one_call(talk: Talk) -> None:
    talk.engine.begin(CALLS, FINE)
    talk.answered(talk.start(talk.thread(USER), tools=[WEATHER, TIME]), "get_weather")


def parallel_calls(talk: Talk) -> None:
    talk.engine.begin(BOTH, FINE)
    names = ["get_weather"] if talk.engine.one_call_at_a_time else ["get_weather", "get_time"]
    talk.answered(talk.start(talk.thread(USER), tools=[WEATHER, TIME]), *names)


def two_rounds_and_another_question(talk: Talk) -> None:
    talk.engine.begin(Saying(calls=(LISBON,), thoughts=("Hm. ",)), Saying(calls=(PORTO,)), FINE, FINE)
    thread = talk.thread(USER)
    run = talk.answered(talk.start(thread, tools=[WEATHER, TIME]), "get_weather", text="")
    talk.answered(run, "get_time", rounds=1)
    talk.client.beta.threads.messages.create(thread.id, role="user", content="And now?")
    talk.completed(talk.start(thread, tools=[WEATHER, TIME]))


def required_choice(talk: Talk) -> None:
    talk.engine.begin(CALLS, FINE)
    talk.answered(talk.start(talk.thread(USER), tools=[WEATHER, TIME], tool_choice="required"), "get_weather")


def named_choice(talk: Talk) -> None:
    talk.engine.begin(CALLS, FINE)
    choice = {"type": "function", "function": {"name": "get_weather"}}
    talk.answered(talk.start(talk.thread(USER), tools=[WEATHER, TIME], tool_choice=choice), "get_weather")


def answer_in_a_form(talk: Talk) -> None:
    talk.engine.begin(Saying(('{"city": ', '"Lisbon"}')))
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": schema}}
    talk.completed(talk.start(talk.thread(USER), response_format=form), '{"city": "Lisbon"}')
    asked = talk.engine.requests_taken[-1]
    assert "response_format" in asked or '"city"' in str(asked["messages"])


def sampling(talk: Talk) -> None:
    talk.engine.begin(FINE)
    run = talk.completed(talk.start(talk.thread(USER), temperature=0.2, top_p=0.9))
    assert (run.temperature, run.top_p) == (0.2, 0.9)


def budgets(talk: Talk) -> None:
    talk.engine.begin(FINE)
    talk.completed(talk.start(talk.thread(USER), max_prompt_tokens=20_000, max_completion_tokens=20_000))


def history_beyond_the_window(talk: Talk) -> None:
    talk.engine.begin(FINE)
    old = [{"role": role, "content": f"{place} " * 1500} for place in range(8) for role in ("user", "assistant")]
    talk.completed(talk.start(talk.thread(*old, USER)))
    assert "How is Lisbon?" in str(talk.engine.requests_taken[-1]["messages"])


def thoughts(talk: Talk) -> None:
    talk.engine.begin(Saying(("It is ", "fine."), thoughts=("Hm, ", "Lisbon.")))
    run = talk.start(talk.thread(USER), reasoning_effort="low")
    talk.completed(run)
    assert all("Hm, " not in event.data for event in talk_events(talk, run))


def empty_answer(talk: Talk) -> None:
    talk.engine.begin(Saying(), FINE)
    thread = talk.thread(USER)
    talk.completed(talk.start(thread), "")
    talk.client.beta.threads.messages.create(thread.id, role="user", content="And now?")
    talk.completed(talk.start(thread))


def interrupted_answer(talk: Talk) -> None:
    talk.engine.begin(Saying(("It is ",), whole=False), FINE)
    thread = talk.thread(USER)
    assert talk.over(talk.start(thread)).status == "failed"
    talk.client.beta.threads.messages.create(thread.id, role="user", content="And now?")
    talk.completed(talk.start(thread))


def busy_once(talk: Talk) -> None:
    talk.engine.begin(FINE)
    talk.engine.troubles.append(talk.engine.busy())
    talk.completed(talk.start(talk.thread(USER)))


def talk_events(talk: Talk, run: Any) -> list[Any]:
    with talk.http.stream("GET", f"/v1/threads/{run.thread_id}/runs/{run.id}/events") as stream:
        return list(stream)


CONVERSATIONS: tuple[Callable[[Talk], None], ...] = (
    plain_answer,
    two_users_in_a_row,
    assistant_greets_first,
    assistant_spoke_last,
    after_a_failed_run,
    after_a_cancelled_run,
    additional_messages,
    one_call,
    parallel_calls,
    two_rounds_and_another_question,
    required_choice,
    named_choice,
    answer_in_a_form,
    sampling,
    budgets,
    history_beyond_the_window,
    thoughts,
    empty_answer,
    interrupted_answer,
    busy_once,
)
