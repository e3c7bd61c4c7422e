"""Every pair of operations, with one held up at each step of its disk while the other goes on: no chance is left to chance."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from oxillama.store import Store
from tests.builders import open_store
from tests.races import interleaving
from tests.races.conftest import FACTOR, PHASES, TALLY
from tests.races.interleaving import Actor, interleave, same_directory
from tests.races.pairs import PAIRS, Pair, Scene, attempt
from tests.races.soundness import Watch

Choose = Callable[[list[Actor]], Actor]


@pytest.fixture(autouse=True)
def stepping(monkeypatch: pytest.MonkeyPatch) -> None:
    interleaving.patch(monkeypatch)


def raced(directory: Store, pair: Pair, choose: Choose) -> tuple[tuple[str, str], list[Actor]]:
    """The outcomes of a pair, interleaved in a certain way, and those who raced. Everything is checked."""
    first, second = same_directory(directory), same_directory(directory)
    scene = Scene(first, second, Watch(directory))
    pair.prepare(scene)
    acts = [lambda: attempt(pair.first, scene, first), lambda: attempt(pair.second, scene, second)]
    actors = interleave(acts, choose)
    outcomes = (actors[0].outcome, actors[1].outcome)
    pair.judge(scene, outcomes)
    scene.end()
    TALLY["interleavings"] += 1
    return outcomes, actors


def held_up(number: int, steps: int) -> Choose:
    """One of the two is held up when it has made so many steps, until the other is over or waits for it."""
    names: list[Actor] = []

    def choose(able: list[Actor]) -> Actor:
        if not names:
            names.extend(able)
        one, other = names[number], names[1 - number]
        if one.steps < steps and one in able and other.steps == 0:
            return one
        return other if other in able else one

    return choose


@pytest.mark.parametrize("name", PAIRS)
def test_one_is_held_up_at_each_of_its_steps(tmp_path: Path, name: str) -> None:
    pair, directory = PAIRS[name], open_store(tmp_path)
    seen = set()
    for number in (0, 1):
        for steps in itertools.count():
            outcomes, actors = raced(directory, pair, held_up(number, steps))
            seen.add(outcomes)
            if actors[number].steps < steps:
                break
    assert seen == set(pair.verdicts), "whatever is allowed happens"


def in_turn(number: int, steps: int, steps_of_other: int) -> Choose:
    """One makes so many steps, then the other so many; then one comes to its end, and the other at last."""
    both: list[Actor] = []

    def choose(able: list[Actor]) -> Actor:
        if not both:
            both.extend(able)
        one, other = both[number], both[1 - number]
        if one.steps >= steps and other.steps < steps_of_other and other in able:
            return other
        return one if one in able else other

    return choose


@pytest.mark.timeout(600 if FACTOR > 1 else 120)
@pytest.mark.parametrize("name", PAIRS if FACTOR > 1 else ["thread and run, recover"])
def test_each_is_held_up_in_turn(tmp_path: Path, name: str) -> None:
    pair, directory = PAIRS[name], open_store(tmp_path)
    for number in (0, 1):
        for steps in itertools.count():
            for steps_of_other in itertools.count(1):
                _, actors = raced(directory, pair, in_turn(number, steps, steps_of_other))
                if actors[1 - number].steps < steps_of_other:
                    break
            if actors[number].steps < steps:
                break


@settings(
    max_examples=100 * FACTOR,
    derandomize=FACTOR == 1,
    phases=PHASES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@pytest.mark.timeout(0 if FACTOR > 1 else 120)
@given(name=st.sampled_from(list(PAIRS)), turns=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 12)), max_size=30))
def test_they_take_turns_in_any_way(tmp_path_factory: pytest.TempPathFactory, name: str, turns: list[tuple[int, int]]) -> None:
    order = iter([number for number, steps in turns for _ in range(steps)])
    both: list[Actor] = []

    def choose(able: list[Actor]) -> Actor:
        if not both:
            both.extend(able)
        wanted = both[next(order, 0)]
        return wanted if wanted in able else able[0]

    outcomes, _ = raced(open_store(tmp_path_factory.mktemp("raced")), PAIRS[name], choose)
    event(f"{name}: {outcomes}")
