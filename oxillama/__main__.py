"""Start everything: `python -m oxillama`. Checks the settings, chooses a port for the embedded engine, and becomes the process manager.

`python -m oxillama check` reads the data directory instead, and tells what is wrong with it.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from oxillama import settings
from oxillama.engine.embedded import free_port
from oxillama.errors import SettingsInvalid, StoreError
from oxillama.parent_death import SUPERVISOR_VARIABLE
from oxillama.store import Store
from oxillama.store.check import Check

_HOME = Path(__file__).resolve().parent.parent


def main() -> None:
    """Do what the command line says. Never returns."""
    parser = argparse.ArgumentParser("oxillama", description="Without a command: start everything. README.md has the settings.")
    checking = parser.add_subparsers(dest="command").add_parser("check", help="read a data directory and tell what is wrong with it")
    checking.add_argument("data_dir", nargs="?", type=Path, help="default: OXILLAMA_DATA_DIR")
    arguments = parser.parse_args()
    if arguments.command == "check":
        sys.exit(check(arguments.data_dir))
    start()


def check(data_dir: Path | None) -> int:
    """Print what is wrong in a data directory, which nothing is changed in. The exit status: 1 when there is anything but notes."""
    try:
        checking = Check(data_dir or settings.read(os.environ).data_dir)
    except SettingsInvalid as error:
        sys.exit(f"oxillama cannot check: {error}")
    for problem in checking.problems():
        print(problem, flush=True)
    print(", ".join(f"{noun}: {checking.counts[noun]}" for noun in ("projects", "threads", "messages", "runs", "notes", "problems")))
    return 1 if checking.counts["problems"] else 0


def start() -> None:
    """Never returns: this process becomes supervisord. Exits with 1 and one line on stderr when something cannot be used."""
    try:
        chosen = settings.read(os.environ)
        # Whatever the umask of whoever starts it: nothing that comes to be here is for others. All parts inherit it.
        os.umask(0o077)
        Store.open(chosen.data_dir)
        _check_bind(chosen.bind)
    except (SettingsInvalid, StoreError, OSError) as error:
        sys.exit(f"oxillama cannot start: {error}")
    os.environ.update(
        OXILLAMA_DATA_DIR=str(chosen.data_dir.resolve()),
        # It stays the engine's for as long as this manager lives, restarts included.
        OXILLAMA_EMBEDDED_PORT=str(chosen.embedded_port or free_port()),
        OXILLAMA_START_ENGINE="true" if chosen.embedded else "false",
        OXILLAMA_PYTHON=sys.executable,
        OXILLAMA_HOME=str(_HOME),
        # For code that is not installed: the parts are started with `-m` from wherever the caller stands.
        PYTHONPATH=os.pathsep.join(filter(None, [str(_HOME), os.environ.get("PYTHONPATH")])),
    )
    if chosen.embedded and chosen.engine_api_key is None:
        # Made for this start and known to our parts alone: the port is open to every user of this machine.
        os.environ["OXILLAMA_ENGINE_API_KEY"] = secrets.token_urlsafe(32)
    os.environ[SUPERVISOR_VARIABLE] = str(os.getpid())
    _make_output_reopenable()
    relaxed = "" if chosen.durable else ", durability relaxed: a power cut may take the last seconds with it"
    print(f"oxillama: http://{chosen.bind}/v1, data in {chosen.data_dir.resolve()}{relaxed}", flush=True)
    configuration = str(files("oxillama") / "supervisord.conf")
    os.execv(sys.executable, [sys.executable, "-m", "oxillama.process_manager", "--configuration", configuration])


def _check_bind(bind: str) -> None:
    """Raise OSError when the address cannot be served on: gunicorn would try for ever, and only its log would say so."""
    host, _, port = bind.rpartition(":")
    family, *_, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    try:
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        raise OSError(error.errno, f"{bind}: {error.strerror}") from None


def _make_output_reopenable() -> None:
    """Let /dev/fd/1 be opened, as supervisord does for each part: where it cannot, no part would start, and nobody would be told why.

    A socket cannot be opened, and that is what systemd's journal gives; nor can a terminal or a pipe of another user.
    """
    try:
        os.close(os.open("/dev/fd/1", os.O_WRONLY | os.O_APPEND))
    except OSError:
        # It ends when the last part has: it must still be there for what they say after a signal to the whole group.
        carrier = subprocess.Popen(["sh", "-c", "trap '' HUP INT TERM; exec cat"], stdin=subprocess.PIPE)
        assert carrier.stdin is not None
        for output in (1, 2):
            os.dup2(carrier.stdin.fileno(), output)


if __name__ == "__main__":
    main()
