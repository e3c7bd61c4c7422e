"""The whole data directory, place by place, so that only what one place needs is in memory."""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from oxillama import clock, ids
from oxillama.errors import StoreError
from oxillama.objects import run as run_object
from oxillama.store import FORMAT
from oxillama.store.check.files import entries, read_object
from oxillama.store.check.findings import Findings, Problem
from oxillama.store.check.thread import check_thread
from oxillama.store.disk import Disk
from oxillama.store.layout import Layout
from oxillama.store.run_queue import ActiveRun, RunQueue

_PROJECT = r"[0-9A-Za-z_-]{1,64}"
_ID = r"[0-9A-Za-z]+"
#: By then a thread that is being created is there, and recovery has dropped an entry whose thread is not.
_CREATION_SECONDS = 120

_Look = Callable[[Findings], None]


class Check:
    """One reading of a data directory. Where something is wrong it looks again a little later, since somebody may be writing there.

    Args:
        data_dir: the directory.
        patience_seconds: how much later. A runner that lives has repaired by then what a dead one left.

    Attributes:
        counts: how many `projects`, `threads`, `messages` and `runs` were read so far, and how many `problems` and `notes` found.
    """

    def __init__(self, data_dir: Path | str, patience_seconds: float = 3.0) -> None:
        self._layout = Layout(os.path.abspath(data_dir))
        self._disk = Disk(self._layout.temporary, durable=False)
        self._queue = RunQueue(self._disk, self._layout)
        self._patience_seconds = patience_seconds
        self.counts: Counter[str] = Counter()
        self._is_known = False

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong, and notes on what is worth knowing."""
        for problem in self._settled():
            self.counts["notes" if problem.is_note else "problems"] += 1
            yield problem

    def _settled(self) -> Iterator[Problem]:
        doubtful: list[tuple[_Look, list[Problem]]] = []
        for look in self._looks():
            found = self._look(look, self.counts)
            yield from (one for one in found if one.is_note)
            wrong = [one for one in found if not one.is_note]
            if wrong:
                doubtful.append((look, wrong))
        if doubtful:
            time.sleep(self._patience_seconds)
        for look, wrong in doubtful:
            again = set(self._look(look, Counter()))
            yield from (one for one in wrong if one in again)

    def _look(self, look: _Look, counts: Counter[str]) -> list[Problem]:
        findings = Findings()
        try:
            look(findings)
        except StoreError as error:
            findings.problem(error.path, error.reason)
        except OSError as error:
            findings.problem(str(error.filename or self._layout.root), f"cannot be read: {error.strerror}")
        counts.update(findings.counts)
        return findings.problems

    def _looks(self) -> Iterator[_Look]:
        """One for each place. Projects and threads are found as the walk goes on."""
        layout = self._layout
        if not os.path.isdir(layout.root):
            yield lambda findings: findings.problem(layout.root, "not a directory")
            return
        yield self._check_root
        if not self._is_known:
            return
        yield self._check_queue
        for project in entries(Findings(), layout.projects, folders=_PROJECT):
            self.counts["projects"] += 1
            yield functools.partial(self._check_project, project)
            for thread_id in entries(Findings(), layout.threads(project), folders=f"thread_{_ID}"):
                if _is_id(thread_id):
                    yield functools.partial(check_thread, self._disk, layout, project, thread_id)

    def _check_root(self, findings: Findings) -> None:
        layout = self._layout
        folders = "|".join(
            os.path.basename(path) for path in (layout.temporary, layout.trash, layout.runners, layout.queue, layout.projects)
        )
        # The process manager's file has the mode that its umask gives, and holds a number; a mounted file system has a lost+found.
        for _ in entries(
            findings, layout.root, files=r"format\.json", folders=folders, ignored=r"supervisord\.pid|values\.lock|lost\+found"
        ):
            pass
        found = read_object(findings, self._disk, layout.format, {})
        self._is_known = found is not None and found.get("format") == FORMAT
        if found is not None and not self._is_known:
            findings.problem(layout.format, f"not of format {FORMAT}, so nothing else was read")
            return
        for _ in entries(findings, layout.projects, folders=_PROJECT):
            pass
        for folder, what in ((layout.temporary, "are being written, or were left by a crash"), (layout.trash, "were deleted")):
            left = len(self._disk.names(folder))
            if left:
                findings.note(folder, f"{left} that {what}; a runner sweeps them away")

    def _check_project(self, project: str, findings: Findings) -> None:
        layout = self._layout
        for _ in entries(findings, layout.project(project), folders="assistants|threads"):
            pass
        for name in entries(findings, layout.assistants(project), files=rf"asst_{_ID}\.json"):
            assistant_id = name.removesuffix(".json")
            read_object(findings, self._disk, layout.assistant(project, assistant_id), {"id": assistant_id, "object": "assistant"})
        for thread_id in entries(findings, layout.threads(project), folders=f"thread_{_ID}"):
            if not _is_id(thread_id):
                findings.problem(layout.thread(project, thread_id).folder, "is not named by the id of a thread")

    def _check_queue(self, findings: Findings) -> None:
        layout = self._layout
        for _ in entries(findings, layout.queue, folders="active|waiting"):
            pass
        for _ in entries(findings, layout.runners, files="[0-9A-Za-z-]+"):
            pass
        for run_id in entries(findings, layout.waiting, files=f"run_{_ID}"):
            if not self._disk.exists(layout.active_entry(run_id)):
                findings.note(os.path.join(layout.waiting, run_id), "offers a run that is not active; a runner takes it away")
        for run_id in entries(findings, layout.active, files=f"run_{_ID}"):
            try:
                entry = self._queue.load(run_id)
            except StoreError as error:
                findings.problem(error.path, error.reason)
                continue
            if entry is not None:
                self._check_entry(findings, layout.active_entry(run_id), run_id, entry)

    def _check_entry(self, findings: Findings, path: str, run_id: str, entry: ActiveRun) -> None:
        thread = self._layout.thread(str(entry.project), str(entry.thread_id))
        if not self._disk.exists(thread.run(run_id).status):
            age = clock.microseconds() - ids.stamp_of(run_id)
            findings.unless(age < _CREATION_SECONDS * 1_000_000, path, "the entry of a run that does not exist")
            return
        run = read_object(Findings(), self._disk, thread.run(run_id).status, {})
        if run is not None and run.get("status") in run_object.TERMINAL:
            findings.problem(path, f"the entry of a run that is {run['status']}: recovery has not come to it yet")


def _is_id(name: str) -> bool:
    return ids.is_ours(name) or ids.is_legacy(name)


def check(data_dir: Path | str, patience_seconds: float = 3.0) -> Iterator[Problem]:
    """Everything that is wrong in a data directory, and notes on what is worth knowing; see `Check`."""
    return Check(data_dir, patience_seconds).problems()
