"""The limits on tokens that an engine names when it refuses a request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

#: Refusals tell figures at their beginning; later may come what they quote.
_MAX_TEXT = 4000

#: A prompt is too long where a refusal has one of these.
_TOO_LONG = (
    "maximum context length",  # OpenAI, Azure, vLLM, Mistral, OpenRouter
    "context length is only",  # vLLM of old
    "context length of",  # LM Studio: "… greater than the context length of 4096 tokens"
    "exceeds the available context",  # llama.cpp
    "exceed context",
    "exceeds the context",
    "exceeds the model's context",
    "exceeds the model's maximum context",
    "exceeds the maximum context",
    "exceeds maximum context",
    "exceeds context window",
    "prompt is too long",  # Anthropic
    "exceeds the maximum number of tokens allowed",  # Gemini
    "reduce the length of the messages",  # OpenAI, Groq
    "input is too long",
    "context window of this model",
    "context_length_exceeded",
)


@dataclass(frozen=True)
class TokenLimits:
    """Figures in a refusal, in tokens; None for what it does not tell.

    Attributes:
        window: that prompt and answer may have together.
        completion: that an answer may have at the most.
        prompt: that the refused prompt has.
    """

    window: int | None = None
    completion: int | None = None
    prompt: int | None = None


_NUMBER = r"(\d{1,9})"
#: Where a figure stands, and whose words these are. Each has one number and no other repetition.
_WINDOW = (
    rf"context length is(?: only)? {_NUMBER}",  # vLLM, OpenAI, OpenRouter, TGI
    rf"context length of(?: only)? {_NUMBER}",  # LM Studio
    rf"context size \({_NUMBER}",  # llama.cpp
    rf"context window of {_NUMBER}",
    rf"tokens > {_NUMBER} maximum",  # Anthropic: "prompt is too long: 210000 tokens > 200000 maximum"
    rf"maximum number of tokens allowed \({_NUMBER}",  # Gemini: "exceeds the maximum number of tokens allowed (1048576)"
    rf"large for model with {_NUMBER} maximum",  # Mistral: "… too large for model with 32768 maximum context length"
)
_COMPLETION = (
    rf"at most {_NUMBER} completion tokens",  # OpenAI, Azure
    rf"> {_NUMBER}, which is the maximum allowed",  # Anthropic: "max_tokens: 20000 > 8192, which is the maximum allowed number …"
    rf"must be less than or equal to `?{_NUMBER}",  # Groq
    rf"range of max_tokens is \[1, {_NUMBER}",  # DeepSeek: "the valid range of max_tokens is [1, 8192]"
    rf"supported range is from 1 \(inclusive\) to {_NUMBER}",  # Gemini
)
_PROMPT = (
    rf"(?<!\d){_NUMBER} in the messages",
    rf"request has {_NUMBER} input tokens",
    rf"resulted in {_NUMBER}",
    rf"passed {_NUMBER}",
    rf"contains at least {_NUMBER}",
    rf"request \({_NUMBER}",
    rf"prompt is too long: {_NUMBER}",
    rf"Prompt contains {_NUMBER}",
    rf"input token count \({_NUMBER}",
)
_FIGURES = {
    name: tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)
    for name, patterns in (("window", _WINDOW), ("completion", _COMPLETION), ("prompt", _PROMPT))
}


def told(message: str, body: object) -> TokenLimits:
    """The limits that a refusal names.

    Args:
        message: its words.
        body: its error object; llama.cpp puts the figures there.
    """
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    text = message[:_MAX_TEXT]
    return TokenLimits(
        window=_count(fields.get("n_ctx")) or _figure("window", text),
        completion=_figure("completion", text),
        prompt=_count(fields.get("n_prompt_tokens")) or _figure("prompt", text),
    )


def is_too_long(message: str) -> bool:
    """Whether a refusal says that prompt, or prompt and answer, do not fit the model's context."""
    text = message[:_MAX_TEXT].lower()
    return any(words in text for words in _TOO_LONG)


def _figure(kind: str, text: str) -> int | None:
    found = (pattern.search(text) for pattern in _FIGURES[kind])
    return next((_count(int(match[1])) for match in found if match), None)


def _count(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None
