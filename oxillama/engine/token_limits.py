"""The limits on tokens that an engine names when it refuses a request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from oxillama.engine.echo import Echo

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
    "exceed context window",  # llama-cpp-python
    "context window exceeds limit",  # MiniMax
    "longer than the maximum model length",  # vLLM
    "longer than the model's context length",  # SGLang
    "too long to fit into the model",  # vLLM
    "greater than the context length",  # LM Studio
    "loaded with context length of only",  # LM Studio
    "`max_new_tokens` must be <=",  # Text Generation Inference, Together
    "exceeded model token limit",  # Moonshot
    "maximum prompt length is",  # xAI
    "range of input length should be",  # DashScope
    "configured limit of",  # OpenAI
    "exceeds the limit of",  # GitHub's models
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


#: First found, first kept, for each of `window`, `completion`, `prompt`, `tools` (a part of the prompt that is counted apart) and `below`.
_FIGURES = (
    # OpenAI, Azure, vLLM, SGLang, DeepSeek, and as "endpoint's" OpenRouter; vLLM's later form: vllm-project/vllm#33418.
    re.compile(r"maximum context length (?:is|of) (?P<window>\d{1,12})", re.IGNORECASE),
    # vLLM, LM Studio ("is loaded with context length of only": lmstudio-ai/lmstudio-bug-tracker).
    re.compile(r"context length (?:is|of) only (?P<window>\d{1,12})", re.IGNORECASE),
    # vLLM: "you requested 5000 tokens (1000 in the messages, 50 in the functions, and 3950 in the completion)" (vllm-project/vllm#20409).
    re.compile(r"\((?P<prompt>\d{1,12}) in (?:the|your) (?:messages|prompt)(?:, (?P<tools>\d{1,12}) in the functions)?", re.IGNORECASE),
    # OpenRouter: "about 40000 tokens (30000 of text input, 2000 of tool input, 8000 in the output)".
    re.compile(r"\((?P<prompt>\d{1,12}) of text input(?:, (?P<tools>\d{1,12}) of tool input)?", re.IGNORECASE),
    # vLLM: "your request has 2104 input tokens", "contains at least 8093 input tokens", "passed 9001 input tokens".
    re.compile(r"(?:has|at least|passed|contains) (?P<prompt>\d{1,12}) input tokens", re.IGNORECASE),
    # vLLM: "(length 9000) is longer than the maximum model length of 8192", "(total length 25938) is too long to fit into the model
    # (context length 4096)" (vllm-project/vllm#12165).
    re.compile(
        r"\((?:total )?length (?P<prompt>\d{1,12})\) is longer than the maximum model length of (?P<window>\d{1,12})", re.IGNORECASE
    ),
    re.compile(r"length (?P<prompt>\d{1,12})\) is too long to fit into the model \(context length (?P<window>\d{1,12})", re.IGNORECASE),
    # OpenAI: "your messages resulted in 8545 tokens"; and "Input tokens exceed the configured limit of 272000 tokens".
    re.compile(r"messages resulted in (?P<prompt>\d{1,12}) tokens", re.IGNORECASE),
    re.compile(r"configured limit of (?P<window>\d{1,12}) tokens", re.IGNORECASE),
    # SGLang: "1000 tokens from the input messages and 8000 tokens for the completion"; "The input (9000 tokens) is longer than the
    # model's context length (8192 tokens)".
    re.compile(r"\b(?P<prompt>\d{1,12}) tokens from the input messages", re.IGNORECASE),
    re.compile(r"input \((?P<prompt>\d{1,12}) tokens\) is longer than the model's context length \((?P<window>\d{1,12})", re.IGNORECASE),
    # llama.cpp: langchain-ai/openwiki#648.
    re.compile(
        r"request \((?P<prompt>\d{1,12}) tokens\) exceeds the available context size \((?P<window>\d{1,12}) tokens\)", re.IGNORECASE
    ),
    # llama-cpp-python: fedora-copr/logdetective-website#193.
    re.compile(r"requested tokens \((?P<prompt>\d{1,12})\) exceed context window of (?P<window>\d{1,12})", re.IGNORECASE),
    # LM Studio: "greater than the context length (n_keep: 6000>= n_ctx: 4096)".
    re.compile(r"n_keep: (?P<prompt>\d{1,12}) ?>= ?n_ctx: (?P<window>\d{1,12})", re.IGNORECASE),
    # Anthropic: "prompt is too long: 208310 tokens > 200000 maximum"; "exceed context limit: 188240 + 21333 > 200000".
    re.compile(r"prompt is too long: (?P<prompt>\d{1,12}) tokens > (?P<window>\d{1,12}) maximum", re.IGNORECASE),
    re.compile(r"exceed context limit: (?P<prompt>\d{1,12}) \+ \d{1,12} > (?P<window>\d{1,12})", re.IGNORECASE),
    # Anthropic: "max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens for …".
    re.compile(r"max_tokens: \d{1,12} > (?P<completion>\d{1,12})", re.IGNORECASE),
    # Gemini: "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)".
    re.compile(r"input token count \((?P<prompt>\d{1,12})\) exceeds the maximum", re.IGNORECASE),
    re.compile(r"maximum number of tokens allowed \((?P<window>\d{1,12})\)", re.IGNORECASE),
    # Gemini: "maxOutputTokens value of 100000 but the supported range is from 1 (inclusive) to 8193 (exclusive)".
    re.compile(r"supported range is from 1 \(inclusive\) to (?P<below>\d{1,12}) \(exclusive\)", re.IGNORECASE),
    # xAI: "maximum prompt length is 131072 but the request contains 537812 tokens".
    re.compile(r"maximum prompt length is (?P<window>\d{1,12}) but the request contains (?P<prompt>\d{1,12})", re.IGNORECASE),
    # Mistral: "Prompt contains 40965 tokens and 0 draft tokens, too large for model with 32768 maximum context length".
    re.compile(r"prompt contains (?P<prompt>\d{1,12}) tokens", re.IGNORECASE),
    re.compile(r"too large for model with (?P<window>\d{1,12}) maximum context length", re.IGNORECASE),
    # Text Generation Inference, Together: "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 3000 `inputs` tokens".
    re.compile(r"`max_new_tokens` must be <= (?P<window>\d{1,12})", re.IGNORECASE),
    re.compile(r"given: (?P<prompt>\d{1,12}) `inputs` tokens", re.IGNORECASE),
    # Moonshot: "exceeded model token limit: 262144 (requested: 291351)".
    re.compile(r"exceeded model token limit: (?P<window>\d{1,12}) \(requested: (?P<prompt>\d{1,12})\)", re.IGNORECASE),
    # GitHub's models: "prompt token count of 128001 exceeds the limit of 64000".
    re.compile(r"prompt token count of (?P<prompt>\d{1,12}) exceeds the limit of (?P<window>\d{1,12})", re.IGNORECASE),
    # Cerebras: "Current length is 9001 while limit is 8192".
    re.compile(r"current length is (?P<prompt>\d{1,12}) while limit is (?P<window>\d{1,12})", re.IGNORECASE),
    # Fireworks: "The prompt is too long: 300000, model maximum context length: 262143".
    re.compile(r"prompt is too long: (?P<prompt>\d{1,12}), model maximum context length: (?P<window>\d{1,12})", re.IGNORECASE),
    # DashScope: "Range of input length should be [1, 98304]".
    re.compile(r"range of input length should be \[\d{1,12}, ?(?P<window>\d{1,12})\]", re.IGNORECASE),
    # OpenAI: "This model supports at most 16384 completion tokens, whereas you provided 30000".
    re.compile(r"supports at most (?P<completion>\d{1,12}) completion tokens", re.IGNORECASE),
    # Groq: "max_completion_tokens must be less than or equal to 40960" (Alishahryar1/free-claude-code#955), the figure often in backticks.
    re.compile(r"max_(?:completion_)?tokens`? must be less than or equal to `?(?P<completion>\d{1,12})", re.IGNORECASE),
    # DeepSeek: "the valid range of max_tokens is [1, 8192]" (nickscamara/open-deep-research#19); DashScope: "should be".
    re.compile(r"range of max_(?:completion_)?tokens (?:is|should be) \[\d{1,12}, ?(?P<completion>\d{1,12})\]", re.IGNORECASE),
    # Ollama's cloud: "max_tokens (384000) exceeds model's maximum output tokens (65536)" (DaviRain-Su/hyper-grok-build#44).
    re.compile(r"exceeds model's maximum output tokens \((?P<completion>\d{1,12})\)", re.IGNORECASE),
    # Bedrock: "The maximum tokens you requested exceeds the model limit of 4096".
    re.compile(r"tokens you requested exceeds the model limit of (?P<completion>\d{1,12})", re.IGNORECASE),
)


def told(message: str, body: object, echo: Echo | None = None) -> TokenLimits:
    """The limits that a refusal names.

    Args:
        message: its words.
        body: its error object; llama.cpp puts the figures there (ggml-org/llama.cpp#15780).
        echo: of the request that was refused; figures that its caller wrote are none of the engine's.
    """
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    found: dict[str, int] = {}
    for pattern in _FIGURES:
        matches = pattern.finditer(message[:_MAX_TEXT])
        match = next((one for one in matches if echo is None or not echo.holds(one[0])), None)
        for kind, digits in match.groupdict().items() if match else ():
            if digits is not None:
                found.setdefault(kind, int(digits))
    completion = found.get("completion", found.get("below", 0) - 1)
    prompt = found["prompt"] + found.get("tools", 0) if "prompt" in found else None
    return TokenLimits(
        window=_count(fields.get("n_ctx")) or _count(found.get("window")),
        completion=_count(completion),
        prompt=_count(fields.get("n_prompt_tokens")) or _count(prompt),
    )


def is_too_long(message: str) -> bool:
    """Whether a refusal says that prompt, or prompt and answer, do not fit the model's context."""
    text = message[:_MAX_TEXT].lower()
    return any(words in text for words in _TOO_LONG)


def _count(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None
