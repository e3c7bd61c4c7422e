"""Markers: what an engine takes for its chat template's own, wherever it stands. In a caller's text it is broken up, and stays text.

Engines render the template into one text and look for control tokens in all of it, so a message with `<|im_end|>` in it could end itself
and begin another in the name of the system.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from oxillama.engine.properties import Ask
from oxillama.errors import EngineAnswerUnusable, EngineRefused

log = logging.getLogger(__name__)

#: Forms that models have in common and ordinary text has not. `<s>` is not among them: it is HTML, and begins nothing but a text.
_WELL_KNOWN = r"<\|[^\s<>|]{1,64}\|>|<｜[^\s<>｜]{1,64}｜>|\[/?INST\]|<</?SYS>>|</s>|<(?:start|end)_of_turn>"  # noqa: RUF001

#: Tokens of a vocabulary. The largest that is known has a quarter of that.
_MAX_VOCABULARY = 1_000_000
#: Tokens that are described in one answer, which is bounded.
_VOCABULARY_PART = 50_000

#: No model is known with control tokens that have neither; so most requests are sent without any question before.
_SUSPECT = re.compile(r"[<\[]")


class MarkerKnowledge:
    """What must not reach the engine in a caller's text.

    Args:
        ask: as for `EngineProperties`.
        is_llama_cpp: whether it can be asked for the control tokens of its vocabulary; None when it cannot say now.
    """

    def __init__(self, ask: Ask, is_llama_cpp: Callable[[], Awaitable[bool | None]]) -> None:
        self._ask, self._is_llama_cpp = ask, is_llama_cpp
        self._pattern: re.Pattern[str] | None = None

    async def break_up(self, value: Any) -> Any:
        """The same JSON with a space behind the first character of each marker in it. The same value always gives the same.

        Raises:
            EngineError: the engine could tell its control tokens, but not now.
        """
        # Not on the event loop: a request may hold millions of small values.
        if not await asyncio.to_thread(_holds, value, _SUSPECT):
            return value
        pattern = self._pattern
        if pattern is None:
            known = await self._is_llama_cpp()
            own = await self._control_tokens() if known else []
            # Longest first: where one marker begins like another, all of it counts.
            pattern = re.compile("|".join([*map(re.escape, sorted(own, key=len, reverse=True)), _WELL_KNOWN]))
            self._pattern = pattern if known is not None else None
        return await asyncio.to_thread(_broken_up, value, pattern)

    async def _control_tokens(self) -> list[str]:
        """Those of the vocabulary's texts that are read in another way where control tokens are looked for than where not."""
        try:
            size = _vocabulary_size(await self._ask("GET", "/v1/models", None))
            texts: dict[int, str] = {}
            for start in range(0, size, _VOCABULARY_PART):
                part = list(range(start, min(start + _VOCABULARY_PART, size)))
                described = await self._ask("POST", "/tokenize", {"content": part, "with_pieces": True})
                texts |= {number: piece for number, piece in _entries(described) if isinstance(piece, str) and _SUSPECT.search(piece)}
        except (EngineRefused, EngineAnswerUnusable):
            texts = {}
        if not texts:
            log.warning("The engine does not tell its model's control tokens: only well-known markers in messages are broken up.")
            return []
        found = []
        for parse in (True, False):
            question: dict[str, object] = {"content": "\n".join(texts.values()), "parse_special": parse, "with_pieces": True}
            found.append({number for number, _ in _entries(await self._ask("POST", "/tokenize", question))})
        return [texts[number] for number in found[0] - found[1] if number in texts]


def _holds(value: Any, pattern: re.Pattern[str]) -> bool:
    """Whether the pattern is in any text of the JSON, also where arguments of a call write it with escapes."""
    match value:
        case str():
            return pattern.search(value) is not None or "\\" in value
        case list():
            return any(_holds(one, pattern) for one in value)
        case dict():
            return any(_holds(key, pattern) or _holds(one, pattern) for key, one in value.items())
    return False


def _broken_up(value: Any, pattern: re.Pattern[str]) -> Any:
    match value:
        case str():
            return pattern.sub(lambda marker: f"{marker[0][0]} {marker[0][1:]}", value)
        case list():
            return [_broken_up(one, pattern) for one in value]
        case {"name": str(), "arguments": str(arguments)}:
            return {"name": _broken_up(value["name"], pattern), "arguments": _broken_up_json(arguments, pattern)}
        case dict():
            return {_broken_up(key, pattern): _broken_up(one, pattern) for key, one in value.items()}
    return value


def _broken_up_json(text: str, pattern: re.Pattern[str]) -> str:
    """Arguments of a call. Templates render them anew, and then `\\u003c` is a `<`."""
    try:
        parsed = json.loads(text)
        broken = _broken_up(parsed, pattern)
    except (ValueError, RecursionError):
        return _broken_up(text, pattern)
    return text if broken == parsed else json.dumps(broken, ensure_ascii=False)


def _vocabulary_size(models: object) -> int:
    try:
        return min(int(models["data"][0]["meta"]["n_vocab"]), _MAX_VOCABULARY)  # type: ignore[index]
    except (LookupError, OverflowError, TypeError, ValueError):
        return 0


def _entries(answer: object) -> list[tuple[int, object]]:
    """Ids and pieces of a `/tokenize` answer. A piece that is not UTF-8 by itself is a list of bytes."""
    tokens = answer.get("tokens") if isinstance(answer, dict) else None
    return [(one["id"], one.get("piece")) for one in tokens or [] if isinstance(one, dict) and isinstance(one.get("id"), int)]
