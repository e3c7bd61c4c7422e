"""What a check finds: problems, notes, and how much it has seen. Nothing that is said here quotes a file's content."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    Attributes:
        path: the file or folder.
        what: what is wrong with it, in words.
        is_note: it is what a crash may leave, and is made good or passed over by the next who comes there; or it is only worth knowing.
    """

    path: str
    what: str
    is_note: bool = False

    def __str__(self) -> str:
        return f"{'note: ' if self.is_note else ''}{self.path}: {self.what}"


class Findings:
    """What was found in one place.

    Attributes:
        problems: in the order in which they were found, notes among them.
        counts: how many `projects`, `threads`, `messages` and `runs` were read.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.counts: Counter[str] = Counter()

    def problem(self, path: str, what: str) -> None:
        """Something is wrong with a file."""
        self.problems.append(Problem(path, what))

    def note(self, path: str, what: str) -> None:
        """Something is worth knowing about a file."""
        self.problems.append(Problem(path, what, is_note=True))

    def unless(self, harmless: bool, path: str, what: str) -> None:
        """A problem; where it is `harmless`, a note."""
        (self.note if harmless else self.problem)(path, what)
