"""Fleet: the product's processes on one data directory, and the engine; started, killed, started again, and measured."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
from inotify_simple import INotify, flags

from tests.process_control import ProcessTree, Runner, Server, Web, free_port, wait_until

#: What `stop` may take when only the process manager was killed, and the others are told so by the kernel.
_ORPHANS_SECONDS = 20
#: How long to wait for a process to write, and how long after that it dies, in seconds; and how many writes it may do before.
_WRITE_SECONDS = 3.0
_MOMENTS = (0.0, 0.0, 0.001, 0.003)
_MOST_PASSED = 12


class EngineProcess(ProcessTree):
    """The scripted engine as a process."""

    serves = False

    def __init__(self, port: int) -> None:
        super().__init__(port=port)
        self.arguments = ("-m", "tests.stress.engine", str(port))  # type: ignore[misc]


@dataclass
class Size:
    """What a process needed when it was warm, and when it was last looked at."""

    role: str
    since: float
    first_rss: int
    first_files: int
    last: float = 0.0
    last_rss: int = 0
    last_files: int = 0


class Fleet:
    """`python -m oxillama`, a second runner beside it, and a web worker and a runner that outlive the others.

    Args:
        data_dir: of all of them.
        run_expiry: seconds.
    """

    def __init__(self, data_dir: Path, run_expiry: int) -> None:
        self.data_dir = data_dir
        engine_port, self.port, self.lasting_port = free_port(), free_port(), free_port()
        url = f"http://127.0.0.1:{engine_port}/v1"
        environ = {"OXILLAMA_RUN_EXPIRY_SECONDS": str(run_expiry), "OXILLAMA_DURABILITY": "full"}
        self._makers: dict[str, Callable[[], ProcessTree]] = {
            "engine": lambda: EngineProcess(engine_port),
            "server": lambda: Server(data_dir=data_dir, engine_url=url, port=self.port, environ=environ),
            "second runner": lambda: Runner(data_dir=data_dir, engine_url=url, environ=environ),
            "lasting web": lambda: Web(data_dir=data_dir, engine_url=url, port=self.lasting_port, workers=1, environ=environ),
            "lasting runner": lambda: Runner(data_dir=data_dir, engine_url=url, environ=environ),
        }
        self.trees: dict[str, ProcessTree] = {}
        self.logs: list[str] = []
        self.sizes: dict[tuple[int, float], Size] = {}

    def __enter__(self) -> Self:
        try:
            for name in self._makers:
                self.start(name)
            self.wait_ready()
        except BaseException:
            self.kill(*self.trees)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(*self.trees)

    def start(self, *names: str) -> None:
        for name in names:
            self.trees[name] = self._makers[name]().__enter__()

    def wait_ready(self, timeout: float = 60) -> None:
        for name in ("server", "lasting web"):
            self.trees[name].wait_ready(timeout)

    def kill(self, *names: str) -> None:
        """SIGKILL to all processes of a tree. Its log is kept."""
        for name in names:
            tree = self.trees.pop(name)
            tree.kill_everything()
            self.logs.append(f"--- {name}, started as {tree.pid}\n{tree.log()}")
            tree.__exit__(None, None, None)

    def restart(self, *names: str) -> None:
        self.kill(*names)
        self.start(*names)

    def kill_one(self, role: str, choose: Callable[[list[int]], int]) -> bool:
        """SIGKILL to one process of the server; False when there is none just now."""
        pids = self.trees["server"].find(role)
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(choose(pids), signal.SIGKILL)
        return True

    def kill_in_a_write(self, tree: str, chance: random.Random) -> bool:
        """SIGKILL to a process of a tree just when it puts a file into place: most changes are several files. False when none did soon.

        The names of files that are not in place yet begin with the id of their process.
        """
        pids = set(self.trees[tree].children()) | {self.trees[tree].pid}
        deadline, passed = time.monotonic() + _WRITE_SECONDS, chance.randrange(_MOST_PASSED)
        with INotify() as watch:
            watch.add_watch(self.data_dir / "tmp", flags.CREATE | flags.MOVED_FROM)
            while time.monotonic() < deadline:
                writers = [int(event.name.partition("-")[0]) for event in watch.read(timeout=100)]
                for victim in (pid for pid in writers if pid in pids):
                    passed -= 1
                    if passed < 0:
                        time.sleep(chance.choice(_MOMENTS))
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(victim, signal.SIGKILL)
                        return True
        return False

    def kill_manager(self) -> None:
        """SIGKILL to the process manager alone; the others must end by themselves. Then all is started again."""
        server = self.trees["server"]
        server.alive()
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: server.returncode is not None and not server.alive(), _ORPHANS_SECONDS, "orphans of supervisord have ended")
        self.restart("server")

    def measure(self) -> None:
        """Look at the size of every process that is old enough to be warm."""
        now = time.time()
        for name, tree in self.trees.items():
            for process in tree.alive():
                with contextlib.suppress(psutil.Error):
                    born = process.create_time()
                    if now - born < 15 or name == "engine":
                        continue
                    rss, files = process.memory_info().rss, process.num_fds()
                    role = _role(name, tree, process)
                    size = self.sizes.setdefault((process.pid, born), Size(role, now, rss, files))
                    size.last, size.last_rss, size.last_files = now, rss, files

    @property
    def log(self) -> str:
        """What all processes have said, those that are gone included."""
        return "\n".join([*self.logs, *(f"--- {name}\n{tree.log()}" for name, tree in self.trees.items())])


def _role(name: str, tree: ProcessTree, process: psutil.Process) -> str:
    if name != "server":
        return f"{name} {'master' if process.pid == tree.pid else 'worker'}" if "web" in name else name
    if process.pid == tree.pid:
        return "supervisord"
    if "oxillama.runner" in process.cmdline():
        return "runner"
    return "web master" if process.ppid() == tree.pid else "web worker"
