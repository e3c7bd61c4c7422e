"""Operations that are interleaved on purpose: each in a thread, of which one at a time goes on, by one step of its disk.

Locks of the store exclude threads as they exclude processes: each taking opens a descriptor of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from oxillama.store import Store, locks
from oxillama.store.disk import Disk

#: An actor that takes longer for one step hangs.
STEP_SECONDS = 10.0

_STEPS = (
    *("read", "names", "open", "write", "replace", "rename", "unlink", "truncate", "touch", "make_directory", "sync", "sync_directory"),
)


class _Abandoned(BaseException):
    pass


class Actor(threading.Thread):
    """Somebody who does one operation, step by step. It stands still until `go_on`.

    Attributes:
        outcome: what the operation returned, once it is over.
        blocked: whether it stands at a lock that another holds.
        steps: how many it has made.
    """

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._act, self._abandoned = act, False
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self.outcome: Any = None
        self.over = self.blocked = False
        self.steps = 0
        self.start()

    def run(self) -> None:
        self._go.acquire()
        try:
            self.outcome = self._act()
        except BaseException as error:
            self._error = error
        self.over = True
        self._stands.release()

    def pause(self, *, blocked: bool) -> None:
        """For the actor itself: stand still until it is its turn."""
        self.blocked = blocked
        self.steps += not blocked
        self._stands.release()
        self._go.acquire()
        if self._abandoned:
            raise _Abandoned

    def go_on(self) -> bool:
        """Let it go to just before its next step, to a lock that is held, or to its end. False when it stands where it stood."""
        was_blocked, self.blocked = self.blocked, False
        self._go.release()
        assert self._stands.acquire(timeout=STEP_SECONDS), "hangs"
        if self._error is not None:
            raise self._error
        return not (was_blocked and self.blocked)

    def abandon(self) -> None:
        """Make it drop what it does, and its locks."""
        self._abandoned = True
        self._go.release()
        self.join(STEP_SECONDS)


class _Patience:
    """In the place of `time`, for locks: an actor does not sleep, it stands still."""

    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def sleep(seconds: float) -> None:
        actor = threading.current_thread()
        if isinstance(actor, Actor):
            actor.pause(blocked=True)
        else:
            time.sleep(seconds)


def _stepping(real: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Disk, *args: Any, **kwargs: Any) -> Any:
        actor = threading.current_thread()
        if isinstance(actor, Actor):
            actor.pause(blocked=False)
        return real(self, *args, **kwargs)

    return method


def patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the disk and the locks stop for actors."""
    for name in _STEPS:
        monkeypatch.setattr(Disk, name, _stepping(getattr(Disk, name)))
    monkeypatch.setattr(locks, "time", _Patience)


def interleave(acts: list[Callable[[], Any]], choose: Callable[[list[Actor]], Actor]) -> list[Actor]:
    """Do operations at once.

    Args:
        acts: the operations.
        choose: who goes on next, of those that can. One that stands at a lock can, once another has made a step since.
    """
    actors = [Actor(act) for act in acts]
    #: Those who found a lock held, and nobody has done anything since.
    stuck: set[Actor] = set()
    try:
        while able := [actor for actor in actors if not actor.over and actor not in stuck]:
            actor = choose(able)
            stuck = set() if actor.go_on() else stuck
            if actor.blocked:
                stuck.add(actor)
        assert not stuck, "each waits for another"
    finally:
        for actor in actors:
            if not actor.over:
                actor.abandon()
    return actors


def same_directory(store: Store) -> Store:
    """Another one that has the same data directory open."""
    return Store(store._layout, Disk(store._layout.temporary, durable=False))
