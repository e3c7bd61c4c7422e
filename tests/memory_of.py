"""How much memory a tree of processes takes, what it shares counted once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import psutil

from tests.process_control import ProcessTree


def taken(tree: ProcessTree) -> int:
    """Bytes, by the kernel's proportional shares (PSS)."""
    total = 0
    for process in tree.alive():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            total += process.memory_full_info().pss
    return total


@contextlib.contextmanager
def peak_of(tree: ProcessTree, pause: float = 0.05) -> Iterator[Callable[[], int]]:
    """Look at a tree again and again while the block runs; what is yielded tells the most that it took, in bytes."""
    most, done = [taken(tree)], threading.Event()

    def look() -> None:
        while not done.wait(pause):
            most[0] = max(most[0], taken(tree))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        done.set()
        thread.join()
