"""How many lines a log has, told without reading what was read before: logs grow at their end and nowhere else."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from oxillama.store.disk import naming

_BLOCK = 1 << 20
_MOST_KNOWN = 1024
#: No line of a log is shorter, with its newline.
SHORTEST_LINE = 64

_known: OrderedDict[tuple[str, int], tuple[int, int]] = OrderedDict()
_lock = threading.Lock()


def has_at_least(path: str, lines: int) -> bool:
    """Whether a log has so many whole lines. A log that is too small for that is not read.

    Args:
        path: of the log; one that does not exist has none.
        lines: at least 1.
    """
    try:
        with naming(path):
            if os.stat(path).st_size < lines * SHORTEST_LINE:
                return False
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return _count(fd, (path, os.fstat(fd).st_ino)) >= lines
    finally:
        os.close(fd)


def _count(fd: int, log: tuple[str, int]) -> int:
    with _lock:
        # Up to the end of a line: what a crash left behind it may be cut off, and other lines take its place.
        count, position = _known.pop(log, (0, 0))
    offset = position
    while block := os.pread(fd, _BLOCK, offset):
        newlines = block.count(b"\n")
        if newlines:
            count += newlines
            position = offset + block.rindex(b"\n") + 1
        offset += len(block)
    with _lock:
        _known[log] = count, position
        if len(_known) > _MOST_KNOWN:
            _known.popitem(last=False)
    return count
