"""Several servers from one checkout, and where a server may be started from."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from tests.process_control import ROOT, Server, free_port, wait_until
from tests.processes.talk import answers, ask, client_of, ended, start_run
from tests.scripted_engine import Reply, ScriptedEngine


def open_doors(server: Server) -> set[str]:
    """What the processes of a server listen on: addresses and paths of sockets."""
    doors = set()
    for process in server.alive():
        connections = []
        # A part that is being started asks the machine this and that, in processes that are gone at once.
        with contextlib.suppress(psutil.NoSuchProcess):
            connections = process.net_connections(kind="all")
        for connection in connections:
            if connection.family == socket.AF_UNIX and connection.laddr:
                doors.add(str(connection.laddr))
            elif connection.status == psutil.CONN_LISTEN:
                doors.add(f"{connection.laddr.ip}:{connection.laddr.port}")
    return doors


def test_two_servers_from_one_checkout_do_not_disturb_each_other(engine: ScriptedEngine, tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    environ = {"HOME": str(home)}
    engine.default = lambda request: Reply([f"You said: {request['messages'][-1]['content']}"])
    with (
        Server(engine_url=engine.url, data_dir=tmp_path / "one", environ=environ) as one,
        Server(engine_url=engine.url, data_dir=tmp_path / "two", environ=environ) as two,
        client_of(one.wait_ready()) as client_one,
        client_of(two.wait_ready()) as client_two,
    ):
        assert open_doors(one) == {f"127.0.0.1:{one.port}"}
        assert open_doors(two) == {f"127.0.0.1:{two.port}"}
        for server in (one, two):
            assert int((server.data_dir / "supervisord.pid").read_text()) == server.pid
        for client, text in ((client_one, "first"), (client_two, "second")):
            question = ask(client, text)
            assert ended(client, start_run(client, question)).status == "completed"
            assert answers(client, question) == [text, f"You said: {text}"]
            assert len(client.beta.assistants.list().data) == 1
        one.stop()
        assert two.health()
        assert len(two.find("web-worker")) == 2
    assert list(home.iterdir()) == []


def test_two_embedded_engines_have_ports_of_their_own():
    with Server() as one, Server() as two:
        one.wait_for("engine")
        two.wait_for("engine")
        one.wait_ready()
        two.wait_ready()
        wait_until(lambda: len(open_doors(one)) == 2 and len(open_doors(two)) == 2, 30, "both engines listen")
        assert not open_doors(one) & open_doors(two)
        assert all(door.startswith("127.0.0.1:") for door in open_doors(one) | open_doors(two))


def copied_checkout(target: Path) -> Path:
    """The files that serve, somewhere else."""
    shutil.copytree(ROOT / "oxillama", target / "oxillama", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "scripts", target / "scripts")
    for name in ("gunicorn.conf.py", "wsgi.py", "Makefile", *(path.name for path in ROOT.glob("requirements*.txt"))):
        shutil.copy(ROOT / name, target / name)
    return target


class CopiedServer(Server):
    """A server from a copy of the checkout.

    Args:
        checkout: where the copy is.
        options: as for Server.
    """

    def __init__(self, checkout: Path, **options: object) -> None:
        super().__init__(**options, environ={"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"})  # type: ignore[arg-type]


def test_a_path_may_hold_spaces_and_percent_signs(engine: ScriptedEngine, tmp_path: Path):
    checkout = copied_checkout(tmp_path / "my projects; 100%(or so)s")
    with CopiedServer(checkout, engine_url=engine.url, data_dir=checkout / "our data") as server:
        with client_of(server.wait_ready()) as client:
            assert ended(client, start_run(client, ask(client))).status == "completed"
        assert any(str(checkout) in word for word in functools.reduce(operator.iadd, server.children().values(), []))


def test_output_may_go_to_a_socket_as_under_systemd(engine: ScriptedEngine, tmp_path: Path):
    """supervisord opens its output by name for each part, which is impossible for a socket."""
    ours, theirs = socket.socketpair()
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OXILLAMA_BIND": f"127.0.0.1:{port}",
        "OXILLAMA_DATA_DIR": str(tmp_path / "data"),
        "OXILLAMA_ENGINE_URL": engine.url,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "oxillama"], cwd=ROOT, env=environ, stdout=theirs, stderr=theirs, start_new_session=True
    )
    family = []
    theirs.close()
    output = bytearray()

    def read() -> None:
        while piece := ours.recv(65536):
            output.extend(piece)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        wait_until(lambda: b"runs at once" in output, 15, f"the runner is heard: {output.decode()}")
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
        _, left = psutil.wait_procs(family, timeout=5)
        assert left == []
        # The last one that could write has gone.
        reader.join(5)
        assert not reader.is_alive()
    finally:
        for one in (*family, psutil.Process(process.pid) if process.poll() is None else None):
            if one is not None and one.is_running():
                one.kill()
        process.wait(10)
        ours.close()


def test_make_serve_needs_no_downloads_when_it_is_set_up_and_stops_with_make(engine: ScriptedEngine, tmp_path: Path):
    checkout = copied_checkout(tmp_path / "checkout")
    environment = checkout / ".venv"
    (environment / "bin").mkdir(parents=True)
    # As it would be after a first start: python, its libraries, and the note that all is installed.
    (environment / "bin" / "python").symlink_to(sys.executable)
    (environment / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", environment)
    told = subprocess.run(
        "cat requirements*.txt scripts/setup | cksum", shell=True, cwd=checkout, capture_output=True, text=True, check=True
    )
    (environment / "ready-run").write_text(told.stdout)
    with MadeServer(checkout, engine_url=engine.url, data_dir=tmp_path / "data") as server:
        with client_of(server.wait_ready()) as client:
            assert ended(client, start_run(client, ask(client))).status == "completed"
        assert "Installing" not in server.log()
        os.killpg(server.pid, signal.SIGINT)
        wait_until(lambda: server.returncode is not None and not server.alive(), 10, "everything is gone after Ctrl-C")


class MadeServer(CopiedServer):
    """The same by `make serve`."""

    def __init__(self, checkout: Path, **options: object) -> None:
        super().__init__(checkout, **options)
        self.arguments = ("-c", f"import os; os.execvp('make', ['make', '-C', {str(checkout)!r}, 'serve'])")  # type: ignore[misc]
