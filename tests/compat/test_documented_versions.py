"""What the README says was tried is what is installed and tried."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def installed() -> set[tuple[str, str]]:
    """(package, version) of the project's own environment and all that `scripts/setup compat` makes."""
    lists = [ROOT / "requirements.txt", *sorted((HERE / "environments").glob("*.txt"))]
    pinned = {match for path in lists for match in re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text(), re.MULTILINE)}
    return pinned | set(json.loads((HERE / "node" / "package.json").read_text())["dependencies"].items())


def test_every_release_in_the_readme_is_tried():
    table = (ROOT / "README.md").read_text().split("## Tried with")[1].split("## ")[0].split("Tried by hand")[0]
    releases = {
        match for row in table.splitlines() if row.startswith("|") for match in re.findall(r"([a-z-]+) (\d[\d.]*\d)", row.split("|")[2])
    }
    assert len(releases) == 12
    assert releases - installed() == set()
