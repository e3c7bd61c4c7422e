"""Event handlers that note everything the SDK tells them, made by asking the SDK what it has to tell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from openai import AssistantEventHandler, AsyncAssistantEventHandler

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

#: What an assistant with functions fires in a stream that ends with text, and in one that ends with calls.
TEXT_CALLBACKS = {
    "on_event",
    "on_run_step_created",
    "on_run_step_done",
    "on_message_created",
    "on_message_delta",
    "on_message_done",
    "on_text_created",
    "on_text_delta",
    "on_text_done",
    "on_end",
}
CALL_CALLBACKS = {
    "on_event",
    "on_run_step_created",
    "on_run_step_delta",
    "on_tool_call_created",
    "on_tool_call_delta",
    "on_tool_call_done",
    "on_end",
}
TROUBLE_CALLBACKS = {"on_exception", "on_timeout"}
#: Images that a model made come from the code interpreter, which is not executed here.
NEVER_FIRED = {"on_image_file_done"}


def callbacks(kind: type) -> set[str]:
    """The names of all callbacks that a handler class has."""
    return {name for name, value in vars(kind).items() if name.startswith("on_") and inspect.isfunction(value)}


class NotingHandler(AssistantEventHandler):
    """`fired` has (name of the callback, its arguments), in order."""

    def __init__(self) -> None:
        super().__init__()
        self.fired: list[tuple[str, tuple[Any, ...]]] = []

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.fired}

    def of(self, callback: str) -> list[tuple[Any, ...]]:
        return [arguments for name, arguments in self.fired if name == callback]


class AsyncNotingHandler(AsyncAssistantEventHandler):
    """The same for asyncio."""

    def __init__(self) -> None:
        super().__init__()
        self.fired: list[tuple[str, tuple[Any, ...]]] = []

    names = NotingHandler.names
    of = NotingHandler.of


def _note(name: str) -> Callable[..., None]:
    def callback(self: Any, *arguments: Any) -> None:
        self.fired.append((name, arguments))

    return callback


def _async_note(name: str) -> Callable[..., Any]:
    async def callback(self: Any, *arguments: Any) -> None:
        self.fired.append((name, arguments))

    return callback


for _name in callbacks(AssistantEventHandler):
    setattr(NotingHandler, _name, _note(_name))
for _name in callbacks(AsyncAssistantEventHandler):
    setattr(AsyncNotingHandler, _name, _async_note(_name))


def outputs(run: Any, *texts: str) -> list[Any]:
    """What a run in requires_action is to be answered with: a text for each of its calls."""
    calls = run.required_action.submit_tool_outputs.tool_calls
    return [{"tool_call_id": call.id, "output": text} for call, text in zip(calls, texts, strict=True)]


def text_of(message: Any) -> str:
    return "".join(part.text.value for part in message.content)
