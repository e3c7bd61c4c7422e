"""The same server, and software that cannot live in the project's own environment. Run by `make test-compat`, which makes theirs.

Each program says by its exit status whether all went well; what it printed comes along when it did not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]


def run(command: Sequence[str | Path], environ: Mapping[str, str], folder: Path = ROOT) -> str:
    """What the program printed. It inherits nothing that could lead it elsewhere than to our server."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**inherited, **environ, "NO_PROXY": "*"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def python_of(name: str) -> Path:
    python = ROOT / f".venv-compat-{name}" / "bin" / "python"
    assert python.exists(), f"{python} is missing: run `make test-compat`, or scripts/setup compat"
    return python


def test_openai_for_python_as_of_2024(compat_environ: Mapping[str, str]):
    programs = HERE / "openai_python"
    # Only the conftest.py beside the programs: those above it need the project's own environment.
    options = ["-q", "-rs", "-p", "no:cacheprovider", f"--confcutdir={programs}"]
    printed = run([python_of("openai-2024"), "-m", "pytest", *options, programs], compat_environ)
    assert "skipped" not in printed


@pytest.mark.parametrize("program", ["openai.test.mjs", "frameworks.test.mjs"])
def test_openai_for_node_and_what_builds_on_it(compat_environ: Mapping[str, str], program: str):
    node = shutil.which("node")
    assert node, "tests/compat needs Node.js 20 or later"
    run([node, "--test", "--test-reporter=spec", program], compat_environ, HERE / "node")


@pytest.mark.parametrize(
    ("environment", "program"),
    [
        ("frameworks-openai-3", "langchain_runnables"),
        ("frameworks-openai-3", "autogen_agent"),
        ("frameworks-openai-3", "pyautogen_agent"),
        ("frameworks-openai-1", "llama_index_agent"),
        ("frameworks-openai-1", "agency_swarm_agency"),
        ("frameworks-openai-1", "semantic_kernel_agent"),
    ],
)
def test_frameworks_answer_call_functions_and_remember(compat_environ: Mapping[str, str], environment: str, program: str, tmp_path: Path):
    # Some of them leave files where they are started.
    run([python_of(environment), "-W", "ignore", HERE / "frameworks" / f"{program}.py"], compat_environ, tmp_path)
