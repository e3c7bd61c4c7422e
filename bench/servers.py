"""The processes under load: ours, and those they are compared with. All are started as in production, and gone when the benchmark ends."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bench.load import Load, drive
from bench.profile import profiled
from oxillama.store import Store
from tests.process_control import ProcessTree, Server

#: For cases in which no run is executed: nobody listens there.
_NO_ENGINE = "http://127.0.0.1:9/v1"


class Hello(ProcessTree):
    """Hello-world under gunicorn with our own settings."""

    arguments = ("-m", "gunicorn", "-c", "gunicorn.conf.py", "bench.hello:application")


class InstantEngine(ProcessTree):
    """See `instant_engine`."""

    arguments = ("-m", "bench.instant_engine")


class Bench:
    """One run of the benchmark. Entering makes its scratch folder; leaving stops every process and removes it.

    Args:
        full: whether the sizes that take long are measured too.
        smoke: whether only the harness is tried: everything small and short, so that figures mean nothing.
        rounds: how often each thing is measured.
        disk: the folder in which data directories are made; the system's place for temporary files when not given.
        profiles: where to tell where the time went, in files whose names begin like this.
    """

    def __init__(
        self, *, full: bool = False, smoke: bool = False, rounds: int = 5, disk: Path | None = None, profiles: Path | None = None
    ) -> None:
        self.full, self.smoke, self.rounds = full, smoke, 1 if smoke else rounds
        self.profiles = profiles
        self._disk, self._stack = disk, contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.scratch = Path(tempfile.mkdtemp(prefix="oxillama-bench-", dir=self._disk))
        self._stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.close()

    def sized(self, normal: int, *, smoke: int, full: int | None = None) -> int:
        """How many of something this run does."""
        return smoke if self.smoke else full if self.full and full is not None else normal

    @property
    def seconds(self) -> float:
        """How long a load lasts."""
        return 0.2 if self.smoke else 1.0

    def folder(self) -> Path:
        """A new folder on the disk that is measured."""
        return Path(tempfile.mkdtemp(dir=self.scratch))

    def store(self, data_dir: Path) -> Store:
        """A store to fill before servers start: nothing is synced, because no power cut can come between."""
        return Store.open(data_dir, durable=False)

    @cached_property
    def hello(self) -> Hello:
        """Hello-world, started when first asked for."""
        return self._stack.enter_context(Hello()).wait_ready()

    @cached_property
    def engine(self) -> InstantEngine:
        """The engine that costs nothing, started when first asked for."""
        return self._stack.enter_context(InstantEngine()).wait_ready()

    @contextlib.contextmanager
    def server(self, data_dir: Path, engine_url: str | None = _NO_ENGINE, **settings: str) -> Iterator[Server]:
        """All processes, as `make serve` starts them; without an `engine_url` the embedded engine, too.

        `settings` are named without their prefix, in lower case.
        """
        environ = {f"OXILLAMA_{name.upper()}": value for name, value in settings.items()}
        with Server(data_dir=data_dir, engine_url=engine_url, environ=environ) as server, profiled(server.wait_ready(), self.profiles):
            yield server

    @contextlib.contextmanager
    def servers(self, data_dirs: Sequence[Path]) -> Iterator[list[Server]]:
        """Several at once, each with data of its own."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self.server(data_dir)) for data_dir in data_dirs]


def cpu_seconds(tree: ProcessTree, roles: Sequence[str] = ("web-worker",)) -> float:
    """Processor time that these roles have used so far."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for role in roles for pid in tree.find(role))


def under_load(tree: ProcessTree, requests: Sequence[bytes], **options: Any) -> Load:
    """See `load.drive`; the processor time of the workers is told, too."""
    before = cpu_seconds(tree)
    load = drive(tree.port, requests, **options)
    return replace(load, cpu_us=(cpu_seconds(tree) - before) / load.answers * 1e6)


def memory(tree: ProcessTree, roles: Sequence[str] | None = None) -> dict[str, float]:
    """Megabytes of the processes of some roles, or of the whole tree: resident, proportional and unique, each summed.

    Proportional is what they take in all: a page that several share counts as a part for each.
    """
    pids = [pid for role in roles for pid in tree.find(role)] if roles else [process.pid for process in tree.alive()]
    found = [psutil.Process(pid).memory_full_info() for pid in pids]
    return {kind: round(sum(getattr(one, kind) for one in found) / 1e6, 1) for kind in ("rss", "pss", "uss")}
