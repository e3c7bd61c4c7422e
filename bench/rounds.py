"""Rounds: things that are to be compared are measured in turn, so that what else goes on in the machine meets all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any


def interleaved(rounds: int, **measures: Callable[[], Any]) -> dict[str, list[Any]]:
    """What each measure gave in each round. Every other round goes backwards, so that none is always the first."""
    results: dict[str, list[Any]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in list(measures)[:: -1 if number % 2 else 1]:
            results[name].append(measures[name]())
    return results


def median_of(results: Sequence[object], name: str) -> float:
    """The median of an attribute of each round's result."""
    return round(median(getattr(result, name) for result in results), 1)
