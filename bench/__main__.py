"""Run cases and tell what they found: `python -m bench [NAME ...]`; `--help` has the rest."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import plots, report
from bench.cases import CASES
from bench.servers import Bench

_HERE = Path(__file__).resolve().parent
_TABLE = re.compile(r"(<!-- table.*?-->\n).*?(<!-- end of table -->)", re.DOTALL)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What the server costs, against references of the same run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"cases to run; all without any: {', '.join(CASES)}")
    parser.add_argument("--full", action="store_true", help="also the sizes that take long")
    parser.add_argument("--smoke", action="store_true", help="try the harness only: small and short, figures mean nothing")
    parser.add_argument("--rounds", type=int, default=5, help="how often each thing is measured (5)")
    parser.add_argument("--disk", type=Path, help="folder on the disk to measure; else the place for temporary files")
    parser.add_argument("--results", type=Path, default=_HERE / "results", help="folder for what is written (bench/results)")
    parser.add_argument("--profile", action="store_true", help="write flame graphs of web workers and runner; figures suffer")
    parser.add_argument("--plot", action="store_true", help="draw cost against size; more points with --full")
    parser.add_argument("--record", action="store_true", help="put the table into bench/RESULTS.md")
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


def record(figures: list[report.Figure], told: dict[str, Any]) -> None:
    """Replace the table in RESULTS.md."""
    path = _HERE / "RESULTS.md"
    head = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in told.items())
    path.write_text(_TABLE.sub(lambda match: f"{match[1]}\n{head}\n\n{report.markdown(figures)}\n\n{match[2]}", path.read_text()))


def main() -> int:
    """Run the chosen cases; 1 when a goal was missed."""
    chosen = arguments()
    figures: list[report.Figure] = []
    told, name = machine(), f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    profiles = chosen.results / f"{name}-profile" if chosen.profile else None
    with Bench(full=chosen.full, smoke=chosen.smoke, rounds=chosen.rounds, disk=chosen.disk, profiles=profiles) as bench:
        for case in chosen.names or CASES:
            began = time.monotonic()
            for figure in CASES[case](bench):
                figures.append(figure)
                print(report.line(figure), flush=True)
            print(f"      ({case}: {time.monotonic() - began:.0f} s)", flush=True)
    path = chosen.results / f"{name}.json"
    report.write_json(path, told, figures)
    if chosen.plot:
        plots.draw(figures, chosen.results)
    if chosen.record:
        record(figures, told)
    missed = [figure for figure in figures if figure.passed is False]
    print(f"{len(figures)} figures, {len(missed)} below their goal; written to {os.path.relpath(path)}")
    return 1 if missed and not chosen.smoke else 0


if __name__ == "__main__":
    sys.exit(main())
