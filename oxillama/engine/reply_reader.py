"""Reading a prompted reply while it arrives: JSON in pieces becomes the deltas that an engine with tools would have sent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import jiter

from oxillama.engine import bounded_json
from oxillama.engine.interface import CallDelta, TextDelta
from oxillama.errors import EngineAnswerUnusable

_CALL = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]+)"\s*,\s*"arguments"\s*:\s*(?=\S)')
_ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*(?=\S)')
#: Characters up to which a document is read anew with each piece; behind them, each time it has grown by this part.
_ALWAYS_READ = 16_384
_READ_AGAIN = 64
#: What may be the end of the document, and not of the value in it.
_MAY_END = " \t\r\n}"
_NO_REPLY = "The model engine did not hold the model to the form of a function call."


class ReplyReader:
    """Reads one reply: `{"name": …, "arguments": {…}}` or `{"answer": …}`.

    An engine that does not hold its model to the schema is believed when it answers in plain text, where an answer is allowed.

    Args:
        answer_allowed: whether the reply need not be a call.
        answer_is_text: whether an answer is a JSON string, to be unescaped; else it is JSON itself, and told as it is written.
    """

    def __init__(self, *, answer_allowed: bool, answer_is_text: bool) -> None:
        self._answer_allowed, self._answer_is_text = answer_allowed, answer_is_text
        self._fragments: list[str] = []
        self._length = 0
        self._kind: str | None = None
        self._told = self._read_until = 0
        self._held = ""

    def read(self, fragment: str) -> Iterator[CallDelta | TextDelta]:
        """What a piece of the document adds to the reply; nothing, as often as not."""
        self._fragments.append(fragment)
        self._length += len(fragment)
        if self._kind in (None, "text") and not self._is_worth_reading():
            return
        if self._kind is None:
            yield from self._begin()
        elif self._kind in ("call", "json"):
            yield from self._pass_on(fragment)
        elif self._kind == "text":
            yield from self._tell(self._text_so_far())
        else:
            yield TextDelta(fragment)

    def finish(self, reason: str) -> Iterator[CallDelta | TextDelta]:
        """The rest, once the engine said why it ended.

        Raises:
            EngineAnswerUnusable: the document ended by itself, and is not a reply.
        """
        if self._kind == "plain":
            return
        whole = self._whole()
        if whole is None:
            if reason in ("length", "content_filter"):
                return
            if self._answer_allowed and self._kind is None and self._document:
                yield TextDelta(self._document)
                return
            raise EngineAnswerUnusable(_NO_REPLY)
        if self._kind in ("call", "json"):
            if len(whole) != (2 if self._kind == "call" else 1):
                raise EngineAnswerUnusable(_NO_REPLY)
            yield from self._value(self._held.rstrip()[:-1].rstrip())
        elif self._kind == "text":
            # Half a surrogate pair is valid JSON and no text.
            yield from self._tell(str(whole["answer"]).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        else:
            yield from self._misplaced(whole)

    def reason(self, reason: str) -> str:
        """Why the reply ended, given why the document did. One that is whole was not cut short, however close the limit was."""
        if self._kind == "plain" or self._whole() is None:
            return reason
        return "tool_calls" if self._kind == "call" else "stop"

    def _is_worth_reading(self) -> bool:
        """Whether enough has come since the document was last read from its beginning: else a long one would cost its square."""
        grown = self._length - self._read_until
        if self._length > _ALWAYS_READ and grown < self._length // _READ_AGAIN:
            return False
        self._read_until = self._length
        return True

    @property
    def _document(self) -> str:
        """All that has come."""
        if len(self._fragments) > 1:
            self._fragments = ["".join(self._fragments)]
        return self._fragments[0] if self._fragments else ""

    def _begin(self) -> Iterator[CallDelta | TextDelta]:
        call, answer = _CALL.match(self._document), _ANSWER.match(self._document)
        if call is not None:
            self._kind = "call"
            yield CallDelta(0, call[1], "")
            yield from self._pass_on(self._document[call.end() :])
        elif answer is not None and self._answer_allowed:
            self._kind = "text" if self._answer_is_text else "json"
            if self._kind == "json":
                yield from self._pass_on(self._document[answer.end() :])
            else:
                yield from self._tell(self._text_so_far())
        elif self._answer_allowed and self._document.strip() and not self._document.lstrip().startswith("{"):
            self._kind = "plain"
            yield TextDelta(self._document)

    def _pass_on(self, fragment: str) -> Iterator[CallDelta | TextDelta]:
        """More of a value that is told as it is written, but for what may already be the end of the document around it."""
        self._held += fragment
        certain = self._held.rstrip(_MAY_END)
        self._held = self._held[len(certain) :]
        yield from self._value(certain)

    def _value(self, text: str) -> Iterator[CallDelta | TextDelta]:
        if text:
            yield CallDelta(0, None, text) if self._kind == "call" else TextDelta(text)

    def _text_so_far(self) -> str:
        try:
            answer = jiter.from_json(self._document.encode(), partial_mode="trailing-strings").get("answer")
        except ValueError:
            # It may hold what JSON does not allow in a string; `finish` is more lenient.
            return ""
        return answer if isinstance(answer, str) else ""

    def _tell(self, text: str) -> Iterator[TextDelta]:
        new = text[self._told :]
        if new:
            self._told = len(text)
            yield TextDelta(new)

    def _misplaced(self, whole: dict[str, object]) -> Iterator[CallDelta | TextDelta]:
        """A whole document that was not recognised while it came: its keys are in another order, or it is something else."""
        arguments = whole.get("arguments")
        if isinstance(whole.get("name"), str) and isinstance(arguments, dict):
            self._kind = "call"
            yield CallDelta(0, str(whole["name"]), json.dumps(arguments, ensure_ascii=False))
        elif self._answer_allowed:
            yield TextDelta(self._document)
        else:
            raise EngineAnswerUnusable(_NO_REPLY)

    def _whole(self) -> dict[str, object] | None:
        try:
            document = bounded_json.parse(self._document.encode("utf-8", "surrogatepass"), strict=False)
        except (EngineAnswerUnusable, ValueError):
            return None
        return document if isinstance(document, dict) else None
