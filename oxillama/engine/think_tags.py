"""Thoughts that a model writes into its answer: `<think>…</think>` at the beginning, which belongs to neither text nor delta."""

from __future__ import annotations

_TAGS = ("think", "thinking", "thought", "reasoning")
_OPENING = tuple(f"<{tag}>" for tag in _TAGS)
#: Blank characters before a tag. Models that write more of them than this have lost their way.
_MAX_BLANKS = 1_000


class ThinkTagSplitter:
    """Divides the text of one answer, in pieces of any size, into thoughts and answer.

    Only what may still become the tag is held back, so that an ordinary answer is passed on as it comes. Tags further on are text: an
    answer may be about them. So is a closing tag without an opening one, of which nothing tells before it comes.
    """

    def __init__(self) -> None:
        self._held = ""
        self._closing: str | None = None
        self._is_answer = False
        self._is_first = False

    def split(self, text: str) -> tuple[str, str]:
        """Thoughts and answer in one more piece; either may be empty."""
        if self._is_answer:
            return "", self._answer(text)
        self._held += text
        if self._closing is None and not self._open():
            return "", ""
        if self._is_answer:
            text, self._held = self._held, ""
            return "", text
        assert self._closing is not None
        thoughts, closing, answer = self._held.partition(self._closing)
        if closing:
            self._is_answer, self._is_first, self._held = True, True, ""
            return thoughts, self._answer(answer)
        kept = _overlap(self._held, self._closing)
        thoughts, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return thoughts, ""

    def rest(self) -> str:
        """What was held back and never became a tag; nothing while a thought is open."""
        if self._closing is not None or self._is_answer:
            return ""
        text, self._held = self._held, ""
        return text

    def _open(self) -> bool:
        """Whether it is decided how the answer begins."""
        begins = self._held.lstrip()
        if any(tag.startswith(begins) and tag != begins for tag in _OPENING) and len(self._held) - len(begins) <= _MAX_BLANKS:
            return False
        opening = next((tag for tag in _OPENING if begins.startswith(tag)), None)
        if opening is None:
            self._is_answer = True
        else:
            self._closing, self._held = f"</{opening[1:]}", begins[len(opening) :]
        return True

    def _answer(self, text: str) -> str:
        """The answer's text without the blank lines between it and the thoughts."""
        if self._is_first:
            text = text.lstrip()
            self._is_first = not text
        return text


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of the text may be the beginning of the tag."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-size:])), 0)
