"""Report: what a soak did and found, for people and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.stress.fleet import Size
from tests.stress.ledger import Ledger
from tests.stress.violation import Violation

_SHOWN = 30


@dataclass
class Report:
    """One soak.

    Attributes:
        minutes, seed: as asked for.
        under_load, seconds: how long it was, without and with the audit.
        runs: by status, those included of which nobody was told.
        log: all that the server's processes said.
    """

    minutes: float
    seed: int
    under_load: float
    seconds: float
    ledger: Ledger
    kills: Counter[str]
    sizes: list[Size]
    runs: Counter[str]
    leftovers: int
    violations: list[Violation]
    log: str

    def counts(self) -> dict[str, Any]:
        """All figures."""
        found = Counter(violation.kind for violation in self.violations)
        streams = self.ledger.streams
        return {
            "minutes": self.minutes,
            "seed": self.seed,
            "seconds under load": round(self.under_load),
            "seconds in all": round(self.seconds),
            "kills": sum(self.kills.values()),
            "kills by kind": dict(self.kills.most_common()),
            "acknowledged writes": sum(self.ledger.acknowledged.values()),
            "acknowledged by kind": dict(self.ledger.acknowledged.most_common()),
            "unknown writes": sum(self.ledger.unknown.values()),
            "unknown by kind": dict(self.ledger.unknown.most_common()),
            "refused": dict(self.ledger.refused.most_common()),
            "runs": sum(self.runs.values()),
            "runs by status": dict(self.runs.most_common()),
            "streams read": len(streams),
            "streams read again after a break": sum(1 for stream in streams if stream.reconnects),
            "files left in tmp": self.leftovers,
            **{kind: found[kind] for kind in ("lost", "doubled", "stuck", "wrong", "surprise")},
        }

    def lines(self) -> Iterator[str]:
        """The table, the sizes of what lived long, and the first violations."""
        for name, value in self.counts().items():
            shown = ", ".join(f"{kind} {count}" for kind, count in value.items()) if isinstance(value, dict) else str(value)
            yield f"{name:<34} {shown}"
        longest: dict[str, Size] = {}
        for size in sorted(self.sizes, key=lambda size: size.last - size.since):
            longest[size.role] = size
        for role, size in sorted(longest.items()):
            rss = f"{size.first_rss / 2**20:.0f} -> {size.last_rss / 2**20:.0f} MiB"
            yield f"{role:<34} {rss}, {size.first_files} -> {size.last_files} files, over {size.last - size.since:.0f} s"
        for violation in self.violations[:_SHOWN]:
            yield f"{violation.kind.upper()}: {violation.text}"
        if len(self.violations) > _SHOWN:
            yield f"... and {len(self.violations) - _SHOWN} more"

    def save(self, folder: Path) -> Path:
        """Write everything into a folder; the path of the JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"soak-{self.seed}.json"
        content = {**self.counts(), "sizes": list(map(asdict, self.sizes)), "violations": [one._asdict() for one in self.violations]}
        path.write_text(json.dumps(content, indent=2))
        path.with_suffix(".log").write_text(self.log)
        return path
