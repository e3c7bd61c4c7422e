"""Token counts and context size, from engines that can tell: llama.cpp's server has `/tokenize` and `/props` beside `/v1`."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from oxillama.errors import EngineAnswerUnusable, EngineError, EngineRefused

#: Text of most languages has more characters a token than this; an estimate that is too high only drops a message too many.
_CHARACTERS_PER_TOKEN = 3

Ask = Callable[[str, str, "dict[str, object] | None"], Awaitable[object]]


class TokenKnowledge:
    """What the engine says about tokens.

    Args:
        ask: sends method, path and body to the engine's root and returns the decoded answer. Raises EngineRefused when the
            engine does not know the path, EngineAnswerUnusable when it says nonsense, any other EngineError when it cannot say now.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._context: int | None = None
        self._asked_context = False
        self._can_count = True

    async def context_tokens(self) -> int | None:
        """Size of the context of one conversation, asked for once; None when the engine does not say."""
        if not self._asked_context:
            try:
                answer = await self._ask("GET", "/props", None)
            except (EngineRefused, EngineAnswerUnusable):
                answer = None
            except EngineError:
                return None
            self._asked_context = True
            settings = answer.get("default_generation_settings") if isinstance(answer, dict) else None
            size = settings.get("n_ctx") if isinstance(settings, dict) else None
            self._context = size if isinstance(size, int) and size > 0 else None
        return self._context

    async def count_tokens(self, text: str) -> int:
        """Tokens in `text`; an estimate when the engine cannot count, which is found out once."""
        if self._can_count and text:
            try:
                answer = await self._ask("POST", "/tokenize", {"content": text})
            except (EngineRefused, EngineAnswerUnusable):
                answer = None
            except EngineError:
                return _estimate(text)
            tokens = answer.get("tokens") if isinstance(answer, dict) else None
            if isinstance(tokens, list):
                return len(tokens)
            self._can_count = False
        return _estimate(text)


def _estimate(text: str) -> int:
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)
