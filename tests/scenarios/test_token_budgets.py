"""Limits on tokens that are larger than what the engine's model takes, and budgets over several turns."""

from __future__ import annotations

from tests.scenarios.conversation import LISBON, ended, outputs
from tests.scripted_engine import Raw, Reply, Usage, http_error

LIMITS = {"max_prompt_tokens": 20_000, "max_completion_tokens": 20_000}
# What a refusal tells of a model is remembered, so each of these has a model of its own.


def test_a_window_that_only_the_refusal_tells(client, thread, assistant, engine):
    words = "'max_tokens' is too large: 20000. This model's maximum context length is 8192 tokens and your request has 92 input tokens."
    engine.script(http_error(400, words, "BadRequestError"), Reply(["fine"]))
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, model="window-8192", **LIMITS)
    assert run.status == "completed"
    assert [request["max_tokens"] for request in engine.requests] == [20_000, 8100]


def test_budgets_are_over_all_turns(client, http, thread, assistant, engine):
    engine.script(Reply(calls=[LISBON], usage=Usage(300, 400)), Reply(["fine"], usage=Usage(300, 5)))
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, max_completion_tokens=1000, max_prompt_tokens=1000
    )
    run = client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs(run, "21 C"))
    assert ended(client, http, run).status == "completed"
    assert [request["max_tokens"] for request in engine.requests] == [1000, 600]


def test_what_a_run_fails_with_is_true(client, thread, assistant, engine):
    words = "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens."
    refusal: Raw = http_error(400, words, "invalid_request_error", "context_length_exceeded")
    engine.script(*[refusal] * 4)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, model="window-4097")
    assert run.status == "failed"
    assert run.last_error.message == "The prompt does not fit the model's context of 4097 tokens: it has 5000."
