"""Waiting for a file to change: one inotify instance a process, which is only a hint to look. Where there is none, look often."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator

from inotify_simple import INotify, flags, parse_events

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.01
_OVERFLOWED = -1
_LONGEST_READ = 64 * 1024


class Change:
    """Tells one reader that a file may have changed. Clear it, look, and only then wait."""

    def __init__(self, *, polled: bool) -> None:
        # Held while nothing has changed. An Event makes a lock for each wait and takes two more, for each token of each stream.
        self._unchanged, self._polled = threading.Lock(), polled

    def clear(self) -> None:
        """From here on, changes count."""
        self._unchanged.acquire(blocking=False)

    def set(self) -> None:
        """Something may have changed. For one thread at a time."""
        if self._unchanged.locked():
            self._unchanged.release()

    def wait(self, seconds: float) -> bool:
        """Wait for a change. False when there was none for `seconds`; always True where changes cannot be told."""
        if self._polled:
            time.sleep(_POLL_SECONDS)
            return True
        return self._unchanged.acquire(timeout=seconds)


class Watcher:
    """Watches any number of files for any number of readers of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: int | None = None
        self._inotify: INotify | None = None
        self._watched: dict[int, set[Change]] = {}

    @contextlib.contextmanager
    def watch(self, path: str) -> Iterator[Change]:
        """Be told of changes of a file for as long as the block runs."""
        change, descriptor = self._add(path)
        try:
            yield change
        finally:
            self._remove(change, descriptor)

    def wake_all(self) -> None:
        """Let every reader look, whatever happened."""
        with self._lock:
            for changes in self._watched.values():
                for change in changes:
                    change.set()

    def _add(self, path: str) -> tuple[Change, int | None]:
        with self._lock:
            inotify = self._started()
            if inotify is not None:
                try:
                    descriptor = inotify.add_watch(path, flags.MODIFY | flags.ATTRIB | flags.DELETE_SELF)
                    change = Change(polled=False)
                    self._watched.setdefault(descriptor, set()).add(change)
                    return change, descriptor
                except OSError as error:
                    log.warning("cannot watch %s, polling instead: %s", path, error)
            return Change(polled=True), None

    def _remove(self, change: Change, descriptor: int | None) -> None:
        if descriptor is None:
            return
        with self._lock:
            readers = self._watched.get(descriptor, set())
            readers.discard(change)
            if not readers:
                self._watched.pop(descriptor, None)
                with contextlib.suppress(OSError):
                    assert self._inotify is not None
                    self._inotify.rm_watch(descriptor)

    def _started(self) -> INotify | None:
        """The inotify instance of this process: never one that a parent made before it forked."""
        if self._process != os.getpid() or self._inotify is None:
            self._process, self._watched, self._inotify = os.getpid(), {}, None
            try:
                self._inotify = INotify()
            except OSError as error:
                log.warning("no inotify, polling instead: %s", error)
            else:
                threading.Thread(target=self._dispatch, args=(self._inotify,), name="event-tail", daemon=True).start()
        return self._inotify

    def _dispatch(self, inotify: INotify) -> None:
        while True:
            # Its own `read` asks the kernel three times.
            descriptors = {event.wd for event in parse_events(os.read(inotify.fileno(), _LONGEST_READ))}
            if _OVERFLOWED in descriptors:
                self.wake_all()
            with self._lock:
                for descriptor in descriptors:
                    for change in self._watched.get(descriptor, ()):
                        change.set()
