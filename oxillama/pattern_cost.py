"""What a regular expression of a JSON schema costs a grammar that is made of it, by one look at each of its characters.

llama.cpp writes a counted repetition out as many times as it may occur, and follows every way through a pattern at once. A pattern
may so be short and keep it busy for minutes (measured with xllamacpp 2026.10: `^(a?){1999}$`, and `.*` three hundred times).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

MAX_CHARACTERS = 1000
#: Written out.
MAX_PLACES = 5000
#: Alternatives, and repetitions that may end at several places. A hundred take a quarter of a second for each token.
MAX_CHOICES = 100
#: Patterns. Schemas that refer to each other bring the same ones up again and again.
_REMEMBERED = 1024

_COUNTS = re.compile(r"\{(\d{0,9})(,?)(\d{0,9})\}")
_UNBOUNDED = {"*": 0, "+": 1, "?": 0}


@dataclass
class _Part:
    places: int = 0
    choices: int = 0
    may_be_empty: bool = True

    def follow(self, part: _Part) -> None:
        self.places += part.places
        self.choices += part.choices
        self.may_be_empty &= part.may_be_empty


class _Group:
    """An open parenthesis: the branches before this one, this one, and its last part, which a quantifier would be about."""

    def __init__(self) -> None:
        self._whole, self._branch, self._last = _Part(may_be_empty=False), _Part(), _Part()

    def add(self, part: _Part) -> None:
        self._branch.follow(self._last)
        self._last = part

    def next_branch(self) -> None:
        self.add(_Part())
        self._whole.places += self._branch.places
        self._whole.choices += self._branch.choices + 1
        self._whole.may_be_empty |= self._branch.may_be_empty
        self._branch = _Part()

    def close(self) -> _Part:
        self.next_branch()
        self._whole.choices -= 1
        return self._whole

    def repeat(self, least: int, most: int | None) -> str | None:
        """The last part, repeated. What is wrong with that."""
        times = max(least, most or 0, 1)
        if self._last.may_be_empty and (times > 1 or most is None):
            return "repeats what may be empty"
        self._last = _Part(self._last.places * times, self._last.choices * times + (least != most), self._last.may_be_empty or least == 0)
        return None


def measure(pattern: str) -> int | str:
    """How many places a pattern can be at once, or what is too much about it. Whether it is one at all is not looked at."""
    if len(pattern) > MAX_CHARACTERS:
        return f"has {len(pattern)} characters, of at most {MAX_CHARACTERS}"
    return _measured(pattern)


@lru_cache(_REMEMBERED)
def _measured(pattern: str) -> int | str:
    groups, position = [_Group()], 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "(":
            groups.append(_Group())
        elif character == ")" and len(groups) > 1:
            part = groups.pop().close()
            groups[-1].add(part)
        elif character == "|":
            groups[-1].next_branch()
        elif character in _UNBOUNDED or (character == "{" and _COUNTS.match(pattern, position - 1)):
            least, most, position = _counts(pattern, position - 1)
            wrong = groups[-1].repeat(least, most)
            if wrong:
                return wrong
        else:
            groups[-1].add(_Part(1, 0, False))
            position = _behind(pattern, position - 1)
    whole = _Part()
    for group in groups:
        whole.follow(group.close())
    if whole.places > MAX_PLACES:
        return f"is {whole.places} places long when its repetitions are written out, of at most {MAX_PLACES}"
    if whole.choices > MAX_CHOICES:
        return f"has {whole.choices} choices when its repetitions are written out, of at most {MAX_CHOICES}"
    return whole.choices + 1


def _counts(pattern: str, position: int) -> tuple[int, int | None, int]:
    """Least and most of the quantifier at a position, and what comes behind it."""
    character = pattern[position]
    if character in _UNBOUNDED:
        return _UNBOUNDED[character], 1 if character == "?" else None, position + 1
    found = _COUNTS.match(pattern, position)
    assert found is not None
    least = int(found[1] or 0)
    most = (int(found[3]) if found[3] else None) if found[2] else least
    return least, most, found.end()


def _behind(pattern: str, position: int) -> int:
    """What comes behind the character, escape or class at a position."""
    if pattern[position] == "\\":
        return position + 2
    if pattern[position] != "[":
        return position + 1
    position += 1
    while position < len(pattern) and pattern[position] != "]":
        position += 2 if pattern[position] == "\\" else 1
    return position + 1
