"""One soak: start the product, let everybody write and everybody be killed, then look whether all is there."""

from __future__ import annotations

import queue
import random
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.process_control import wait_until
from tests.stress.audit import audit, check_violations, size_violations, traceback_violations
from tests.stress.fleet import Fleet
from tests.stress.killer import Killer
from tests.stress.ledger import Ledger
from tests.stress.readers import Reader
from tests.stress.report import Report
from tests.stress.talkers import Talker, create_assistant
from tests.stress.views import ApiView, FileView
from tests.stress.violation import Violation
from tests.stress.writers import MessageWriter, SdkWriter, Writer

#: How many threads of each kind, and how many steps a second each makes at most.
_CREW: list[tuple[type[Writer], int, float]] = [(MessageWriter, 8, 30.0), (SdkWriter, 2, 3.0), (Talker, 6, 4.0), (Reader, 4, 20.0)]
#: What recovery may take, behind the life of a run.
_SETTLE_SECONDS = 75


def soak(minutes: float, seed: int, run_expiry: int = 15) -> Report:
    """Run it, and audit it.

    Args:
        minutes: under load; the audit comes on top.
        seed: of all randomness but that of the machine.
        run_expiry: life of a run, in seconds.
    """
    ledger, over = Ledger(), threading.Event()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="oxillama-soak-") as scratch, Fleet(Path(scratch) / "data", run_expiry) as fleet:
        killer = Killer(fleet, ledger, seed, over, blackout_at=minutes * 30)
        crew = _crew(fleet, ledger, seed, over)
        for member in (killer, *crew):
            member.start()
        _watch(minutes, ledger, killer)
        over.set()
        for member in (killer, *crew):
            member.join(120)
            if member.is_alive():
                ledger.surprise(f"{member.name} hangs")
        under_load = time.monotonic() - begun
        fleet.measure()
        fleet.kill("server", "second runner", "lasting web", "lasting runner")
        fleet.start("server", "second runner")
        fleet.trees["server"].wait_ready(60)
        files = FileView(fleet.data_dir)
        with suppress(AssertionError):
            # What is left then is found by the audit.
            wait_until(lambda: not files.active_runs(), run_expiry + _SETTLE_SECONDS, "the queue is empty", pause=0.5)
        api = ApiView(fleet.port)
        violations = [Violation("surprise", text) for text in ledger.surprises]
        violations += [*audit(ledger, api), *audit(ledger, files), *files.violations(), *size_violations(fleet.sizes.values())]
        violations += [*api.stuck_threads(ledger), *traceback_violations(fleet.log), *check_violations(fleet.data_dir)]
        return Report(
            minutes=minutes,
            seed=seed,
            under_load=under_load,
            seconds=time.monotonic() - begun,
            ledger=ledger,
            kills=killer.kills,
            sizes=list(fleet.sizes.values()),
            runs=files.count_runs(),
            leftovers=len(list((fleet.data_dir / "tmp").iterdir())),
            violations=violations,
            log=fleet.log,
        )


def _crew(fleet: Fleet, ledger: Ledger, seed: int, over: threading.Event) -> list[Writer]:
    to_follow: queue.Queue[tuple[str, str]] = queue.Queue(maxsize=8)
    assistant_id = create_assistant(fleet.port)
    crew = []
    for kind, count, pace in _CREW:
        for number in range(count):
            # Every fourth talks to the web worker that lasts, so that both see what the other wrote.
            port = fleet.lasting_port if number % 4 == 1 else fleet.port
            member = kind(f"{kind.__name__.lower()}{number}-{random.Random(seed).randrange(1000)}", port, ledger, seed, over, pace)
            if isinstance(member, Talker | SdkWriter):
                member.assistant_id = assistant_id
            if isinstance(member, Talker | Reader):
                member.to_follow = to_follow
            crew.append(member)
    return crew


def _watch(minutes: float, ledger: Ledger, killer: Killer) -> None:
    end, told = time.monotonic() + minutes * 60, 0.0
    while (left := end - time.monotonic()) > 0:
        if time.monotonic() - told > 10:
            told = time.monotonic()
            kills, writes = sum(killer.kills.values()), sum(ledger.acknowledged.values())
            print(f"{left:5.0f} s left: {kills} kills, {writes} writes, {len(ledger.surprises)} surprises", file=sys.stderr, flush=True)
        time.sleep(min(left, 1))
