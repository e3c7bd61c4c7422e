"""The system calls that change a data directory, one by one. Between two of them nothing changes, so these are all the points to die at."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_write = os.write

#: Counted, and not made: neither sweep asks the device, and waiting for it is most of the time that an operation takes.
SYNCS = ("fdatasync", "fsync")

CHANGING = ("open", "write", "ftruncate", "rename", "unlink", "mkdir", "rmdir", *SYNCS)


class Call:
    """One of them, about to be made."""

    def __init__(self, name: str, args: tuple[Any, ...], dir_fd: int | None) -> None:
        self.name, self.args = name, args
        self._dir_fd = dir_fd

    @property
    def changes(self) -> bool:
        return self.name != "open" or bool(self.args[1] & os.O_CREAT)

    def is_in(self, root: str) -> bool:
        """Whether it changes something below `root`, or makes the names in it durable."""
        return self.path().startswith(f"{root}/") or (self.name == "fsync" and self.path() == root)

    def path(self, argument: int = 0) -> str:
        """What it is about: the path that it names, or that of its descriptor."""
        target = self.args[argument]
        if isinstance(target, int):
            return os.readlink(f"/proc/self/fd/{target}")
        return os.path.join(os.readlink(f"/proc/self/fd/{self._dir_fd}") if self._dir_fd is not None else "", os.fspath(target))

    def __str__(self) -> str:
        return f"{self.name} {os.path.basename(self.path())}"


@contextlib.contextmanager
def watched(root: str, carry_out: Callable[[Call, Callable[[], Any]], Any]) -> Iterator[None]:
    """Every changing call below `root` goes through `carry_out`, which makes it by calling its second argument."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGING:
            patch.setattr(os, name, _watching(name, getattr(os, name), root, carry_out))
        yield


def _watching(name: str, real: Callable[..., Any], root: str, carry_out: Callable[[Call, Callable[[], Any]], Any]) -> Callable[..., Any]:
    busy = False

    def watching(*args: Any, **kwargs: Any) -> Any:
        nonlocal busy
        call = Call(name, args, kwargs.get("dir_fd"))
        if busy or not call.changes or not call.is_in(root):
            return real(*args, **kwargs)
        busy = True
        try:
            return carry_out(call, lambda: None if name in SYNCS else real(*args, **kwargs))
        finally:
            busy = False

    return watching


class DeathAt:
    """Kills this process at its k-th changing call: before it is made, or half-way through a write. `points` counts what there is."""

    def __init__(self, point: int | None) -> None:
        self.points, self._point = 0, point

    def carry_out(self, call: Call, make: Callable[[], Any]) -> Any:
        self._pass_point()
        if call.name == "write":
            content = call.args[1]
            self._pass_point(lambda: _write(call.args[0], content[: len(content) // 2]))
        return make()

    def _pass_point(self, before: Callable[[], object] | None = None) -> None:
        if self.points == self._point:
            if before is not None:
                before()
            os.kill(os.getpid(), signal.SIGKILL)
        self.points += 1
