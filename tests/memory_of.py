"""How much memory a tree of processes takes, what it shares counted once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil

from tests.process_control import ProcessTree


def taken(tree: ProcessTree) -> int:
    """Bytes, by the kernel's proportional shares (PSS)."""
    return sum(taken_by_each(tree).values())


def taken_by_each(tree: ProcessTree) -> dict[str, int]:
    """The same for each process: the end of its command line and its pid -> bytes."""
    shares = {}
    for process in tree.alive():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, ProcessLookupError):
            shares[f"{' '.join(process.cmdline())[-40:]} {process.pid}"] = process.memory_full_info().pss
    return shares


class Peak:
    """The most that was seen so far. Call it for the sum in bytes."""

    def __init__(self) -> None:
        self.shares: dict[str, int] = {}

    def __call__(self) -> int:
        return sum(self.shares.values())

    def see(self, shares: dict[str, int]) -> None:
        """Count what was seen just now."""
        if sum(shares.values()) > self():
            self.shares = shares


@contextlib.contextmanager
def peak_of(tree: ProcessTree, pause: float = 0.05) -> Iterator[Peak]:
    """Look at a tree again and again while the block runs; what is yielded tells the most that it took."""
    peak, done = Peak(), threading.Event()
    peak.see(taken_by_each(tree))

    def look() -> None:
        while not done.wait(pause):
            peak.see(taken_by_each(tree))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
