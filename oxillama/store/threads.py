"""Threads: a folder each, with its messages, runs and steps. Reading needs no lock; writing is possible only through a LockedThread."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from oxillama import ids
from oxillama.errors import CorruptRecord, NotFound, StoreError
from oxillama.objects import run as run_object
from oxillama.store import legacy, locks
from oxillama.store.event_log import EventLog
from oxillama.store.layout import RunLayout
from oxillama.store.records import parsed
from oxillama.store.thread_reader import ThreadReader


class ThreadFolder(ThreadReader):
    """What is stored of one thread, and the way to change it."""

    @contextlib.contextmanager
    def locked(self) -> Iterator[LockedThread]:
        """The thread, for one writer at a time. Raises NotFound."""
        try:
            lock = locks.take(self._layout.folder)
        except FileNotFoundError:
            raise NotFound("thread", self.thread_id) from None
        try:
            thread = LockedThread(self._disk, self._layout, self.queue, self.project, self.thread_id)
            thread.require()
            if ids.is_legacy(self.thread_id):
                thread.adopt()
            yield thread
        finally:
            os.close(lock)


class LockedThread(ThreadReader):
    """A thread whose lock this process holds. What a method wrote is durable when it returns."""

    def write(self, thread: dict[str, Any]) -> bytes:
        """Replace the Thread; its wire form."""
        return self._disk.replace(self._layout.meta, orjson.dumps(thread))

    def write_run(self, run: dict[str, Any]) -> bytes:
        """Replace the Run; its wire form."""
        return self._disk.replace(self._layout.run(run["id"]).status, orjson.dumps(run))

    def write_private(self, run_id: str, value: dict[str, Any]) -> None:
        """Replace what is kept beside a Run and never sent."""
        self._disk.replace(self._layout.run(run_id).private, orjson.dumps(value))

    def create_run(self, run: dict[str, Any], events: bytes, messages: list[dict[str, Any]]) -> None:
        """Create a Run with its first events and the Messages that come with it, at once: it is there whole, or not at all.

        Its place in the thread's list comes first; while nothing follows, it is passed over. `settle_messages` is next.
        """
        with self._disk.building(self._layout.run(run["id"]).folder) as folder:
            paths = RunLayout(folder)
            self._disk.make_directory(paths.steps)
            if messages:
                self._disk.create(paths.additional_messages, b"\n".join(map(orjson.dumps, messages)))
            # Whoever claims the run tells what a power cut took of these.
            EventLog(self._disk, paths).append(events, synced=False)
            self._disk.create(paths.status, orjson.dumps(run))
            # Its name is synced with that of the list, before the first line comes into that.
            self._disk.make_directory(self._layout.runs)
            self._run_ids.append([b'{"id":"%b"}' % run["id"].encode()])

    def take_back(self, run_id: str, step_id: str | None = None) -> None:
        """Remove a Run that nobody was told of yet, or a RunStep of one."""
        run = self._layout.run(run_id)
        path = run.status if step_id is None else run.step(step_id)
        if self._disk.unlink(path):
            self._disk.sync_directory(os.path.dirname(path))

    def write_step(self, step: dict[str, Any]) -> bytes:
        """Replace the RunStep, or create it; its wire form."""
        run = self._layout.run(step["run_id"])
        if not self._disk.exists(run.steps):
            # Made with the run; some tools that copy folders leave empty ones out. Should we die before its name is synced, the next
            # claim of the run makes up for that: it syncs the name of `status.json` beside it.
            self._disk.add_directory(run.steps)
        return self._disk.replace(run.step(step["id"]), orjson.dumps(step))

    def settle_messages(self, run_id: str) -> None:
        """Put Messages that came with a Run into the log, those that are not there yet."""
        path = self._layout.run(run_id).additional_messages
        try:
            lines = self._disk.read(path).split(b"\n")
        except FileNotFoundError:
            return
        missing = [line for line in lines if self.messages.find(_message_id(line, path)) is None]
        if missing:
            self.messages.append(missing)
        with contextlib.suppress(StoreError):
            # They are in the log now; whoever comes here next finds that out and tries again.
            self._disk.unlink(path)

    def write_message(self, message: dict[str, Any]) -> bytes:
        """Add a Message to the log, unless it is there already; its wire form."""
        content = orjson.dumps(message)
        if self.messages.find(message["id"]) is None:
            self.messages.append([content])
        return content

    def write_overlay(self, message_id: str, value: dict[str, Any]) -> bytes:
        """Put a later version, or the mark of its deletion, over a Message of the log; its wire form."""
        self._disk.add_directory(self._layout.overlays)
        return self._disk.replace(self._layout.overlay(message_id), orjson.dumps(value))

    def add_message(self, make: Callable[[int], dict[str, Any]]) -> bytes:
        """Add a new Message, which `make` makes when it is told the microsecond in the id of the newest one; its wire form."""
        (line,) = self.messages.extend(lambda last_id: [orjson.dumps(make(ids.stamp_of(last_id or "")))])
        return line

    def last_stamp(self) -> int:
        """The latest microsecond in any id of the thread, so that the next is later even if the clock stepped back."""
        newest, run_id = [self.messages.last_id() or ""], self._run_ids.last_id()
        if run_id is not None:
            newest += [run_id, *self._step_ids(run_id)[-1:]]
        return max(map(ids.stamp_of, newest))

    def remove(self, trash: str) -> None:
        """Delete the thread: gone for every reader at once; the space is given back by a sweep."""
        with self._disk.syncing_names(os.path.dirname(self._layout.folder)):
            self._disk.rename(self._layout.folder, os.path.join(trash, os.path.basename(self._disk.temporary_path())))

    def adopt(self) -> None:
        """Before the first write to a thread of oxillama-server 0.1.3: give its runs an order, and fail those that it left unfinished."""
        if self._disk.exists(self._layout.runs_log):
            return
        run_ids = self._legacy_run_ids()
        for run in map(self.load_run, run_ids):
            if run["status"] in run_object.ACTIVE:
                self.write_run(legacy.abandoned(run))
        if run_ids:
            # Not appended: half a list would pass for all of it.
            self._disk.replace(self._layout.runs_log, b"".join(b'{"id":"%b"}\n' % run_id.encode() for run_id in run_ids))


def _message_id(line: bytes, path: str) -> str:
    """The id of a Message that is to go into the log. Raises CorruptRecord for what the log could not be read with."""
    found = parsed(line, path).get("id")
    if not isinstance(found, str) or not line.startswith(b'{"id":"%b"' % found.encode()):
        raise CorruptRecord(path, "a line of it does not begin with its id")
    return found
