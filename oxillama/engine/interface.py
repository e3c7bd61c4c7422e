"""What the runner asks of an engine, and what it hears back."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class ChatRequest:
    """One completion to stream.

    Attributes:
        model: the name the caller asked for; the engine may know the model by another.
        messages: in the form of Chat Completions.
        temperature: not sent when None.
        top_p: not sent when None.
        max_tokens: limit of the answer; None for no limit.
        response_format: "auto" is not sent.
        tools: in the form of Chat Completions; an empty list is not sent, nor are the two attributes that follow.
        tool_choice: "auto", "none", "required" or an object that names a function.
        parallel_tool_calls: whether the model may call several functions at once.
        reasoning_effort: not sent when None.
    """

    model: str
    messages: list[dict[str, Any]]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    response_format: str | dict[str, Any] = "auto"
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    reasoning_effort: str | None = None


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of one completion, as the engine counted them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True)
class TextDelta:
    """More text of the answer; never empty."""

    text: str


@dataclass(frozen=True)
class RefusalDelta:
    """More text of a refusal; never empty."""

    text: str


@dataclass(frozen=True)
class CallDelta:
    """More of a function call.

    Attributes:
        index: which call; calls are numbered from 0 in the order in which they begin.
        name: of the function, in the call's first delta.
        arguments: what to append to the call's arguments.
        id: the engine's own for the call, in the first delta that has one; None where it gave none.
        extra: what the engine calls the call's `extra_content` and wants back with it; None where it sent none.
    """

    index: int
    name: str | None
    arguments: str
    id: str | None = None
    extra: dict[str, Any] | None = None


@dataclass(frozen=True)
class ReasoningDelta:
    """More of what the model thinks; not part of the answer, and never empty.

    Attributes:
        member: of the assistant's message, in which it came and goes back: `reasoning_content`, `reasoning` or `reasoning_details`. None
            where no engine takes it back.
        thoughts: text to append, or parts to add.
    """

    member: str | None
    thoughts: str | list[Any]


@dataclass(frozen=True)
class Activity:
    """The engine is alive, but said nothing that belongs to the answer: it only named its role."""


@dataclass(frozen=True)
class Finished:
    """The answer is whole. Always the last.

    Attributes:
        reason: stop, length, tool_calls or content_filter. Some engines say "stop" after function calls.
        usage: None when the engine does not count.
    """

    reason: str
    usage: TokenUsage | None


Delta = TextDelta | RefusalDelta | CallDelta | ReasoningDelta | Activity | Finished


class Engine(Protocol):
    """An engine. All methods belong to one event loop."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """The answer, piece by piece, ending with `Finished`.

        Closing the generator hangs up. A task that may be cancelled between two pieces must therefore read within `contextlib.aclosing`.

        Raises:
            EngineError: one of its subclasses; after that nothing more comes.
        """

    async def context_tokens(self, model: str) -> int | None:
        """How many tokens prompt and answer may have together, or None when the engine does not say.

        Args:
            model: the name the caller asked for.
        """

    async def count_tokens(self, text: str) -> int:
        """Tokens in `text`: counted by the engine where it can, else estimated as a third of the characters."""

    async def close(self) -> None:
        """Hang up everything."""
