"""How much is raced, and the clock of whoever races."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import Phase

from tests.races import clocks

#: How many times more than in an ordinary test run.
FACTOR = int(os.environ.get("RACES", "1"))

#: An ordinary run fails at once; `make test-races` takes its time and cuts a failing order down to what matters.
PHASES = tuple(Phase) if FACTOR > 1 else (Phase.generate,)
#: What was raced, and how often.
TALLY: Counter[str] = Counter()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FACTOR > 1:
        terminalreporter.section("races")
        for name, count in sorted(TALLY.items()):
            terminalreporter.line(f"{count:8} {name}")


@pytest.fixture(autouse=True)
def clock_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    clocks.patch(monkeypatch)
    yield
    clocks.reset()
