"""Start everything: `python -m oxillama`. Checks the settings, chooses a port for the embedded engine, and becomes the process manager."""

from __future__ import annotations

import os
import socket
import sys
from importlib.resources import files
from pathlib import Path

from oxillama import settings
from oxillama.errors import SettingsInvalid, StoreError
from oxillama.parent_death import SUPERVISOR_VARIABLE
from oxillama.store import Store

_HOME = Path(__file__).resolve().parent.parent


def main() -> None:
    """Never returns: this process becomes supervisord. Exits with 1 and one line on stderr when something cannot be used."""
    try:
        chosen = settings.read(os.environ)
        Store.open(chosen.data_dir)
    except (SettingsInvalid, StoreError, OSError) as error:
        sys.exit(f"oxillama cannot start: {error}")
    os.environ.update(
        OXILLAMA_DATA_DIR=str(chosen.data_dir.resolve()),
        OXILLAMA_EMBEDDED_PORT=str(chosen.embedded_port or _free_port()),
        OXILLAMA_START_ENGINE="true" if chosen.embedded else "false",
        OXILLAMA_PYTHON=sys.executable,
        OXILLAMA_HOME=str(_HOME),
        # For code that is not installed: the parts are started with `-m` from wherever the caller stands.
        PYTHONPATH=os.pathsep.join(filter(None, [str(_HOME), os.environ.get("PYTHONPATH")])),
    )
    os.environ[SUPERVISOR_VARIABLE] = str(os.getpid())
    print(f"oxillama: http://{chosen.bind}/v1, data in {chosen.data_dir.resolve()}", flush=True)
    configuration = str(files("oxillama") / "supervisord.conf")
    os.execv(sys.executable, [sys.executable, "-m", "supervisor.supervisord", "--configuration", configuration])


def _free_port() -> int:
    """A loopback port that nobody listens on. It stays the engine's for as long as this manager lives, restarts included."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
