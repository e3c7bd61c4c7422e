"""What was measured against what, whether it reaches its goal; as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Goal:
    """What a figure, or its ratio to its reference, must be.

    Attributes:
        limit: the number.
        at_least: whether it must be that or more; else that or less.
        of_ratio: whether the ratio is meant; else the figure itself.
    """

    limit: float
    at_least: bool
    of_ratio: bool = True

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {_short(self.limit)}{'' if self.of_ratio else ' itself'}"


def at_least(limit: float) -> Goal:
    """Of the reference, this much or more."""
    return Goal(limit, at_least=True)


def at_most(limit: float) -> Goal:
    """Of the reference, this much or less."""
    return Goal(limit, at_least=False)


def itself(goal: Goal) -> Goal:
    """The same for the figure instead of its ratio."""
    return Goal(goal.limit, goal.at_least, of_ratio=False)


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        case: what was done.
        value: the median of its rounds.
        unit: of value and reference.
        goal: None for what is told without being judged.
        reference: median of the same rounds; None when the figure stands alone.
        against: what the reference is.
        ratio: median over the rounds of value / reference.
        details: anything else that helps to understand it.
    """

    case: str
    value: float
    unit: str
    goal: Goal | None = None
    reference: float | None = None
    against: str = ""
    ratio: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        judged = self.ratio if self.goal.of_ratio else self.value
        assert judged is not None, f"{self.case} has no reference"
        return judged >= self.goal.limit if self.goal.at_least else judged <= self.goal.limit


def compared(
    case: str, unit: str, values: Sequence[float], references: Sequence[float], against: str, goal: Goal | None, **details: object
) -> Figure:
    """A figure from rounds in which both were measured next to each other: what slowed one down slowed the other down too."""
    ratio = median(one / reference for one, reference in zip(values, references, strict=True))
    return Figure(case, median(values), unit, goal, median(references), against, ratio, details)


_COLUMNS = ("case", "figure", "reference", "ratio", "goal", "")


def row(figure: Figure) -> tuple[str, ...]:
    """The cells of a figure."""
    reference = "" if figure.reference is None else f"{_short(figure.reference)} {figure.unit}, {figure.against}"
    verdict = {True: "pass", False: "FAIL", None: ""}[figure.passed]
    ratio = "" if figure.ratio is None else _short(figure.ratio)
    return figure.case, f"{_short(figure.value)} {figure.unit}", reference, ratio, str(figure.goal or ""), verdict


def line(figure: Figure) -> str:
    """A figure for a terminal."""
    case, value, reference, ratio, goal, verdict = row(figure)
    details = f"  {figure.details}" if figure.details else ""
    return f"{verdict or '-':4}  {case:62}  {value:>16}  {ratio:>6} {goal:14}  {reference}{details}"


def markdown(figures: Iterable[Figure]) -> str:
    """The table."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *map(row, figures)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def write_json(path: Path, machine: dict[str, Any], figures: Iterable[Figure]) -> None:
    """Everything, for programs."""
    listed = [{**asdict(figure), "goal": str(figure.goal or "") or None, "passed": figure.passed} for figure in figures]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "figures": listed}, indent=1) + "\n")


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
