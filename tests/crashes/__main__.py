"""`python -m tests.crashes [name …]`: carry out both sweeps and print how many points of each operation were tried."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.crashes.operations import OPERATIONS
from tests.crashes.sweep import Result, cut_everywhere, kill_everywhere


def main(names: list[str]) -> int:
    totals = Result(), Result()
    began = time.monotonic()
    print(f"{'operation':60} {'killed':>9} {'power cut':>9}")
    for name in names or OPERATIONS:
        points = []
        for total, sweep in zip(totals, (kill_everywhere, cut_everywhere), strict=True):
            with tempfile.TemporaryDirectory() as root:
                result = sweep(OPERATIONS[name], Path(root))
            points.append(f"{result.points:>9}" + (f" ({len(result.violations)} wrong)" if result.violations else ""))
            total.points += result.points
            total.violations += result.violations
        print(f"{name:60}", *points, flush=True)
    took = f"{len(names or OPERATIONS)} operations, {time.monotonic() - began:.0f} s"
    print(f"{took:60}", *(f"{total.points:>9}" for total in totals))
    for total in totals:
        print(*total.violations, sep="\n")
    return any(total.violations for total in totals)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
