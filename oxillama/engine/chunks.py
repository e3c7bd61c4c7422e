"""Reading the chunks of a streamed chat completion, as engines really send them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from oxillama import engine_words
from oxillama.engine import faults
from oxillama.engine.interface import Activity, CallDelta, Delta, ReasoningDelta, RefusalDelta, TextDelta, TokenUsage
from oxillama.engine.think_tags import ThinkTagSplitter
from oxillama.errors import EngineAnswerUnusable

#: What some engines say -> what the API says. Whatever else they say, as `eos`, `end_turn` or `stop_sequence`, is `stop`.
_REASONS = {
    **dict.fromkeys(("function_call", "tool_use", "tool_call"), "tool_calls"),
    **dict.fromkeys(("max_tokens", "max_length", "model_length", "max_output_tokens", "context_length"), "length"),
    **dict.fromkeys(
        ("safety", "refusal", "recitation", "blocklist", "prohibited_content", "spii", "sensitive", "content_filtered", "guardrail"),
        "content_filter",
    ),
}
#: Characters of a function's name; the API allows 64.
_MAX_NAME = 256
#: Calls in one answer; a run has no more functions than that.
_MAX_CALLS = 128
#: No count is larger, and JSON readers elsewhere cannot tell larger numbers apart.
_MOST_TOKENS = 2**53
_KNOWN_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})
#: reasons which mean that the answer is not whole
_FAILURES = frozenset({"error", "abort", "aborted", "cancelled", "canceled", "malformed_function_call", "network_error", "unknown_error"})
#: Where engines put what a model thinks; the first that is there, for some say it twice. DeepSeek, vLLM, llama.cpp; OpenRouter, Groq,
#: Ollama. OpenRouter wants its `reasoning_details` back as they were.
_REASONING = ("reasoning_details", "reasoning_content", "reasoning")


class ChunkReader:
    """Turns chunks into deltas, and keeps what belongs to the end of the answer.

    Attributes:
        reason: why the answer ended, None until the engine said so.
        usage: the last count that came.
        spoke: whether any token came, be it of a thought.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.usage: TokenUsage | None = None
        self.spoke = False
        self._calls = _CallNumbers()
        self._halves, self._refusal_halves = Halves(), Halves()
        self._thoughts = ThinkTagSplitter()

    def read(self, chunk: object) -> Iterator[Delta]:
        """What the chunk adds to the answer; `Activity` when that is nothing.

        Raises:
            EngineAnswerUnusable: the engine says in passing that it gave up.
        """
        deltas: list[Delta] = []
        fields = _mapping(chunk)
        # Groq counts in a member of its own (vercel/ai#1651).
        self.usage = _usage(fields.get("usage")) or _usage(_mapping(fields.get("x_groq")).get("usage")) or self.usage
        for choice in map(_mapping, _sequence(fields.get("choices"))):
            if choice.get("index") in (None, 0):
                deltas += self._read_choice(choice)
        self.spoke = self.spoke or bool(deltas)
        return iter(deltas or [Activity()])

    def _read_choice(self, choice: dict[str, Any]) -> Iterator[Delta]:
        delta = _mapping(choice.get("delta")) or _mapping(choice.get("message"))
        yield from self._read_reasoning(delta)
        thoughts, text = self._thoughts.split(self._halves.joined(_text(delta.get("content"))))
        if thoughts:
            yield ReasoningDelta(None, thoughts)
        if text:
            yield TextDelta(text)
        if text := self._refusal_halves.joined(_text(delta.get("refusal"))):
            yield RefusalDelta(text)
        calls = _sequence(delta.get("tool_calls"))
        if calls and (text := self._thoughts.rest()):
            yield TextDelta(text)
        for call in calls:
            yield from self._calls.read(_mapping(call))
        if delta.get("function_call"):
            yield from self._calls.read({"index": 0, "function": delta["function_call"]})
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.reason = self._reason(reason.lower())
            yield from self.rest()

    def rest(self) -> Iterator[TextDelta]:
        """What was held back because it might have become a tag, once the answer has ended."""
        if text := self._thoughts.rest():
            yield TextDelta(text)

    @staticmethod
    def _read_reasoning(delta: dict[str, Any]) -> Iterator[ReasoningDelta]:
        for member in _REASONING:
            thoughts = delta.get(member)
            if thoughts and isinstance(thoughts, str | list):
                yield ReasoningDelta(member, thoughts if isinstance(thoughts, list) else engine_words.sound(thoughts))
                return
        # Mistral's models think in parts of their content.
        if thoughts := [part for part in map(_mapping, _sequence(delta.get("content"))) if part.get("type") in ("thinking", "reasoning")]:
            yield ReasoningDelta(None, thoughts)

    @staticmethod
    def _reason(reason: str) -> str:
        if reason in _FAILURES:
            raise faults.gave_up()
        reason = _REASONS.get(reason, reason)
        return reason if reason in _KNOWN_REASONS else "stop"


class Halves:
    """Joins characters that an engine cut in two between chunks: JSON can say half of one, and UTF-8 cannot."""

    def __init__(self) -> None:
        self._held = ""

    def joined(self, text: str) -> str:
        """The text, with a first half held back until the second comes, and halves that have none replaced."""
        text = self._held + text
        self._held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return engine_words.sound(text[: len(text) - len(self._held)])


class _CallNumbers:
    """Numbers the calls of one answer. Engines leave `index` out, or give 0 to every one of several calls."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._ids: dict[int, object] = {}
        self._last: int | None = None
        self._halves: defaultdict[int, Halves] = defaultdict(Halves)

    def read(self, call: dict[str, Any]) -> Iterator[CallDelta]:
        function = _mapping(call.get("function"))
        name = function.get("name")
        # One that is cut is the name of no function.
        name = name[:_MAX_NAME] if isinstance(name, str) else None
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if not isinstance(arguments, str):
            arguments = ""
        if not name and not arguments:
            return
        # Gemini's are empty.
        call_id = call.get("id") or None
        number = self._number(call.get("index"), call_id, bool(name))
        self._last = number
        told = call_id if name and isinstance(call_id, str) else None
        extra = _mapping(call.get("extra_content")) or None
        yield CallDelta(number, engine_words.sound(name) if name else None, self._halves[number].joined(arguments), told, extra)

    def _number(self, index: object, call_id: object, named: bool) -> int:
        key = index if isinstance(index, int) else None
        number = self._numbers.get(key) if key is not None else self._last
        # A name begins a call, unless it only repeats that of the call we are in.
        begins = number is None or (named and self._ids[number] != call_id and call_id is not None)
        if number is None or begins or (named and key is None and call_id is None):
            number = len(self._ids)
            if number == _MAX_CALLS:
                raise EngineAnswerUnusable(f"The model engine sent more than {_MAX_CALLS} function calls at once.")
            self._ids[number] = call_id
            self._numbers[key] = number
        return number


def _usage(value: object) -> TokenUsage | None:
    counts = _mapping(value)
    if not any(type(counts.get(name)) is int for name in ("prompt_tokens", "completion_tokens")):
        return None
    return TokenUsage(
        _count(counts, "prompt_tokens"),
        _count(counts, "completion_tokens"),
        _count(_mapping(counts.get("prompt_tokens_details")), "cached_tokens"),
        _count(_mapping(counts.get("completion_tokens_details")), "reasoning_tokens"),
    )


def _count(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if type(value) is int and 0 <= value < _MOST_TOKENS else 0


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    parts = [part for part in map(_mapping, _sequence(value)) if part.get("type") == "text"]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
