"""How many points the sweeps tried, told at the end of the session."""

from __future__ import annotations

import os
from collections import Counter

import pytest

#: All points with CRASH_SWEEP=whole; else each of these many, other ones for other operations.
EVERY = 1 if os.environ.get("CRASH_SWEEP") == "whole" else 6

_tried = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_tried] = Counter()


@pytest.fixture
def tried(pytestconfig: pytest.Config) -> Counter[str]:
    """Operations and points that were tried."""
    return pytestconfig.stash[_tried]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[_tried]:
        terminalreporter.section("crashes")
        for name, count in config.stash[_tried].items():
            terminalreporter.line(f"{name}: {count}")
