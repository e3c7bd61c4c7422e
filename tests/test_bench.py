"""The harness of `make bench` works: every kind of figure comes out. What the figures are is no affair of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import Figure, at_least, at_most, compared, itself, markdown
from tests.process_control import ROOT

#: One case for each part of the harness: load, references of the disk, streams.
SMOKE = ("get", "messages", "deltas")


def test_a_figure_is_judged_by_the_median_of_its_ratios_or_by_itself():
    figure = compared("x", "/s", [10, 20, 90], [10, 10, 100], "reference", at_least(1))
    assert (figure.value, figure.reference, figure.ratio, figure.passed) == (20, 10, 1.0, True)
    assert not compared("x", "ms", [3, 3], [1, 1], "reference", at_most(2)).passed
    assert Figure("x", 3, "ms", itself(at_most(3))).passed
    assert Figure("x", 3, "ms").passed is None
    assert "| x | 3 ms |" in markdown([figure, Figure("x", 3, "ms")])


@pytest.mark.parametrize("case", SMOKE)
def test_a_case_tells_its_figures(case: str, tmp_path: Path):
    command = [sys.executable, "-m", "bench", case, "--smoke", "--disk", str(tmp_path), "--results", str(tmp_path / "results")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = (tmp_path / "results").glob("*.json")
    figures = json.loads(written.read_text())["figures"]
    assert figures
    assert all(figure["value"] > 0 or "added" in figure["case"] for figure in figures)
    assert [path.name for path in tmp_path.iterdir()] == ["results"], "the data was left behind"
