"""The same pairs as real processes, released at once: what happens between two system calls is left to the kernel."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.builders import Child, open_store
from tests.races.conftest import FACTOR, TALLY
from tests.races.interleaving import same_directory
from tests.races.pairs import PAIRS, Act, Scene, attempt
from tests.races.soundness import Watch
from tests.waiting import is_readable

ROUNDS = 5 * FACTOR
#: One operation takes milliseconds. Whoever takes longer hangs.
LIMIT_SECONDS = 20.0
#: The longest head start of either. An operation takes about as long.
HEAD_START_SECONDS = 0.006


class Racer:
    """A process that does an act in one scene after the other, each when it is told."""

    def __init__(self, act: Act, scenes: list[Scene], number: int) -> None:
        told, self._tell = os.pipe()
        self._heard, report = os.pipe()

        def race() -> None:
            for scene in scenes:
                time.sleep(float(os.read(told, 32)))
                outcome = attempt(act, scene, (scene.first, scene.second)[number])
                os.write(report, outcome.encode())

        self._child = Child(race)
        os.close(told)
        os.close(report)

    def go(self, delay: float) -> None:
        os.write(self._tell, f"{delay:.6f}".encode())

    def outcome(self) -> str:
        assert is_readable(self._heard, LIMIT_SECONDS), "hangs"
        outcome = os.read(self._heard, 32).decode()
        assert outcome, "failed"
        return outcome

    def close(self) -> None:
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.finish()
        os.close(self._tell)
        os.close(self._heard)


@pytest.mark.timeout(600 if FACTOR > 1 else 120)
@pytest.mark.parametrize("name", PAIRS)
def test_two_processes_at_once(tmp_path: Path, name: str) -> None:
    pair, chance = PAIRS[name], random.Random(f"{name} {FACTOR}")
    scenes = []
    for number in range(ROUNDS):
        first = open_store(tmp_path / str(number))
        scene = Scene(first, same_directory(first), Watch(first))
        pair.prepare(scene)
        scenes.append(scene)
    racers = [Racer(pair.first, scenes, 0), Racer(pair.second, scenes, 1)]
    try:
        for scene in scenes:
            ahead = chance.uniform(-HEAD_START_SECONDS, HEAD_START_SECONDS)
            racers[0].go(max(0.0, -ahead))
            racers[1].go(max(0.0, ahead))
            outcomes = (racers[0].outcome(), racers[1].outcome())
            pair.judge(scene, outcomes)
            TALLY[f"of processes, {name}: {', '.join(outcomes)}"] += 1
    finally:
        for racer in racers:
            racer.close()
    for scene in scenes:
        # Only now: in a child that lives, its runners live too.
        scene.end()
