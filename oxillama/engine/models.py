"""Which of the engine's models answers for the name that a caller asked for."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from oxillama.errors import EngineError, EngineUnavailable
from oxillama.recent import Recent

logger = logging.getLogger(__name__)

_NOT_FOR_CHAT = re.compile(
    r"embed|minilm|rerank|colbert|whisper|transcribe|moderation|dall-e|stable-diffusion|(?:^|[/_:-])(?:bge|gte|e5|tts|clip|sdxl|flux)(?:[/_:.-]|$)",
    re.IGNORECASE,
)
#: Names of models that callers may make us remember.
_MAX_REMEMBERED = 1000
#: Of an engine's model; no longer one is known, and it comes into logs.
_MAX_NAME = 256
_CHAT_TYPES = frozenset({"model", "chat", "language", "llm", "vlm", "code", "text", "base"})
_CHAT_CAPABILITIES = frozenset({"completion", "completions", "chat", "completion_chat", "text-generation"})
#: vLLM; OpenRouter, Together and others; Mistral and LM Studio; Groq.
_WINDOW_NAMES = ("max_model_len", "context_length", "max_context_length", "loaded_context_length", "context_window")
#: How long what an engine's list says of its models is believed.
_WINDOWS_SECONDS = 60.0


class ModelChoice:
    """Names as callers know them, and as the engine does.

    Args:
        model_map: the operator's choice, which nothing overrules.
        ask: fetches the engine's `/models`; may raise any EngineError.
    """

    def __init__(self, model_map: Mapping[str, str], ask: Callable[[], Awaitable[object]]) -> None:
        self._map, self._ask = dict(model_map), ask
        self._instead: Recent[str, str] = Recent(_MAX_REMEMBERED)
        self._one_at_a_time = asyncio.Lock()
        self._windows: dict[str, int] = {}
        self._asked_windows_at = float("-inf")

    def served(self, name: str) -> str:
        """The engine's name for what the caller calls `name`."""
        return self._map.get(name) or self._instead.get(name, name)

    async def instead(self, name: str, missing: str) -> str:
        """Another model for `name`, as the engine does not have `missing`; remembered from then on.

        Raises:
            EngineUnavailable: the operator mapped the name to `missing`, or the engine has nothing else that can chat.
        """
        if name in self._map:
            raise EngineUnavailable(f"The model engine does not have '{missing}', which OXILLAMA_MODEL_MAP names for '{name}'.")
        async with self._one_at_a_time:
            found = self._instead.get(name)
            if found is None or found == missing:
                found = await self._first_chat_model()
                if found is None or found == missing:
                    raise EngineUnavailable("The model engine has no model that can chat.")
                self._instead[name] = found
                logger.warning("The engine does not have the model %r; %r answers instead.", name, found)
        return found

    async def context_tokens(self, model: str) -> int | None:
        """Tokens that prompt and answer may have together, as the engine's list of models says; None when it does not.

        Args:
            model: the engine's name.
        """
        if time.monotonic() - self._asked_windows_at > _WINDOWS_SECONDS:
            self._asked_windows_at = time.monotonic()
            try:
                entries = _entries(await self._ask())
            except EngineError:
                entries = []
            self._windows = {entry["id"]: window for entry in entries if (window := _window(entry)) is not None}
        return self._windows.get(model)

    async def _first_chat_model(self) -> str | None:
        try:
            answer = await self._ask()
        except EngineError:
            return None
        return next((str(entry["id"]) for entry in _entries(answer) if _can_chat(entry)), None)


def _entries(answer: object) -> list[dict[str, Any]]:
    """The models of a `/models` answer, each with what llama.cpp says about it in a list of its own."""
    if not isinstance(answer, dict):
        answer = {"data": answer}
    lists = [answer.get(key) for key in ("data", "models")]
    listed, described = ([entry for entry in one if isinstance(entry, dict)] if isinstance(one, list) else [] for one in lists)
    more = {entry.get("name"): entry for entry in described}
    return [
        {**more.get(entry["id"], {}), **entry} for entry in listed if isinstance(entry.get("id"), str) and 0 < len(entry["id"]) <= _MAX_NAME
    ]


def _window(entry: dict[str, Any]) -> int | None:
    """The context of a model in a list: the smallest of what it says, for OpenRouter tells the model's and its provider's."""
    provider = entry.get("top_provider")
    said = [entry.get(name) for name in _WINDOW_NAMES]
    said += [provider.get("context_length")] if isinstance(provider, dict) else []
    return min((tokens for tokens in said if type(tokens) is int and tokens > 0), default=None)


def _can_chat(entry: dict[str, Any]) -> bool:
    if _NOT_FOR_CHAT.search(entry["id"]):
        return False
    kind = entry.get("type")
    if isinstance(kind, str) and kind and kind.lower() not in _CHAT_TYPES:
        return False
    capabilities = entry.get("capabilities")
    if isinstance(capabilities, dict) and _CHAT_CAPABILITIES & capabilities.keys():
        if not any(capabilities.get(name) for name in _CHAT_CAPABILITIES):
            return False
    elif isinstance(capabilities, list) and capabilities and not _CHAT_CAPABILITIES & set(map(str, capabilities)):
        return False
    architecture = entry.get("architecture")
    produces = architecture.get("output_modalities") if isinstance(architecture, dict) else None
    return not isinstance(produces, list) or not produces or "text" in produces
