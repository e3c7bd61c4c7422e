"""A disk that fails: what the store's one seam is answered by the operating system, from a chosen call on."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from oxillama.store import disk


def _creates(name: str, arguments: tuple[Any, ...]) -> bool:
    return name != "open" or bool(arguments[1] & os.O_CREAT)


#: error -> the calls that can give it
CALLS = {
    errno.ENOSPC: ("open", "write", "mkdir", "rename", "fdatasync"),
    errno.EMFILE: ("open", "listdir"),
    errno.EIO: ("open", "read", "pread", "write", "mkdir", "rename", "unlink", "ftruncate", "fdatasync", "fsync", "listdir", "stat"),
}


class FailingDisk:
    """Stands in for `os` in `store/disk.py`. Waits for no device, since none fails but here.

    Attributes:
        failed: how many calls have failed.
        failed_sync_of_names: whether all that failed was the sync of a directory, behind a change that is visible.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._error: int | None = None
        self._skip = 0
        self._for_good = False
        self.failed: list[str] = []
        patch.setattr(disk, "os", self)

    def fail(self, error: int, *, at: int, for_good: bool) -> None:
        """Let the call number `at` fail of those that can fail with this error; `for_good` also all behind it."""
        self._error, self._skip, self._for_good, self.failed = error, at, for_good, []

    def heal(self) -> None:
        """From here on nothing fails."""
        self._error = None

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name in ("fsync", "fdatasync"):
            real = int
        if self._error is None or name not in CALLS[self._error]:
            return real

        def call(*arguments: Any, **named: Any) -> Any:
            if self._error is not None and (self._error != errno.ENOSPC or _creates(name, arguments)):
                self._skip -= 1
                if self._skip == -1 or (self._skip < 0 and self._for_good):
                    self.failed.append(name)
                    raise OSError(self._error, os.strerror(self._error))
            return real(*arguments, **named)

        return call
