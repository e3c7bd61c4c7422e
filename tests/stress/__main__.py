"""`python -m tests.stress`: soak, print the report, exit with 1 when anything was violated."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from tests.stress.soak import soak


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.stress", description="Keep the server busy, kill it, and audit what it acknowledged."
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="under load")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of what is written and what is killed")
    parser.add_argument("--results", type=Path, default=Path("soak-results"), help="folder for the figures and the server's log")
    chosen = parser.parse_args()
    report = soak(chosen.minutes, chosen.seed)
    print(*report.lines(), f"in {report.save(chosen.results)}", sep="\n")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
