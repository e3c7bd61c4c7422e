"""A real server in a mount namespace of its own, whose data directory is a small file system that a test can fill, lock or take away."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.process_control import Server

#: Without capabilities root too may read only what the mode of a file allows it.
_START = (
    'mount -t tmpfs -o mode=0700,{options} none "$OXILLAMA_DATA_DIR"'
    " && exec setpriv --bounding-set=-all --inh-caps=-all {python} -m oxillama"
)


def may_confine() -> bool:
    """Whether this machine lets us mount something that nobody else sees."""
    try:
        tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, timeout=20)
        return tried.returncode == 0 and subprocess.run(["setpriv", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


class ConfinedServer(Server):
    """`python -m oxillama` on a tmpfs, seen by it and its parts alone.

    Args:
        data_dir: an existing directory, below which the tmpfs is mounted.
        options: of the tmpfs, for instance `size=1m`.
    """

    def __init__(self, *, data_dir: Path, options: str, **chosen: Any) -> None:
        super().__init__(data_dir=data_dir, **chosen)
        data_dir.mkdir()
        script = _START.format(options=options, python=shlex.quote(sys.executable))
        self.arguments = ("-c", f"import os; os.execvp('unshare', ['unshare', '-rm', 'sh', '-c', {script!r}])")  # type: ignore[misc]

    @property
    def data(self) -> Path:
        """The data directory as the server sees it."""
        return Path(f"/proc/{self.pid}/root{self.data_dir}")

    def inside(self, *command: str) -> None:
        """Do something as root of the server's namespace."""
        enter = ["nsenter", "-t", str(self.pid), "-U", "-m", "--preserve-credentials"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr

    def fill(self) -> None:
        """Take all the space that is left."""
        with pytest.raises(OSError) as refused, (self.data / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        assert refused.value.errno == errno.ENOSPC

    def use_up_names(self) -> None:
        """Take all the inodes that are left."""
        folder = self.data / "ballast"
        folder.mkdir()
        with pytest.raises(OSError) as refused:
            for number in range(1_000_000):
                os.close(os.open(folder / str(number), os.O_CREAT | os.O_WRONLY))
        assert refused.value.errno == errno.ENOSPC

    def lock(self) -> None:
        """Let nothing be written any more."""
        self.inside("mount", "--bind", str(self.data_dir), str(self.data_dir))
        self.inside("mount", "-o", "remount,bind,ro", str(self.data_dir))

    def unlock(self) -> None:
        """Let everything be written again."""
        self.inside("umount", str(self.data_dir))
