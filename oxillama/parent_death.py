"""Die with the parent: so that nothing keeps a port or a lock when the process manager was killed and could stop nobody."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1

#: Set by `python -m oxillama` before it becomes the process manager. Parts that are started by hand have no such parent.
SUPERVISOR_VARIABLE = "OXILLAMA_PARENT_PID"


def die_with_supervisor(with_signal: signal.Signals = signal.SIGTERM) -> None:
    """Be told when the process manager that started this process dies; nothing when there is none."""
    supervisor = os.environ.get(SUPERVISOR_VARIABLE, "")
    if supervisor.isdecimal():
        die_with_parent(int(supervisor), with_signal)


def die_with_parent(parent: int | None = None, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to send this process `with_signal` when its parent dies. Does nothing where the kernel cannot.

    Args:
        parent: process id of the parent, from someone who knew it before this process began. When the parent is another by the
            time the kernel was asked, the real one is dead already and this process ends here. None: that case goes unnoticed.
        with_signal: SIGKILL unless the process has something to tidy up.

    The kernel means the parent's *thread*: a parent must not start us from a thread that ends.
    """
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (AttributeError, OSError):
        return
    prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(with_signal), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), with_signal)
