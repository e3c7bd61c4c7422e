"""A soak of some seconds, so that the long one is known to work when it is wanted: `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stress.soak import soak


@pytest.mark.timeout(300)
def test_some_seconds_of_it(tmp_path: Path):
    report = soak(minutes=0.3, seed=1, run_expiry=6)
    saved = report.save(tmp_path)
    assert not report.violations, "\n".join(report.lines())
    counts = report.counts()
    assert counts["kills"] > 0 and counts["kills by kind"]["blackout"] == 1
    assert {"message created", "message modified", "run created", "thread created"} <= set(counts["acknowledged by kind"])
    assert counts["streams read"] > 0 and counts["runs"] > 0
    assert saved.read_text().startswith("{")
