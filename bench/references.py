"""What the disk itself can do: the least that has to be written for an object, without anything around it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

#: About as long as a short stored message.
LINE = b"x" * 420 + b"\n"
OBJECT = b"x" * 150

Act = Callable[[], None]


def appending(folder: Path, number: int = 0) -> Act:
    """`write` and `fdatasync` at the end of a file of its own."""
    fd = os.open(folder / f"log-{number}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def append() -> None:
        os.write(fd, LINE)
        os.fdatasync(fd)

    return append


def replacing(folder: Path, _number: int = 0) -> Act:
    """A new file: a temporary one, synced, renamed into place, and the folder synced."""
    counter = itertools.count()

    def replace() -> None:
        name = f"{folder}/object-{os.getpid()}-{next(counter)}"
        _write_synced(f"{name}.tmp")
        os.rename(f"{name}.tmp", name)
        _sync_folder(folder)

    return replace


def making_folders(folder: Path, _number: int = 0) -> Act:
    """A new folder with a file in it: the file, its folder and the folder above synced."""
    counter = itertools.count()

    def make() -> None:
        name = f"{folder}/folder-{os.getpid()}-{next(counter)}"
        os.mkdir(name, 0o700)
        _write_synced(f"{name}/object")
        _sync_folder(name)
        _sync_folder(folder)

    return make


def rate(folder: Path, prepare: Callable[[Path, int], Act], writers: int, seconds: float) -> float:
    """How many acts a second that many processes do in all, each on files of its own in the same folder."""
    with get_context("fork").Pool(writers) as pool:
        told = pool.starmap(_repeat, [(folder, prepare, number, seconds) for number in range(writers)], chunksize=1)
    return sum(acts / took for acts, took in told)


def _repeat(folder: Path, prepare: Callable[[Path, int], Act], number: int, seconds: float) -> tuple[int, float]:
    act, acts, began = prepare(folder, number), 0, time.monotonic()
    while (took := time.monotonic() - began) < seconds:
        act()
        acts += 1
    return acts, took


def _write_synced(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, OBJECT)
    os.fsync(fd)
    os.close(fd)


def _sync_folder(path: str | Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
