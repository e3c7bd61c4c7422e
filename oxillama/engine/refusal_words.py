"""What an error answer says, however engines and the proxies before them wrap it: all its sentences, and all that it names.

`engine_words` has the sentence that a caller may be told; this is for programs, which look for known words and figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from oxillama import engine_words
from oxillama.engine.echo import Echo

#: So many characters are looked at: a refusal tells what it is about at its beginning, and may quote a whole prompt.
_MAX_TEXT = 4_000
_MAX_NAME = 100
#: Errors within errors; none is known with more than four.
_MAX_LEVELS = 20
_MAX_PIECES = 50
#: Objects and lists that are looked into, so that a wide answer costs no more than a deep one.
_MAX_LOOKS = 500

#: Where sentences are: OpenAI, Ollama, FastAPI and pydantic; OpenRouter's `metadata.raw` (charmbracelet/crush#279); DeepInfra's
#: `error_message` (ai-christianson/RA.Aid#41). FastAPI's `input` is what the caller sent, and none of them.
_SENTENCES = ("message", "error", "detail", "msg", "metadata", "raw", "error_message")
_CODES = ("code", "type", "param")
_QUOTATION_MARKS = re.compile("(['\"`])")
#: What a caller may have put into an engine's mouth: several words.
_MIN_ECHO = 8


@dataclass(frozen=True)
class RefusalWords:
    """What an error answer says.

    Attributes:
        sentences: in one text, from the outside in.
        names: its codes, and the parameters that it names: OpenAI's `param`, FastAPI's `loc` as `tools.0.function.strict`.
    """

    sentences: str
    names: str

    @classmethod
    def of(cls, body: object) -> RefusalWords:
        """The words of an error answer.

        Args:
            body: its JSON, decoded, or any text.
        """
        sentences: list[str] = []
        names: list[str] = []
        for looks, piece in enumerate(_pieces(body, _MAX_LEVELS)):
            if isinstance(piece, str):
                sentences.append(piece)
            else:
                names += _names(piece)
            if looks == _MAX_LOOKS or len(sentences) == _MAX_PIECES:
                break
        # A proxy's sentence may hold the engine's answer as JSON within a text (infiniflow/ragflow#11815).
        text = "\n".join(sentences)[:_MAX_TEXT].replace('\\"', '"')
        return cls(text, "\n".join(names[:_MAX_PIECES]))

    def without_echo(self, echo: Echo) -> RefusalWords:
        """The words without quotations of the request: else a caller could say something in the engine's name.

        Args:
            echo: of the request.
        """
        heard = []
        pieces = _QUOTATION_MARKS.split(self.sentences)
        for place, piece in enumerate(pieces):
            is_quoted = 0 < place < len(pieces) - 1 and " " in piece.strip() and len(piece) >= _MIN_ECHO
            if not (is_quoted and echo.holds(piece)):
                heard.append(piece)
        return RefusalWords("".join(heard), self.names)


def _pieces(body: object, levels: int) -> Iterator[dict[str, Any] | str]:
    """The objects and sentences of an error, from the outside in."""
    if not levels:
        return
    if isinstance(body, str):
        inner = engine_words.parsed(body)
        if inner is not None:
            yield from _pieces(inner, levels - 1)
        elif body and "<html" not in body[:_MAX_TEXT].lower():
            yield body[:_MAX_TEXT]
    elif isinstance(body, list):
        for one in body[:_MAX_PIECES]:
            yield from _pieces(one, levels - 1)
    elif isinstance(body, dict):
        yield body
        for name in _SENTENCES:
            yield from _pieces(body.get(name), levels - 1)


def _names(piece: dict[str, Any]) -> list[str]:
    place = piece.get("loc")
    names = [piece.get(name) for name in _CODES]
    if isinstance(place, list | tuple):
        names.append(".".join(str(part)[:_MAX_NAME] for part in place[:10]))
    return [name[:_MAX_NAME] for name in names if isinstance(name, str) and name]
