"""`python -m tests.engines [FILE…]`: the matrix of engines and conversations as a table, `ok` or `NO` in each cell.

Files are those of pytest: by default the scripted engines; tests/compat/test_real_engines.py has the real ones.
"""

from __future__ import annotations

import re
import sys

import pytest

from tests.process_control import ROOT

_SCRIPTED = str(ROOT / "tests" / "engines" / "test_matrix.py")


class Cells:
    """Gathers what came of each test whose parameters are an engine and a conversation."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for the setup, the call and the teardown of each test."""
        named = re.search(r"\[(.+)-(\w+)\]$", report.nodeid)
        if named is not None:
            cell = (named[1], named[2])
            self.found[cell] = self.found.get(cell, True) and not report.failed

    def table(self) -> str:
        """A row for each conversation, a column for each engine."""
        engines = list(dict.fromkeys(engine for engine, _ in self.found))
        rows = [["", *engines]]
        for conversation in dict.fromkeys(conversation for _, conversation in self.found):
            words = {True: "ok", False: "NO", None: ""}
            rows.append([conversation, *(words[self.found.get((engine, conversation))] for engine in engines)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


if __name__ == "__main__":
    cells = Cells()
    status = pytest.main(["-q", "-m", "", *(sys.argv[1:] or [_SCRIPTED])], plugins=[cells])
    print(cells.table())
    sys.exit(status)
