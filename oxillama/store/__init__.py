"""The store: the data directory and everything in it. Knows nothing of HTTP; nobody else opens files there."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from oxillama.errors import CorruptRecord, StoreFull, StoreUnavailable
from oxillama.store.assistants import AssistantStore
from oxillama.store.disk import Disk, naming
from oxillama.store.file_system import refuse_network_file_system
from oxillama.store.layout import Layout, ThreadLayout
from oxillama.store.records import parsed
from oxillama.store.run_queue import RunQueue
from oxillama.store.shares import Shares
from oxillama.store.stored import Scratch
from oxillama.store.threads import LockedThread, ThreadFolder

#: Raised when the layout changes so that older programs could not read it.
FORMAT = 1

_LEFTOVER_AGE_SECONDS = 3600

#: No file system gives less to a file that holds anything, unless it puts it beside the name.
_BLOCK_BYTES = 4096


class Store:
    """One data directory. Make it with `Store.open`; any number of processes may have the same one open."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout, self._disk = layout, disk
        self.assistants = AssistantStore(disk, layout)
        self.queue = RunQueue(disk, layout)

    @classmethod
    def open(cls, data_dir: Path, *, durable: bool = True) -> Store:
        """Open a data directory, and create what is missing in it.

        Raises:
            StoreUnavailable: it cannot be written, lies on a network file system, or was written by a later version.
        """
        layout = Layout(os.path.abspath(data_dir))
        disk = Disk(layout.temporary, durable)
        if os.path.lexists(layout.root) and not os.path.isdir(layout.root):
            raise StoreUnavailable(layout.root, "not a directory")
        try:
            os.makedirs(os.path.dirname(layout.root), exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(layout.root, error.strerror or type(error).__name__) from error
        for folder in (layout.root, layout.temporary, layout.trash, layout.runners, layout.projects, layout.queue):
            disk.make_directory(folder)
        for folder in (layout.active, layout.waiting):
            disk.make_directory(folder)
        for folder in (layout.queue, layout.root):
            disk.sync_directory(folder)
        with contextlib.suppress(StoreUnavailable):
            # What the data directory is in may be somebody else's, and not to be read.
            disk.sync_directory(os.path.dirname(layout.root))
        refuse_network_file_system(layout.root)
        store = cls(layout, disk)
        store._check_format()
        store.create_project("default")
        return store

    def create_project(self, project: str) -> None:
        """Make room for a project, if it has none yet."""
        for folder in (self._layout.project(project), self._layout.assistants(project), self._layout.threads(project)):
            self._disk.add_directory(folder)

    def thread(self, project: str, thread_id: str) -> ThreadFolder:
        """A thread, whether it exists or not. `thread_id` must have passed `ids.check`."""
        return ThreadFolder(self._disk, self._layout.thread(project, thread_id), self.queue, project, thread_id)

    def create_thread(self, project: str, thread: dict[str, Any], fill: Callable[[LockedThread], None]) -> bytes:
        """Create a Thread with all that comes with it, at once: it is there whole, or not at all.

        Args:
            project: whose it is.
            thread: the Thread.
            fill: writes its first messages and runs.
        """
        content = orjson.dumps(thread)
        try:
            with self._disk.building(self._layout.thread(project, thread["id"]).folder) as folder:
                paths = ThreadLayout(folder)
                self._disk.create(paths.meta, content)
                fill(LockedThread(self._disk, paths, self.queue, project, thread["id"]))
        except BaseException:
            # Nobody was told of a thread whose name could not be synced.
            self.discard_thread(project, thread["id"])
            raise
        return content

    def discard_thread(self, project: str, thread_id: str) -> None:
        """Remove a Thread that nobody was told of, as far as that can be done."""
        self._disk.remove_tree(self._layout.thread(project, thread_id).folder)

    def delete_thread(self, thread: LockedThread) -> None:
        """Delete a Thread and all that is in it."""
        thread.remove(self._layout.trash)

    def value_shares(self, count: int) -> Shares:
        """The room for values of large objects that all processes share, in so many parts."""
        with contextlib.suppress(StoreUnavailable, StoreFull):
            # So that no request makes a file that was not there.
            self._disk.touch(self._layout.values)
        return Shares(self._disk, self._layout.values, count)

    def scratch(self, content: bytes) -> Scratch:
        """Put bytes that are to be sent out of memory for as long as their client takes. Raises StoreFull, StoreUnavailable."""
        return Scratch(self._disk, content)

    def check_writable(self) -> None:
        """Raise an error of the store unless something can be written just now: a name and a block, for either may have run out."""
        path = self._disk.temporary_path()
        fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            self._disk.write(fd, bytes(_BLOCK_BYTES))
            self._disk.sync(fd)
        finally:
            os.close(fd)
            self._disk.unlink(path)

    def require_place(self) -> None:
        """Raise StoreUnavailable when the data directory is not where it was: then nothing that is not found is missing."""
        self._disk.require_place()

    def sweep(self) -> None:
        """Remove what was deleted, and what crashes left in places where nothing stays."""
        for name in self._disk.names(self._layout.trash):
            self._disk.remove_tree(os.path.join(self._layout.trash, name))
        oldest = time.time() - _LEFTOVER_AGE_SECONDS
        for name in self._disk.names(self._layout.temporary):
            path = os.path.join(self._layout.temporary, name)
            try:
                with naming(path):
                    if os.stat(path).st_mtime > oldest:
                        continue
                if not os.path.isdir(path):
                    self._disk.unlink(path)
                    continue
                # Race: who builds in it may only have been asleep. Moved away first, it is either put in place whole or no longer found.
                doomed = os.path.join(self._layout.trash, name)
                self._disk.rename(path, doomed)
                self._disk.remove_tree(doomed)
            except FileNotFoundError:
                continue

    def _check_format(self) -> None:
        try:
            found = parsed(self._disk.read(self._layout.format), self._layout.format).get("format")
        except FileNotFoundError:
            self._disk.replace(self._layout.format, orjson.dumps({"format": FORMAT}))
            return
        if not isinstance(found, int):
            raise CorruptRecord(self._layout.format, "`format` is not a number")
        if found > FORMAT:
            raise StoreUnavailable(self._layout.root, f"written by a later version of oxillama (format {found}, this one knows {FORMAT})")
