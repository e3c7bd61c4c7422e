"""Requests that make, change or continue a run."""

from __future__ import annotations

from oxillama.schemas.fields import Array, Boolean, Integer, Object, String
from oxillama.schemas.loading import RequestSchema
from oxillama.schemas.messages import CreateMessage
from oxillama.schemas.options import LONGEST_INSTRUCTIONS, AnswerOptions, NotedSchema, truncation_strategy
from oxillama.schemas.threads import CreateThread
from oxillama.schemas.tools import ToolResources, tool_choice

LEAST_TOKENS = 256


class _StartRun(AnswerOptions):
    assistant_id = String(required=True)
    stream = Boolean()
    max_prompt_tokens = Integer(least=LEAST_TOKENS)
    max_completion_tokens = Integer(least=LEAST_TOKENS)
    truncation_strategy = truncation_strategy()
    tool_choice = tool_choice()
    parallel_tool_calls = Boolean()


class CreateRun(_StartRun):
    """`POST /threads/{thread_id}/runs`."""

    additional_instructions = String(max_length=LONGEST_INSTRUCTIONS)
    additional_messages = Array(Object(CreateMessage))


class CreateThreadAndRun(_StartRun):
    """`POST /threads/runs`."""

    thread = Object(CreateThread)
    tool_resources = Object(ToolResources)


class ModifyRun(NotedSchema):
    """`POST /threads/{thread_id}/runs/{run_id}`."""


class ToolOutput(RequestSchema):
    """What one call of a function gave. A call without an output gave nothing (behaviour.md, section 8)."""

    tool_call_id = String(required=True)
    output = String(load_default="")


class SubmitToolOutputs(RequestSchema):
    """`POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs`."""

    tool_outputs = Array(Object(ToolOutput), required=True)
    stream = Boolean()
