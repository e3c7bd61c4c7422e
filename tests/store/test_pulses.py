"""Who watches the runners sees which of them move, whatever their clocks say."""

from __future__ import annotations

import os
import time

import pytest

from oxillama.store import Store
from oxillama.store.pulses import FROZEN_SECONDS, LOOK_SECONDS, Pulses


class Clock:
    """A clock that a test moves."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._now = time.monotonic()
        patch.setattr("oxillama.store.pulses.time.monotonic", lambda: self._now)

    def look_for(self, pulses: Pulses, seconds: float, act=lambda: None) -> None:
        for _ in range(int(seconds / LOOK_SECONDS)):
            self._now += LOOK_SECONDS
            act()
            pulses.look()

    def jump(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_runner_that_beats_moves_and_one_that_does_not_is_frozen(store: Store, clock: Clock):
    moving, still = store.queue.join("moving"), store.queue.join("still")
    pulses = Pulses(store.queue)
    clock.look_for(pulses, FROZEN_SECONDS, lambda: store.queue.beat(moving))
    assert (pulses.moving, pulses.frozen) == (["moving", "still"], [])
    clock.look_for(pulses, LOOK_SECONDS, lambda: store.queue.beat(moving))
    assert (pulses.moving, pulses.frozen) == (["moving"], ["still"])
    store.queue.beat(still)
    clock.look_for(pulses, LOOK_SECONDS)
    assert pulses.frozen == []
    for life in (moving, still):
        os.close(life)
    clock.look_for(pulses, LOOK_SECONDS)
    assert pulses.moving == pulses.frozen == []


@pytest.mark.parametrize("step", [-86_400, 86_400])
def test_a_step_of_the_clock_is_a_beat_like_any_other(store: Store, clock: Clock, step: int):
    life = store.queue.join("one")
    pulses = Pulses(store.queue)
    clock.look_for(pulses, FROZEN_SECONDS)
    os.utime(life, (time.time() + step,) * 2)
    clock.look_for(pulses, FROZEN_SECONDS)
    assert pulses.frozen == []
    clock.look_for(pulses, LOOK_SECONDS)
    assert pulses.frozen == ["one"]
    os.close(life)


def test_a_watcher_that_was_frozen_itself_has_seen_nothing(store: Store, clock: Clock):
    life = store.queue.join("one")
    pulses = Pulses(store.queue)
    clock.look_for(pulses, LOOK_SECONDS)
    clock.jump(3600)
    pulses.look()
    assert pulses.frozen == []
    os.close(life)
