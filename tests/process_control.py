"""Start real processes of the product, wait for them, hurt them, and always get rid of them.

Each is started as a production command: from the repository's root, in a session of its own, with an environment made from scratch.
Everything that the command starts stays in that session, whatever group or parent it ends up with: that is how strays are found.

    with Server(engine_url=engine.url) as server:
        openai.OpenAI(base_url=server.base_url, api_key="any")
        server.kill("runner", signal.SIGKILL)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil

ROOT = Path(__file__).resolve().parent.parent

#: Requests to loopback never go through a proxy that the environment names.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(reached: Callable[[], Any], timeout: float, what: str, pause: float = 0.02) -> Any:
    """The first true answer of `reached`. AssertionError, saying `what`, when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        if answer := reached():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(pause)


class ProcessTree:
    """A command and all that it starts. Entering starts it; leaving kills whatever is left of it, in every case.

    When the block fails, the end of the captured output is added to the exception.

    Args:
        data_dir: where the data is; None for a fresh folder that is removed at the end.
        engine_url: None for the embedded engine.
        port: to serve on; None for a free one.
        workers: web worker processes.
        environ: more variables; a value of None removes one.
        umask: which bits new files do not get; None for those of the tests.
    """

    #: What Python is started with.
    arguments: ClassVar[tuple[str, ...]]
    #: Whether it answers HTTP.
    serves: ClassVar[bool] = True

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        engine_url: str | None = None,
        port: int | None = None,
        workers: int = 2,
        environ: Mapping[str, str | None] | None = None,
        umask: int | None = None,
    ) -> None:
        self._umask = -1 if umask is None else umask
        self._scratch = Path(tempfile.mkdtemp(prefix="oxillama-test-"))
        self.data_dir = data_dir if data_dir is not None else self._scratch / "data"
        self.port = port if port is not None else free_port()
        wanted: dict[str, str | None] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "OXILLAMA_BIND": f"127.0.0.1:{self.port}",
            "OXILLAMA_DATA_DIR": str(self.data_dir),
            "OXILLAMA_WORKERS": str(workers),
            "OXILLAMA_ENGINE_URL": engine_url,
            **(environ or {}),
        }
        self.environ = {name: value for name, value in wanted.items() if value is not None}
        self._log_path = self._scratch / "output.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}
        self._gone = False

    def __enter__(self) -> Self:
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.arguments],
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=self._umask,
            )
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            error.add_note(f"--- output of {' '.join(self.arguments)}\n{self.log()[-8000:]}")
        try:
            self.kill_everything()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The process that was started; the leader of its session and group."""
        return self._popen.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What an SDK wants: with `/v1`."""
        return f"{self.url}/v1"

    @property
    def returncode(self) -> int | None:
        """None while the started process lives."""
        return self._popen.poll()

    def log(self) -> str:
        """What all of its processes have written to stdout and stderr so far."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def health(self) -> Any:
        """The body of GET /health when that answers 200, else None."""
        with contextlib.suppress(OSError, urllib.error.URLError, ValueError), _direct.open(f"{self.url}/health", timeout=2) as answer:
            return json.loads(answer.read() or b"{}") or True
        return None

    def wait_ready(self, timeout: float = 30.0) -> Self:
        """Until GET /health answers 200. What does not serve is ready once it has started."""

        def ready() -> Any:
            self.alive()
            if self.returncode is not None:
                raise AssertionError(f"{' '.join(self.arguments)} ended with {self.returncode}:\n{self.log()[-8000:]}")
            return not self.serves or self.health()

        wait_until(ready, timeout, f"{self.url}/health answers 200", pause=0.05)
        return self

    def alive(self) -> list[psutil.Process]:
        """Every living process of the tree, the started one included. Dead ones that nobody has collected do not count."""
        if self._gone:
            return []
        found = {}
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(pid) == self.pid:
                    found[pid] = psutil.Process(pid)
        if self.pid in found:
            # For a process that makes a session of its own, as a daemon does.
            with contextlib.suppress(psutil.NoSuchProcess):
                found.update({child.pid: child for child in found[self.pid].children(recursive=True)})
        # What was seen before stays known, and is told from a stranger with the same pid by its time of birth.
        self._seen = {process.pid: process for process in (*self._seen.values(), *found.values()) if _lives(process)}
        # Once nothing is left and the started process is collected, its pid no longer names this session.
        self._gone = not self._seen and self.returncode is not None
        return list(self._seen.values())

    def children(self) -> dict[int, list[str]]:
        """Every living process of the tree but the started one: pid -> command line."""
        return {process.pid: line for process in self.alive() if process.pid != self.pid and (line := _command_line(process))}

    def find(self, role: str) -> list[int]:
        """The pids of `web-master`, `web-worker`, `runner` or `engine`; also the started one, when it is that itself."""
        if role == "runner":
            return [process.pid for process in self.alive() if "oxillama.runner" in _command_line(process)]
        if role == "engine":
            return [process.pid for process in self.alive() if "oxillama.engine.embedded" in _command_line(process)]
        web = [process for process in self.alive() if _is_gunicorn(process)]
        # The master is the started process or a child of it. A worker whose master was killed is no master.
        if any(process.pid == self.pid for process in web):
            masters = [self.pid]
        else:
            masters = [process.pid for process in web if _parent(process) == self.pid]
        if role == "web-master":
            return masters
        if role == "web-worker":
            return [process.pid for process in web if process.pid not in masters]
        raise ValueError(f"no such role: {role}")

    def wait_for(self, role: str, *, count: int = 1, other_than: list[int] | None = None, timeout: float = 15.0) -> list[int]:
        """The pids of a role, once `count` of them live that are not in `other_than`: how one waits for a killed process to be back."""
        old = set(other_than or ())

        def there() -> list[int]:
            new = [pid for pid in self.find(role) if pid not in old]
            return new if len(new) >= count else []

        pids: list[int] = wait_until(there, timeout, f"{count} new {role} in {self.children()}", pause=0.05)
        return pids

    def kill(self, role: str, number: int = signal.SIGKILL) -> list[int]:
        """Send a signal to every process of a role. The pids it went to."""
        pids = self.find(role)
        assert pids, f"no {role} in {self.children()}"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def stop(self, timeout: float = 10.0, *, group: bool = False) -> float:
        """SIGTERM to the started process, or with `group` to its process group; asserts that nothing is left in time.

        Returns:
            The seconds it took.
        """
        self.alive()
        begun = time.monotonic()
        if self.returncode is None:
            (os.killpg if group else os.kill)(self.pid, signal.SIGTERM)

        def gone() -> bool:
            return self.returncode is not None and not self.alive()

        try:
            wait_until(gone, timeout, "everything is gone after SIGTERM")
        except AssertionError:
            left = {process.pid: " ".join(_command_line(process)) for process in self.alive()}
            raise AssertionError(f"{timeout} s after SIGTERM these are left: {left}\n{self.log()[-8000:]}") from None
        return time.monotonic() - begun

    def kill_everything(self) -> None:
        """SIGKILL to the whole tree, as a power cut would do it. Does not return before it is gone."""
        if self._process is None:
            return
        # The started one first: it is a process manager and would start the others again.
        pending = sorted(self.alive(), key=lambda process: process.pid != self.pid)
        deadline = time.monotonic() + 10
        while pending and time.monotonic() < deadline:
            for process in pending:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.01)
            pending = self.alive()
        self._process.wait(timeout=10)
        assert not pending, f"cannot be killed: {pending}"

    @property
    def _popen(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started: use it in a with statement"
        return self._process


class Server(ProcessTree):
    """Everything: `python -m oxillama`, which becomes a process manager with web, runner and engine below it."""

    arguments = ("-m", "oxillama")


class Web(ProcessTree):
    """The web processes alone, under gunicorn."""

    arguments = ("-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:application")


class Runner(ProcessTree):
    """A runner alone. It does not serve."""

    arguments = ("-m", "oxillama.runner")
    serves = False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _is_gunicorn(process: psutil.Process) -> bool:
    # As `python -m gunicorn`, as bin/gunicorn, or renamed by setproctitle.
    line = _command_line(process)
    return any(Path(word).name == "gunicorn" for word in line) or bool(line and line[0].startswith("gunicorn:"))
