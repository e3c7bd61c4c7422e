"""Stream events: their names, their framing, and which of them end a stream."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from oxillama.objects import run
from oxillama.objects.message import GrowingContent

#: The hosted endpoints stop following a run at one of these; only the terminal ones end a run's log for good.
PAUSE = "thread.run.requires_action"
ENDS = frozenset(f"thread.run.{status}" for status in run.TERMINAL)

DONE = b"event: done\ndata: [DONE]\n\n"

_FRAME = re.compile(rb"^event: ([^\n]*)\ndata: ([^\n]*)\n\n", re.MULTILINE)


def frame(name: str, value: dict[str, Any]) -> bytes:
    """One event in SSE framing: the bare object on one line (behaviour.md, section 6)."""
    return framed(name, orjson.dumps(value))


def framed(name: str, data: bytes) -> bytes:
    """One event in SSE framing, its object in JSON already."""
    return b"".join((b"event: ", name.encode(), b"\ndata: ", data, b"\n\n"))


def run_event(value: dict[str, Any]) -> bytes:
    """The event that announces a Run's status."""
    return frame(f"thread.run.{value['status']}", value)


def step_event(value: dict[str, Any]) -> bytes:
    """The event that announces a RunStep's status."""
    return frame(f"thread.run.step.{value['status']}", value)


def message_event(value: dict[str, Any]) -> bytes:
    """The event that announces a Message's status."""
    return frame(f"thread.message.{value['status']}", value)


def content_delta(message_id: str, piece: dict[str, Any]) -> bytes:
    """A piece of a message's content, as `GrowingContent.add` gives it."""
    return frame("thread.message.delta", {"id": message_id, "object": "thread.message.delta", "delta": {"content": [piece]}})


def call_opened(step_id: str, index: int, call: dict[str, Any]) -> bytes:
    """A tool call begins: id and name, no argument text yet (behaviour.md, section 6: delta rules)."""
    return _call_delta(step_id, {"index": index, **call})


def call_arguments(step_id: str, index: int, fragment: str) -> bytes:
    """A piece of a tool call's arguments."""
    return _call_delta(step_id, {"index": index, "type": "function", "function": {"arguments": fragment}})


def error_event(message: str, code: str | None = None) -> bytes:
    """A break in the stream itself. Wrapped, because openai-python passes over the bare form (behaviour.md, section 6)."""
    return frame("error", {"error": {"message": message, "type": "server_error", "param": None, "code": code}})


def frames(data: bytes) -> list[tuple[str, bytes, int]]:
    """The whole frames in a piece of an event log: name, data, and the offset after each. A torn last frame is left out."""
    return [(match[1].decode("utf-8", "replace"), match[2], match.end()) for match in _FRAME.finditer(data)]


def message_so_far(told: Iterable[tuple[str, bytes]], message_id: str, begun: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """A Message as far as a run's events tell it, deltas folded in; None when they never announced it.

    Args:
        told: name and data of the events.
        message_id: which.
        begun: it, as all events before these tell it.
    """
    message = begun
    content = GrowingContent()
    for part in begun["content"] if begun is not None else []:
        content.fold(part)
    for name, data in told:
        if name == "thread.message.created":
            value = orjson.loads(data)
            if value["id"] == message_id:
                message = value
        elif name == "thread.message.delta" and message is not None:
            value = orjson.loads(data)
            if value["id"] == message_id:
                for piece in value["delta"]["content"]:
                    content.fold(piece)
    return message and {**message, "content": content.parts()}


def _call_delta(step_id: str, call: dict[str, Any]) -> bytes:
    delta = {"step_details": {"type": "tool_calls", "tool_calls": [call]}}
    return frame("thread.run.step.delta", {"id": step_id, "object": "thread.run.step.delta", "delta": delta})
