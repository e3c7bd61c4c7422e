"""Token counts, from engines that can tell: llama.cpp's server has `/tokenize` beside `/v1`."""

from __future__ import annotations

import math

from oxillama.engine.properties import Ask
from oxillama.errors import EngineAnswerUnusable, EngineError, EngineRefused

#: Text of most languages has more characters a token than this; an estimate that is too high only drops a message too many.
_CHARACTERS_PER_TOKEN = 3


class TokenKnowledge:
    """How many tokens a text has.

    Args:
        ask: as for `EngineProperties`.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._can_count = True

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
