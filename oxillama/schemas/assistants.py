"""Requests that make or change an assistant."""

from __future__ import annotations

from oxillama.schemas.fields import Object, String
from oxillama.schemas.options import MAX_MODEL, AnswerOptions
from oxillama.schemas.tools import ToolResources


class ModifyAssistant(AnswerOptions):
    """`POST /assistants/{assistant_id}`."""

    name = String(max_length=256)
    description = String(max_length=512)
    tool_resources = Object(ToolResources)


class CreateAssistant(ModifyAssistant):
    """`POST /assistants`."""

    model = String(max_length=MAX_MODEL, allow_empty=False, required=True)
