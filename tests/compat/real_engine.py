"""Real engines behind the whole program: the embedded llama.cpp, and LiteLLM's proxy in front of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.process_control import ROOT, Server, free_port, wait_until

ENGINE_KEY = "a-key-of-the-engine"
#: The proxy refuses to start with a short one.
PROXY_KEY = "sk-a-key-of-the-proxy-0123456789"
PROXIED = "proxied-model"
_SMALL = {"OXILLAMA_CONTEXT_TOKENS": "1024", "OXILLAMA_RUN_CONCURRENCY": "2", "OXILLAMA_DURABILITY": "relaxed"}
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextlib.contextmanager
def llama_cpp(tools: str) -> Iterator[Server]:
    """The program with its embedded engine.

    Args:
        tools: the setting OXILLAMA_ENGINE_TOOLS.
    """
    environ = {**_SMALL, "OXILLAMA_ENGINE_TOOLS": tools, "OXILLAMA_ENGINE_API_KEY": ENGINE_KEY, "OXILLAMA_EMBEDDED_PORT": str(free_port())}
    with Server(workers=1, environ=environ) as server:
        yield server.wait_ready(90)


@contextlib.contextmanager
def litellm(scratch: Path, tools: str) -> Iterator[Server]:
    """The program with LiteLLM's proxy as its engine, which passes on to the embedded engine of another.

    Args:
        scratch: a folder for the proxy's configuration and its log.
        tools: the setting OXILLAMA_ENGINE_TOOLS.
    """
    with llama_cpp("prompted") as behind, _proxy(scratch, behind.environ["OXILLAMA_EMBEDDED_PORT"]) as url:
        environ = {**_SMALL, "OXILLAMA_ENGINE_TOOLS": tools, "OXILLAMA_ENGINE_API_KEY": PROXY_KEY}
        with Server(workers=1, engine_url=url, environ=environ) as server:
            yield server.wait_ready()


@contextlib.contextmanager
def _proxy(scratch: Path, engine_port: str) -> Iterator[str]:
    program, port = ROOT / ".venv-compat-litellm" / "bin" / "litellm", free_port()
    assert program.exists(), f"{program} is missing: run `make test-compat`, or scripts/setup compat"
    engine = {"model": "openai/any", "api_base": f"http://127.0.0.1:{engine_port}/v1", "api_key": ENGINE_KEY}
    config = {"model_list": [{"model_name": PROXIED, "litellm_params": engine}], "general_settings": {"master_key": PROXY_KEY}}
    (scratch / "litellm.yaml").write_text(json.dumps(config))
    # Its list of prices comes along; it need not ask for a newer one.
    environ = {"PATH": os.environ["PATH"], "HOME": str(scratch), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    command = [program, "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with (scratch / "litellm.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=scratch, env=environ, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/health/liveliness"), 90, "LiteLLM answers", pause=0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with _direct.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
