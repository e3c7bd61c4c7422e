"""The two sweeps: an operation is killed, or its machine loses its power, at every point that there is."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from oxillama import clock
from tests.builders import Child, open_store
from tests.crashes.device import Device, Fate, Image, contents_survive, names_survive, nothing_survives, restore, some_survive
from tests.crashes.invariants import assert_nothing_is_lost, recover_all
from tests.crashes.operations import Operation
from tests.crashes.site import Facts, Site, in_flight, known, same_ids_and_times
from tests.crashes.system_calls import DeathAt, watched

#: Throws of the coin for each point of a power cut.
THROWS = 3


@dataclass
class Result:
    """How many points an operation was stopped at, and what was wrong afterwards."""

    points: int = 0
    violations: list[str] = field(default_factory=list)

    def look(self, where: str, check: Callable[[], None]) -> None:
        self.points += 1
        try:
            check()
        except Exception as error:
            told = "".join(traceback.format_exception(error, limit=-3)) if not isinstance(error, AssertionError) else str(error)
            self.violations.append(f"{where}: {told}")


def kill_everywhere(operation: Operation, root: Path, *, durable: bool = True, every: int = 1, recovery_dies: bool = False) -> Result:
    """Carry an operation out in processes that are killed: one at each changing system call, and half-way through each write.

    Args:
        operation: what is done.
        root: an empty directory.
        durable: whether it waits for the device, which is a point to die at too.
        every: to leave points out, all but each second, third …
        recovery_dies: the first that recovers what is left is killed as well, each time at another point.
    """
    facts: list[Facts] = []
    template = Site(root / "template", durable, facts.append)
    template.root.mkdir()
    operation.prepare(template)
    template.runners_die()
    since = clock.microseconds()

    def carry_out(place: Path, point: int | None) -> tuple[int | None, list[Facts]]:
        """How many points there were, if it came to its end; and what was acknowledged."""
        shutil.copytree(template.root, place)
        answers, answering = os.pipe()
        site = replace(template, root=place, acknowledge=lambda told: os.write(answering, _line(told)), _store=None, _lives=[], _claims=[])

        def doomed() -> None:
            death = DeathAt(point)
            if (place / "data").exists():
                assert site.store
            with same_ids_and_times(since), watched(str(place), death.carry_out):
                operation.act(site)
            os.write(answering, b"%d\n" % death.points)

        child = Child(doomed)
        os.close(answering)
        with open(answers, "rb") as lines:
            told = lines.read().splitlines()
        assert child.finish() == -signal.SIGKILL, f"{operation.name} failed before it could be killed at {point}"
        points = int(told.pop()) if told and told[-1].isdigit() else None
        return points, [_facts(line) for line in told]

    points, whole = carry_out(root / "whole", None)
    assert points is not None
    result = Result()
    # The last is the one at which it comes to its end, and is killed when it has said so.
    for point in range(points % every, points + 1, every):
        place = root / str(point)
        finished, told = carry_out(place, point)
        assert (finished is not None) == (point == points)
        assert told == whole[: len(told)], f"{operation.name} does not answer the same each time"
        if recovery_dies and (place / "data" / "format.json").exists():
            _die_recovering(place, point * 5 % 17)
        before, after = known([*facts, *told]), known([*facts, *told, *map(in_flight, whole[len(told) : len(told) + 1])])
        result.look(f"{operation.name} killed at {point}", lambda place=place, b=before, a=after: assert_nothing_is_lost(place, b, a))
        shutil.rmtree(place)
    return result


def cut_everywhere(operation: Operation, root: Path, *, throws: int = THROWS, every: int = 1) -> Result:
    """Carry an operation out once, and look at all that a device may hold at each point of it. Args as for `kill_everywhere`."""
    facts: list[Facts] = []
    cuts: list[tuple[int, str, Image]] = []
    acting = False
    site = Site(root / "site", True, lambda told: (facts.append(told), cut()))
    site.root.mkdir()

    def cut() -> None:
        if acting:
            cuts.extend((len(facts), name, device.image(fate)) for name, fate in _fates(throws))

    device = Device(str(site.root), cut)
    with watched(str(site.root), device.carry_out):
        operation.prepare(site)
        site.runners_die()
        acting = True
        with same_ids_and_times(clock.microseconds()):
            cut()
            operation.act(site)
    site.runners_die()
    different = {(told, frozenset(image.items())): (told, name, image) for told, name, image in cuts}
    result = Result()
    for told, name, image in [*different.values()][::-every]:
        before, after = known(facts[:told]), known([*facts[:told], *map(in_flight, facts[told : told + 1])])

        def check(image: Image = image, before: Facts = before, after: Facts = after) -> None:
            with tempfile.TemporaryDirectory(dir=root) as place:
                restore(image, Path(place))
                (Path(place) / "data").mkdir(exist_ok=True)
                assert_nothing_is_lost(Path(place), before, after, power_cut=True)

        result.look(f"{operation.name} cut off after {told} answers, when {name}", check)
    return result


def _die_recovering(place: Path, point: int) -> None:
    store = open_store(place)

    def doomed() -> None:
        with watched(str(place), DeathAt(point).carry_out):
            recover_all(store)

    assert Child(doomed).finish() == -signal.SIGKILL, "recovery failed before it could be killed"


def _fates(throws: int) -> Iterator[tuple[str, Fate]]:
    for fate in (nothing_survives, names_survive, contents_survive):
        yield fate.__name__, fate
    for seed in range(throws):
        yield f"some_survive({seed})", some_survive(seed)


def _line(told: Facts) -> bytes:
    return orjson.dumps([[*key, value] for key, value in told.items()]) + b"\n"


def _facts(line: bytes) -> Facts:
    return {(noun, where): tuple(value) if noun == "run" else value for noun, where, value in orjson.loads(line)}
