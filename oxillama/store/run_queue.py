"""RunQueue: which runs are not terminal, who works on them, and which may be claimed.

An entry under `active` stays from the moment before a run exists until it is terminal. Markers under `waiting` are hints: losing one costs
time, never a run.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from oxillama import ids
from oxillama.errors import CorruptRecord, StoreError
from oxillama.store import locks
from oxillama.store.disk import Disk, naming
from oxillama.store.layout import Layout
from oxillama.store.records import parsed

#: What tells one version of an entry from another.
EntryStamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """One run that is not terminal.

    Attributes:
        run_id, project, thread_id: where it is.
        expires_at: Unix seconds.
        attempt: rises with every claim; what a runner writes counts only while this is the number it claimed with.
        runner: id of the runner that works on it, or None.
        deaths: how many runners died while they worked on this turn of it.
        turn_usage: tokens of a turn that calls tools; its step shows them once it is completed. None until a message is followed by calls
            or the calls are whole.
    """

    run_id: str
    project: str
    thread_id: str
    expires_at: int
    attempt: int = 0
    runner: str | None = None
    deaths: int = 0
    turn_usage: dict[str, Any] | None = None


class RunQueue:
    """The folders `queue` and `runners` of a data directory."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        self._disk, self._layout = disk, layout
        # An entry never changes its project.
        self._projects: dict[str, str | None] = {}

    def save(self, entry: ActiveRun) -> None:
        """Record an active run; durable when this returns."""
        self._disk.replace(self._entry(entry.run_id), orjson.dumps(asdict(entry)))

    def load(self, run_id: str) -> ActiveRun | None:
        """The entry of an active run, or None. Raises CorruptRecord."""
        path = self._entry(run_id)
        try:
            entry = ActiveRun(**parsed(self._disk.read(path), path))
        except FileNotFoundError:
            return None
        except TypeError as error:
            raise CorruptRecord(path, f"not an entry of the queue: {error}") from None
        texts, numbers = (entry.run_id, entry.project, entry.thread_id), (entry.expires_at, entry.attempt, entry.deaths)
        if not (all(isinstance(text, str) for text in texts) and all(isinstance(number, int) for number in numbers)):
            raise CorruptRecord(path, "not an entry of the queue")
        if entry.run_id != run_id:
            raise CorruptRecord(path, "`run_id` is not the name of the file")
        return entry

    def stamp(self, run_id: str) -> EntryStamp | None:
        """Differs when an entry was replaced, which is a new file each time; None when there is none."""
        path = self._entry(run_id)
        try:
            with naming(path):
                found = os.stat(path)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def remove(self, run_id: str) -> None:
        """The run is terminal, or never came to be."""
        self._disk.unlink(self._entry(run_id))

    def active(self) -> list[str]:
        """Ids of all active runs, oldest first."""
        return _sorted_ids(self._disk.names(self._layout.active))

    def has_at_least(self, project: str, count: int) -> bool:
        """Whether so many runs of a project are active. While there are fewer of all projects, no entry is read; later each once."""
        names = self._disk.names(self._layout.active)
        if len(names) < count:
            return False
        known = self._projects
        self._projects = {name: known[name] if name in known else self.project_of(name) for name in names}
        return sum(found == project for found in self._projects.values()) >= count

    def offer(self, run_id: str) -> None:
        """Let runners know that a run may be claimed. When even that does not fit on the disk, recovery offers it later."""
        with contextlib.suppress(StoreError):
            self._disk.touch(self._marker(run_id))

    def offered(self) -> list[str]:
        """Ids of runs that may be claimed, oldest first."""
        return _sorted_ids(self._disk.names(self._layout.waiting))

    def is_offered(self, run_id: str) -> bool:
        """Whether a run may be claimed."""
        return self._disk.exists(self._marker(run_id))

    def take(self, run_id: str) -> bool:
        """Take a marker away. Of several runners that try, exactly one gets True."""
        return self._disk.unlink(self._marker(run_id))

    @property
    def waiting_directory(self) -> str:
        """Where markers appear, for a runner that wants to be woken."""
        return self._layout.waiting

    def join(self, runner_id: str) -> int:
        """Enter a runner, which counts as alive until its process ends; the descriptor that keeps it so."""
        # Locked before it is visible: an unlocked file is a dead runner's, and anybody may remove it.
        entering = self._disk.temporary_path()
        life = self._disk.open(entering, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        locks.hold_for_life(life, entering)
        self._disk.rename(entering, self._runner(runner_id))
        return life

    def beat(self, life: int) -> None:
        """Show that a runner moves, given the descriptor that `join` gave. Never synced, and needs no room on the disk."""
        with naming(life):
            os.utime(life)

    def last_beat(self, runner_id: str) -> int | None:
        """When a runner last showed that it moves, to be compared with another answer for being equal; None when it is not there."""
        path = self._runner(runner_id)
        try:
            with naming(path):
                return os.stat(path).st_mtime_ns
        except FileNotFoundError:
            return None

    def is_alive(self, runner_id: str | None) -> bool:
        """Whether the process of a runner lives."""
        return runner_id is not None and locks.is_held(self._runner(runner_id))

    def runners(self) -> list[str]:
        """Ids of the runners that live. Files of dead ones are removed on the way."""
        alive = []
        for runner_id in self._disk.names(self._layout.runners):
            if self.is_alive(runner_id):
                alive.append(runner_id)
            else:
                # On a disk that takes no change it stays, and does no harm.
                with contextlib.suppress(StoreError):
                    self._disk.unlink(self._runner(runner_id))
        return alive

    def project_of(self, run_id: str) -> str | None:
        """Whose an active run is; None when its entry is not there or cannot be read."""
        try:
            entry = self.load(run_id)
        except StoreError:
            return None
        return None if entry is None else entry.project

    def _entry(self, run_id: str) -> str:
        return self._layout.active_entry(run_id)

    def _marker(self, run_id: str) -> str:
        return os.path.join(self._layout.waiting, run_id)

    def _runner(self, runner_id: str) -> str:
        return os.path.join(self._layout.runners, runner_id)


def _sorted_ids(names: list[str]) -> list[str]:
    return sorted(name for name in names if ids.is_ours(name))
