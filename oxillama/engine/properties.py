"""What an engine says about itself: llama.cpp's server has `/props` beside `/v1`; others say nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from oxillama.errors import EngineAnswerUnusable, EngineError, EngineRefused

Ask = Callable[[str, str, "dict[str, object] | None"], Awaitable[object]]


class EngineProperties:
    """The engine's description of itself, asked for once.

    Args:
        ask: sends method, path and body to the engine's root and returns the decoded answer. Raises EngineRefused when the
            engine does not know the path, EngineAnswerUnusable when it says nonsense, any other EngineError when it cannot say now.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._said: dict[str, Any] | None = None

    async def context_tokens(self) -> int | None:
        """Size of the context of one conversation; None when unknown."""
        settings = (await self._properties()).get("default_generation_settings")
        size = settings.get("n_ctx") if isinstance(settings, dict) else None
        return size if isinstance(size, int) and size > 0 else None

    async def supports_tools(self) -> bool | None:
        """Whether `tools` reach the model; None when the engine does not say. llama.cpp drops them without a word where they do not."""
        caps = (await self._properties()).get("chat_template_caps")
        supported = caps.get("supports_tools") if isinstance(caps, dict) else None
        return supported if isinstance(supported, bool) else None

    async def is_llama_cpp(self) -> bool | None:
        """Whether this is llama.cpp's server; None when the engine cannot say now."""
        return "default_generation_settings" in await self._properties() or (False if self._said is not None else None)

    async def _properties(self) -> dict[str, Any]:
        if self._said is None:
            try:
                answer = await self._ask("GET", "/props", None)
            except (EngineRefused, EngineAnswerUnusable):
                answer = None
            except EngineError:
                # It may say later.
                return {}
            self._said = answer if isinstance(answer, dict) else {}
        return self._said
