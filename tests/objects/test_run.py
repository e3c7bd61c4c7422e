"""A Run: what it copies, what it starts with, and the table of moves between its statuses."""

from __future__ import annotations

import itertools

import pytest

from oxillama import clock
from oxillama.errors import RunTransitionRefused
from oxillama.objects import run as run_object
from oxillama.objects.assistant import new_assistant
from tests.contract.validation import check

STAMP = 1_790_000_000_000_000
NOW = 1_790_000_000
STATUSES = ("queued", "in_progress", "requires_action", "cancelling", "completed", "incomplete", "failed", "cancelled", "expired")

#: behaviour.md, section 3, and what recovery and a cancel without a runner need: the whole table.
ALLOWED = {
    ("queued", "in_progress"),
    ("queued", "cancelling"),
    ("queued", "cancelled"),
    ("queued", "failed"),
    ("queued", "expired"),
    ("in_progress", "requires_action"),
    ("in_progress", "completed"),
    ("in_progress", "incomplete"),
    ("in_progress", "failed"),
    ("in_progress", "expired"),
    ("in_progress", "cancelling"),
    ("in_progress", "cancelled"),
    ("in_progress", "queued"),
    ("requires_action", "queued"),
    ("requires_action", "cancelling"),
    ("requires_action", "cancelled"),
    ("requires_action", "failed"),
    ("requires_action", "expired"),
    ("cancelling", "cancelled"),
}
ACTION = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": []}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}}


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)


def new_run(assistant=None, **values):
    return run_object.new_run("thread_" + "0" * 24, assistant or new_assistant({"model": "m"}), values, stamp=STAMP, expiry_seconds=600)


def in_status(status):
    return {**new_run(), "status": status, "created_at": NOW - 9, "started_at": NOW - 5, "required_action": ACTION}


def test_active_and_terminal_are_all_statuses_there_are():
    assert run_object.ACTIVE | run_object.TERMINAL == set(STATUSES) == set(run_object.TRANSITIONS)
    assert not run_object.ACTIVE & run_object.TERMINAL


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATUSES, STATUSES)))
def test_the_table_of_moves(before, after):
    if (before, after) in ALLOWED:
        assert run_object.moved(in_status(before), after)["status"] == after
    else:
        with pytest.raises(RunTransitionRefused) as refused:
            run_object.moved(in_status(before), after)
        assert refused.value.message == f"A run cannot change from '{before}' to '{after}'."
        assert refused.value.status == before


@pytest.mark.parametrize(
    ("before", "after", "times"),
    [
        ("queued", "in_progress", {"started_at": NOW, "required_action": None}),
        ("in_progress", "requires_action", {"required_action": ACTION}),
        ("requires_action", "queued", {"required_action": None}),
        ("in_progress", "completed", {"completed_at": NOW, "expires_at": None, "required_action": None}),
        ("in_progress", "incomplete", {"completed_at": NOW, "expires_at": None, "required_action": None}),
        ("in_progress", "failed", {"failed_at": NOW, "expires_at": None, "required_action": None}),
        ("in_progress", "expired", {"expires_at": None, "required_action": None}),
        ("requires_action", "cancelling", {"required_action": None}),
        ("cancelling", "cancelled", {"cancelled_at": NOW, "expires_at": None, "required_action": None}),
    ],
)
def test_each_move_sets_the_fields_that_belong_to_it_and_no_other(before, after, times):
    run = in_status(before)
    assert run_object.moved(run, after, required_action=ACTION) == {**run, "status": after, **times, "required_action": ACTION}
    moved = run_object.moved(run, after)
    assert moved == {**run, "status": after, **times}
    assert run["status"] == before, "the run itself is left alone"


def test_a_new_run_by_default():
    run = new_run()
    check("RunObject", run)
    expected = {
        "created_at": NOW,
        "expires_at": NOW + 600,
        "status": "queued",
        "temperature": 1.0,
        "top_p": 1.0,
        "reasoning_effort": None,
        "max_completion_tokens": None,
        "max_prompt_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "response_format": "auto",
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "metadata": {},
        "tools": [],
        "tool_resources": {},
        "instructions": None,
        "usage": None,
        **dict.fromkeys(("started_at", "completed_at", "failed_at", "cancelled_at", "required_action", "last_error", "incomplete_details")),
    }
    assert {name: run[name] for name in expected} == expected
    assert next(iter(run)) == "id"


FROM_ASSISTANT = {
    "model": "assistant's",
    "instructions": "assistant's",
    "tools": [FUNCTION],
    "temperature": 0.5,
    "top_p": 0.6,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
}
FROM_REQUEST = {
    "model": "request's",
    "instructions": "request's",
    "tools": [],
    "temperature": 0.0,
    "top_p": 0.1,
    "reasoning_effort": "high",
    "response_format": "auto",
}


def test_what_the_request_does_not_say_is_copied_from_the_assistant():
    run = new_run(new_assistant({**FROM_ASSISTANT, "metadata": {"of": "assistant"}, "name": "n"}))
    assert {name: run[name] for name in FROM_ASSISTANT} == FROM_ASSISTANT
    assert run["metadata"] == {}, "metadata is the run's own"


def test_what_the_request_says_wins():
    run = new_run(new_assistant(FROM_ASSISTANT), **FROM_REQUEST)
    assert {name: run[name] for name in FROM_REQUEST} == FROM_REQUEST


def test_the_rest_of_the_request_is_kept():
    asked = {
        "max_completion_tokens": 300,
        "max_prompt_tokens": 400,
        "truncation_strategy": {"type": "last_messages", "last_messages": 3},
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "metadata": {"a": "b"},
    }
    run = new_run(**asked)
    assert {name: run[name] for name in asked} == asked


@pytest.mark.parametrize(
    ("own", "instructions", "additional", "joined"),
    [
        ("a", None, "c", "a\nc"),
        ("a", "b", "c", "b\nc"),
        ("a", "b", None, "b"),
        (None, None, "c", "c"),
        (None, None, None, None),
        ("", None, "", None),
    ],
)
def test_additional_instructions_are_added_to_whichever_count(own, instructions, additional, joined):
    values = {name: value for name, value in (("instructions", instructions), ("additional_instructions", additional)) if value is not None}
    assert new_run(new_assistant({"model": "m", "instructions": own}), **values)["instructions"] == joined


def test_usage_is_the_sum_over_steps():
    one, two = run_object.usage(260, 12, cached_tokens=5), run_object.usage(284, 80, reasoning_tokens=7)
    assert run_object.total_usage([one, None, two]) == {
        "prompt_tokens": 544,
        "completion_tokens": 92,
        "total_tokens": 636,
        "prompt_token_details": {"cached_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 7},
    }
    assert run_object.total_usage([])["total_tokens"] == run_object.total_usage([{}])["total_tokens"] == 0
    assert run_object.total_usage([{"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}])["total_tokens"] == 3
