"""Where the time goes: flame graphs of the processes under load, made by py-spy from outside."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tests.process_control import ProcessTree

_ROLES = ("web-worker", "runner")
_SAMPLES_A_SECOND = "200"


@contextlib.contextmanager
def profiled(tree: ProcessTree, prefix: Path | None) -> Iterator[None]:
    """Record each web worker and runner while the block runs, into `<prefix>-<role>-<pid>.svg`; nothing without a prefix."""
    if prefix is None:
        yield
        return
    tool = shutil.which("py-spy", path=sysconfig.get_path("scripts")) or shutil.which("py-spy")
    if tool is None:
        sys.exit("There is no py-spy; scripts/setup bench installs it.")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    recorders = []
    for role in _ROLES:
        for pid in tree.find(role):
            target = ["--pid", str(pid), "--output", f"{prefix}-{role}-{pid}.svg"]
            # It must not hold up what it looks at.
            command = [tool, "record", "--nonblocking", "--rate", _SAMPLES_A_SECOND, *target]
            recorders.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    try:
        yield
    finally:
        for recorder in recorders:
            recorder.send_signal(signal.SIGINT)
        for recorder in recorders:
            recorder.wait(timeout=60)
