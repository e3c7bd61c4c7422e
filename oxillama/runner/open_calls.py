"""What a turn gathers besides the text of its message: the calls while they arrive, and what the model thought before them."""

from __future__ import annotations

import logging
from typing import Any

from oxillama import ids
from oxillama.engine.interface import ReasoningDelta
from oxillama.objects import step as step_object

log = logging.getLogger(__name__)

#: No engine's id of a call is longer.
_MAX_ENGINE_ID = 256
#: Signatures of calls that are longer do not go back to the engine; Gemini's have some thousand characters.
_MAX_EXTRA = 100_000
#: Thoughts that are longer do not go back to the engine.
_MAX_THOUGHTS = 1_000_000


class OpenCalls:
    """The calls of one turn. Callers know them by ids of ours, the engine by its own.

    Attributes:
        characters: of all arguments.
    """

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._arguments: list[list[str]] = []
        self._engine_ids: list[str | None] = []
        self._extras: dict[str, dict[str, Any]] = {}
        self.characters = 0

    def __len__(self) -> int:
        return len(self._calls)

    def open(self, name: str, engine_id: str | None) -> dict[str, Any]:
        """Begin a call of a function. Returns it without arguments."""
        call = step_object.function_call(ids.new_call_id(), name, "")
        self._calls.append(call)
        self._arguments.append([])
        self._engine_ids.append(engine_id)
        return call

    def add_arguments(self, index: int, fragment: str) -> None:
        """Append to the arguments of a call."""
        self._arguments[index].append(fragment)
        self.characters += len(fragment)

    def add_extra(self, index: int, extra: dict[str, Any]) -> None:
        """Keep what the engine wants back with a call."""
        if len(str(extra)) <= _MAX_EXTRA:
            self._extras[self._calls[index]["id"]] = {"extra_content": extra}

    def extras(self) -> dict[str, dict[str, Any]]:
        """Our id -> members of the call that the engine wants back with it, as Gemini its signatures (securo-finance/securo#884)."""
        return self._extras

    def whole(self) -> list[dict[str, Any]]:
        """The calls with their arguments."""
        return [
            {**call, "function": {**call["function"], "arguments": "".join(arguments)}}
            for call, arguments in zip(self._calls, self._arguments, strict=True)
        ]

    def engine_ids(self) -> dict[str, str]:
        """Our id -> the engine's. Empty where it gave none, or some that do not tell its calls apart: then it hears ours."""
        given = [one for one in self._engine_ids if one and len(one) <= _MAX_ENGINE_ID]
        if len(set(given)) < len(self._calls):
            return {}
        return {call["id"]: engine_id for call, engine_id in zip(self._calls, given, strict=True)}


class Thoughts:
    """What the model thought in one turn.

    Attributes:
        characters: of all its text.
    """

    def __init__(self) -> None:
        self._members: dict[str, list[str | list[Any]]] = {}
        self.characters = 0

    def add(self, delta: ReasoningDelta) -> None:
        """One more piece."""
        self.characters += len(delta.thoughts if isinstance(delta.thoughts, str) else str(delta.thoughts))
        if delta.member is not None and self.characters <= _MAX_THOUGHTS:
            self._members.setdefault(delta.member, []).append(delta.thoughts)

    def to_send_back(self) -> dict[str, Any]:
        """Members of the assistant's message that calls, as models want them that think between calls. Empty when they are too long."""
        if self.characters > _MAX_THOUGHTS:
            log.warning("The model thought for %d characters before its calls: too many to send back to it.", self.characters)
            return {}
        return {member: _joined(pieces) for member, pieces in self._members.items()}


def _joined(pieces: list[str | list[Any]]) -> str | list[Any]:
    texts = [piece for piece in pieces if isinstance(piece, str)]
    if len(texts) == len(pieces):
        return "".join(texts)
    return [part for piece in pieces if isinstance(piece, list) for part in piece]
