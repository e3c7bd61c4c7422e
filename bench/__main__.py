"""Run cases and tell what they found: `python -m bench [NAME ...] [--full] [--smoke] [--rounds N]`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import report
from bench.cases import CASES
from bench.servers import Bench

RESULTS = Path(__file__).resolve().parent / "results"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What the server costs, against references of the same run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"cases to run; all without any: {', '.join(CASES)}")
    parser.add_argument("--full", action="store_true", help="also the sizes that take long")
    parser.add_argument("--smoke", action="store_true", help="try the harness only: small and short, figures mean nothing")
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured (5)")
    parser.add_argument("--disk", type=Path, help="folder on the disk to measure; else the place for temporary files")
    chosen = parser.parse_args()
    for name in set(chosen.names) - set(CASES):
        parser.error(f"no case {name}; there are {', '.join(CASES)}")
    return chosen


def machine() -> dict[str, Any]:
    """What one has to know to read the figures."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": [round(one, 2) for one in os.getloadavg()],
    }


def main() -> int:
    """Run the chosen cases; 1 when a goal was missed."""
    chosen = arguments()
    figures: list[report.Figure] = []
    before = machine()
    with Bench(full=chosen.full, smoke=chosen.smoke, rounds=chosen.rounds, disk=chosen.disk) as bench:
        for name in chosen.names or CASES:
            began = time.monotonic()
            for figure in CASES[name](bench):
                figures.append(figure)
                print(report.line(figure), flush=True)
            print(f"      ({name}: {time.monotonic() - began:.0f} s)", flush=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    report.write_json(path, before, figures)
    missed = [figure for figure in figures if figure.passed is False]
    print(f"{len(figures)} figures, {len(missed)} below their goal; written to {os.path.relpath(path)}")
    return 1 if missed and not chosen.smoke else 0


if __name__ == "__main__":
    sys.exit(main())
