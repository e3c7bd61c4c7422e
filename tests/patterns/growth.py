"""Whether the time that a pattern takes may grow faster than its text: seen in the pattern itself.

Backtracking has nothing to go back to where each character of the text can be read in one way only. So refused are a repetition within a
repetition, and two repetitions of the same characters with nothing between them that only one reading can pass. Where a match may begin
anywhere, a repetition is refused too whose beginning can occur within what it repeats, if it can fail after all: each beginning would read
on to the end.
"""

from __future__ import annotations

import re
import re._constants as sre
import re._parser as parser
from collections.abc import Iterator
from typing import Any

#: A repetition with a bound up to this is a constant factor.
_MAX_FACTOR = 256
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
#: Without effect on which characters are read.
_EMPTY = (sre.AT, sre.ASSERT, sre.ASSERT_NOT)
_SAMPLES = [chr(code) for code in range(256)] + ["ü", "…", "\u3000", "\ud800"]


class Growth(Exception):
    """The pattern may take more than linear time. Its text says why."""


def check(pattern: str | bytes, flags: int = 0, *, is_searched: bool = True) -> None:
    """Raise Growth if a pattern may be slow.

    Args:
        pattern: as it stands in the source.
        flags: those of `re`.
        is_searched: whether a match may begin anywhere in the text.
    """
    if isinstance(pattern, bytes):
        pattern = pattern.decode("latin-1")
        flags |= re.ASCII
    parsed = parser.parse(pattern, flags)
    for sequence in _sequences(parsed, ()):
        _check_sequence(sequence, flags, is_searched)


def _sequences(items: Any, before: tuple[Any, ...]) -> Iterator[list[Any]]:
    """Each way through the pattern as one list, alternatives and groups taken apart."""
    ways: list[list[Any]] = [list(before)]
    for operation, argument in items:
        if operation is sre.SUBPATTERN:
            ways = [way + inner for way in ways for inner in _sequences(argument[3], ())]
        elif operation is sre.ATOMIC_GROUP:
            ways = [way + inner for way in ways for inner in _sequences(argument, ())]
        elif operation is sre.BRANCH:
            ways = [way + inner for way in ways for branch in argument[1] for inner in _sequences(branch, ())]
        else:
            if operation in (sre.ASSERT, sre.ASSERT_NOT):
                for inner in _sequences(argument[1], ()):
                    _check_adjacent(inner, 0)
            ways = [[*way, (operation, argument)] for way in ways]
    yield from ways


def _check_sequence(sequence: list[Any], flags: int, is_searched: bool) -> None:
    for operation, argument in sequence:
        if operation in _REPEATS and _is_long(argument) and any(_has_repeat(way) for way in _sequences(argument[2], ())):
            raise Growth("a repetition within a repetition")
    _check_adjacent(sequence, flags)
    if is_searched:
        _check_beginnings(sequence, flags)


def _check_adjacent(sequence: list[Any], flags: int) -> None:
    for index, (operation, argument) in enumerate(sequence):
        if operation not in _REPEATS or not _is_long(argument):
            continue
        repeated = _characters(argument[2], flags)
        for following, inner in sequence[index + 1 :]:
            if following in _EMPTY:
                continue
            characters = _characters([(following, inner)], flags)
            if following in (*_REPEATS, sre.POSSESSIVE_REPEAT) and _is_long(inner) and characters & repeated:
                raise Growth("two repetitions of the same characters, one behind the other")
            if not (following in _REPEATS and inner[0] == 0) and not characters & repeated:
                break


def _check_beginnings(sequence: list[Any], flags: int) -> None:
    before: list[set[str]] = []
    for index, (operation, argument) in enumerate(sequence):
        if operation is sre.AT and argument in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING):
            return
        if operation is sre.ASSERT_NOT and argument[0] < 0 and not before:
            # Behind what is not of the repetition only one beginning is tried.
            return
        if operation in _EMPTY:
            continue
        if operation in (*_REPEATS, sre.POSSESSIVE_REPEAT) and _is_long(argument):
            repeated = _characters(argument[2], flags)
            can_fail = any(following not in _EMPTY and not _may_be_empty(following, inner) for following, inner in sequence[index + 1 :])
            can_fail = can_fail or any(following in _EMPTY for following, _ in sequence[index + 1 :])
            if can_fail and all(characters & repeated for characters in before):
                raise Growth("its beginning can occur within what it repeats")
        before.append(_characters([(operation, argument)], flags))


def _may_be_empty(operation: Any, argument: Any) -> bool:
    return operation in (*_REPEATS, sre.POSSESSIVE_REPEAT) and argument[0] == 0


def _is_long(argument: Any) -> bool:
    return argument[1] is sre.MAXREPEAT or argument[1] > _MAX_FACTOR


def _has_repeat(sequence: list[Any]) -> bool:
    return any(operation in _REPEATS and argument[1] != argument[0] for operation, argument in sequence)


def _characters(items: Any, flags: int) -> set[str]:
    """Those of the samples that the items may read."""
    found: set[str] = set()
    for operation, argument in items:
        if operation is sre.LITERAL:
            found |= _cased({chr(argument)}, flags)
        elif operation is sre.NOT_LITERAL:
            found |= set(_SAMPLES) - _cased({chr(argument)}, flags)
        elif operation is sre.ANY:
            found |= set(_SAMPLES)
        elif operation is sre.IN:
            found |= _of_class(argument, flags)
        elif operation in (*_REPEATS, sre.POSSESSIVE_REPEAT):
            found |= _characters(argument[2], flags)
        elif operation is sre.SUBPATTERN:
            found |= _characters(argument[3], flags)
        elif operation is sre.ATOMIC_GROUP:
            found |= _characters(argument, flags)
        elif operation is sre.BRANCH:
            found |= {character for branch in argument[1] for character in _characters(branch, flags)}
        elif operation not in _EMPTY:
            found |= set(_SAMPLES)
    return found


def _of_class(items: Any, flags: int) -> set[str]:
    found: set[str] = set()
    for operation, argument in items:
        if operation is sre.LITERAL:
            found.add(chr(argument))
        elif operation is sre.RANGE:
            found |= {one for one in _SAMPLES if argument[0] <= ord(one) <= argument[1]}
        elif operation is sre.CATEGORY:
            name = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}
            kind = str(argument).removeprefix("CATEGORY_").removeprefix("NOT_")
            belongs = {one for one in _SAMPLES if re.match(name[kind], one, flags & re.ASCII)}
            found |= set(_SAMPLES) - belongs if "NOT_" in str(argument) else belongs
    found = _cased(found, flags)
    return set(_SAMPLES) - found if items and items[0][0] is sre.NEGATE else found


def _cased(characters: set[str], flags: int) -> set[str]:
    if not flags & re.IGNORECASE:
        return characters
    return characters | {one.lower() for one in characters} | {one.upper() for one in characters}
