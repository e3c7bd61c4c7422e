"""Nothing that was acknowledged is lost, and nothing is half there: whatever is done, and wherever it is stopped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.crashes.conftest import EVERY
from tests.crashes.operations import OPERATIONS
from tests.crashes.sweep import THROWS, Result, cut_everywhere, kill_everywhere

pytestmark = pytest.mark.parametrize("name", OPERATIONS)


def assert_nothing_was_wrong(result: Result, kind: str, tried: Counter[str]) -> None:
    tried[f"operations {kind}"] += 1
    tried[f"points at which they were {kind}"] += result.points
    assert result.points and not result.violations, "\n".join(result.violations)


def test_a_process_may_be_killed_at_any_point(name: str, tmp_path: Path, tried: Counter[str]):
    assert_nothing_was_wrong(kill_everywhere(OPERATIONS[name], tmp_path, every=EVERY), "killed", tried)


def test_whoever_recovers_what_is_left_may_be_killed_too(name: str, tmp_path: Path, tried: Counter[str]):
    result = kill_everywhere(OPERATIONS[name], tmp_path, durable=False, every=EVERY, recovery_dies=True)
    assert_nothing_was_wrong(result, "killed with their recovery", tried)


@pytest.mark.skipif(EVERY > 1, reason="the same with fewer points; part of CRASH_SWEEP=whole")
def test_a_process_that_does_not_wait_for_the_device_may_be_killed_too(name: str, tmp_path: Path, tried: Counter[str]):
    assert_nothing_was_wrong(kill_everywhere(OPERATIONS[name], tmp_path, durable=False), "killed when durability is relaxed", tried)


def test_the_power_may_be_cut_at_any_point(name: str, tmp_path: Path, tried: Counter[str]):
    throws = THROWS if EVERY == 1 else 1
    assert_nothing_was_wrong(cut_everywhere(OPERATIONS[name], tmp_path, throws=throws, every=EVERY), "cut off", tried)
