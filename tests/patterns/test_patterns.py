"""No regular expression of the product takes more than linear time, whatever its text."""

from __future__ import annotations

import random
import re
import re._constants as sre
import re._parser as parser
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from oxillama import engine_words
from tests.patterns.growth import Growth, check
from tests.patterns.product import Pattern, patterns

PATTERNS, MADE = patterns()
MEBIBYTE = 1024 * 1024
#: For the machine's moods, and for patterns of many alternatives.
MAX_FACTOR = 40
#: Below this a figure says nothing.
UNCERTAIN_SECONDS = 0.05

#: What is put together when the program runs, and an example of it.
EXAMPLES: dict[str, str | bytes] = {
    "oxillama/engine/markers.py: '|'.join([*map(re.escape, sorted(own, key=len, reverse=True)), _WELL_KNOWN])": (
        re.escape("<|im_end|>") + "|" + r"<\|[^\s<>|]{1,64}\|>|<｜[^\s<>｜]{1,64}｜>|\[/?INST\]|<</?SYS>>|</s>|<(?:start|end)_of_turn>"  # noqa: RUF001
    ),
    "oxillama/engine_words.py: re.escape(secret) + '(?::\\\\d{1,5})?'": r"127\.0\.0\.1(?::\d{1,5})?",
    "oxillama/schemas/fields.py: self.pattern": "^[a-zA-Z0-9_-]+$",
    "oxillama/store/check/files.py: ignored": r"[a-z_]+[0-9A-Za-z]{24}",
    "oxillama/store/check/files.py: folders": r"[a-z_]+[0-9A-Za-z]{24}",
    "oxillama/store/check/files.py: files": r"[a-z_]+[0-9A-Za-z]{24}\.json",
    'oxillama/store/line_reader.py: b\'\\\\{"id":"([a-z]+_[0-9A-Za-z]{%d})"\' % (ids.STAMP_LENGTH + ids.RANDOM_LENGTH)': (
        rb'\{"id":"([a-z]+_[0-9A-Za-z]{24})"'
    ),
}


def test_every_pattern_is_known() -> None:
    assert len(PATTERNS) > 15
    assert set(MADE) == set(EXAMPLES), "a pattern that is put together needs an example here"


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.where)
def test_none_can_grow(pattern: Pattern) -> None:
    check(pattern.text, pattern.flags, is_searched=pattern.is_searched)


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_none_that_is_put_together_can_grow(text: str | bytes) -> None:
    check(text, is_searched=False)


@pytest.mark.parametrize(
    "slow",
    [
        r"(a+)+b",
        r"(?:a|b+)*c",
        r"(a*)*",
        r"\s*\s*x",
        r"\d+\.?\d+x",
        r"[a-z0-9_.-]*[a-z][a-z0-9_.-]*:\d",
        r".*foo.*bar",
        r"(\d+) in the messages",
        r"\b[a-z][a-z0-9+.-]*://",
        r"event: [^\n]*\n",
        r"<[^>]*>",
    ],
)
def test_what_can_grow_is_seen(slow: str) -> None:
    with pytest.raises(Growth):
        check(slow)


@pytest.mark.parametrize(
    "fast", [r"^a+b+", r"\[[^\]\[]*\]", r"^event: [^\n]*\n", r"(?<![a-z])[a-z]++:", r"sk-\S+", r"(ab){3}c", r"\d{1,9}x"]
)
def test_what_cannot_grow_is_let_through(fast: str) -> None:
    check(fast)


def hostile(pattern: Pattern, count: int) -> Iterator[str]:
    """Texts made of what a pattern is made of: pieces of it over and over, and at last something that it does not expect."""
    source = pattern.text.decode("latin-1") if isinstance(pattern.text, bytes) else pattern.text
    chance = random.Random(source)
    atoms = [*_atoms(parser.parse(source, pattern.flags)), "a", " ", "1", "."]
    for _ in range(count):
        unit = "".join(chance.choices(atoms, k=chance.choice((1, 1, 2, 3, 5))))
        before = "".join(chance.choices(atoms, k=chance.randrange(4)))
        yield before + unit * (MEBIBYTE // len(unit)) + chance.choice(("", "\0", "\n", "!", *atoms))


def _atoms(items: Any) -> Iterator[str]:
    literal = ""
    for operation, argument in items:
        if operation is sre.LITERAL:
            literal += chr(argument)
            continue
        if literal:
            yield literal
        literal = ""
        if operation is sre.IN:
            yield from (chr(one[1] if one[0] is sre.LITERAL else one[1][0]) for one in argument if one[0] in (sre.LITERAL, sre.RANGE))
        elif operation is sre.SUBPATTERN:
            yield from _atoms(argument[3])
        elif operation is sre.BRANCH:
            for branch in argument[1]:
                yield from _atoms(branch)
        elif operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            yield from _atoms(argument[2])
        elif operation in (sre.ASSERT, sre.ASSERT_NOT):
            yield from _atoms(argument[1])
    if literal:
        yield literal


UNITS = ("a", "a.", "1", "1.", " ", "\n", "[", "[1", "<", "<|", "a:", "sk-", "Bearer ", "://", "\\", '"', "event: ", "model ")
HAND_MADE = [*(unit * (MEBIBYTE // len(unit)) for unit in UNITS), '{"name": "' + "a" * MEBIBYTE]


def assert_linear(work: Callable[[str], object], text: str) -> None:
    """No more time a character than some linear pattern takes on this machine, times some. A slow one fails early."""
    for size in (MEBIBYTE // 1024, MEBIBYTE // 64, MEBIBYTE):
        took = _seconds(work, text[:size])
        assert took < max(UNCERTAIN_SECONDS, MAX_FACTOR * _reference() * size), f"{size} characters like {text[:40]!r}"


@cache
def _reference() -> float:
    """Seconds a character of a pattern that reads fifty characters from each beginning on."""
    return min(_seconds(re.compile("[a-z]{1,50}!").search, "a" * 65536) for _ in range(3)) / 65536


def _seconds(work: Callable[[str], object], text: str) -> float:
    began = time.process_time()
    work(text)
    return time.process_time() - began


def searching(pattern: Pattern) -> Callable[[str], object]:
    compiled: Any = pattern.compiled
    act = (lambda text: sum(1 for _ in compiled.finditer(text))) if pattern.is_searched else compiled.fullmatch
    return (lambda text: act(text.encode("latin-1", "replace"))) if isinstance(pattern.text, bytes) else act


#: 200 in all for the patterns that there are.
EACH = -(-200 // len(PATTERNS))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.where)
def test_hostile_texts_take_time_in_proportion(pattern: Pattern) -> None:
    for text in (*HAND_MADE, *hostile(pattern, EACH)):
        assert_linear(searching(pattern), text)


@pytest.mark.parametrize("text", ["a." * 2000, *HAND_MADE], ids=lambda text: repr(text[:8]))
def test_a_refusal_that_quotes_its_caller_is_told_in_proportion(text: str) -> None:
    secrets = engine_words.secrets("http://127.0.0.1:8000/v1", "sk-key")
    assert_linear(lambda part: engine_words.quotable(engine_words.told({"error": {"message": part}}), secrets), text)


def test_a_slow_pattern_is_noticed() -> None:
    slow = re.compile(r"[a-z.]*[a-z][a-z.]*:")
    with pytest.raises(AssertionError):
        assert_linear(slow.search, "a." * MEBIBYTE)
    slow = re.compile(r"(\d+) in the messages")
    with pytest.raises(AssertionError):
        assert_linear(slow.search, "1" * MEBIBYTE)
