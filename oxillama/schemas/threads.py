"""Requests that make or change a thread."""

from __future__ import annotations

from oxillama.schemas.fields import Array, Object
from oxillama.schemas.messages import CreateMessage
from oxillama.schemas.options import NotedSchema
from oxillama.schemas.tools import ToolResources


class ModifyThread(NotedSchema):
    """`POST /threads/{thread_id}`."""

    tool_resources = Object(ToolResources)


class CreateThread(ModifyThread):
    """`POST /threads`, and the thread of `POST /threads/runs`."""

    messages = Array(Object(CreateMessage))
