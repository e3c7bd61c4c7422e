"""What cannot work is refused at once, with one line that says why and an exit code."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process_control import ROOT, free_port

EVERYTHING, RUNNER, DEVELOPMENT = ("-m", "oxillama"), ("-m", "oxillama.runner"), ("app.py",)
WEB = ("-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:application")


def start(command: tuple[str, ...], tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OXILLAMA_DATA_DIR": str(tmp_path / "data"),
        "OXILLAMA_BIND": f"127.0.0.1:{free_port()}",
        "OXILLAMA_ENGINE_URL": "http://127.0.0.1:1/v1",
        **settings,
    }
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("command", [EVERYTHING, WEB, DEVELOPMENT], ids=" ".join)
def test_an_open_address_without_keys(command: tuple[str, ...], tmp_path: Path):
    process = start(command, tmp_path, OXILLAMA_BIND="[::]:8123")
    said = "[::] is reachable from other machines, so OXILLAMA_API_KEYS must be set; or bind to 127.0.0.1"
    assert (process.returncode, process.stderr) == (1, f"oxillama cannot start: {said}\n")


@pytest.mark.parametrize("arguments", [("--bind", "127.0.0.1:0", "--bind", "0.0.0.0:8123"), ()])
def test_an_open_address_that_only_gunicorn_knows_of(arguments: tuple[str, ...], tmp_path: Path):
    """What it is told by hand goes before gunicorn.conf.py."""
    process = start((*WEB, *arguments), tmp_path, **({} if arguments else {"GUNICORN_CMD_ARGS": "--bind=0.0.0.0:8123"}))
    said = "0.0.0.0 is reachable from other machines, so OXILLAMA_API_KEYS must be set; or bind to 127.0.0.1"
    assert (process.returncode, process.stderr) == (1, f"oxillama cannot start: {said}\n")


def test_the_development_server_on_an_open_address_with_keys(tmp_path: Path):
    process = start(DEVELOPMENT, tmp_path, OXILLAMA_BIND="0.0.0.0:8123", OXILLAMA_API_KEYS="sk-secret")
    assert process.returncode == 1
    assert "serves on loopback only; start `python -m oxillama` instead" in process.stderr
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [EVERYTHING, RUNNER, DEVELOPMENT], ids=" ".join)
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"OXILLAMA_BIND": "0.0.0.0:8123"}, "OXILLAMA_API_KEYS must be set"),
        ({"OXILLAMA_CORS_ORIGINS": "http://localhost:3000"}, "OXILLAMA_CORS_ORIGINS needs OXILLAMA_API_KEYS"),
        ({"OXILLAMA_WORKERS": "none"}, "OXILLAMA_WORKERS must be a whole number"),
        ({"OXILLAMA_API_KEYS": "no such project!:sk-secret"}, "OXILLAMA_API_KEYS must be"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be(command: tuple[str, ...], settings: dict[str, str], reason: str, tmp_path: Path):
    process = start(command, tmp_path, **settings)
    assert process.returncode == 1
    assert reason in process.stderr
    assert process.stderr.count("\n") == 1
    assert process.stdout == ""
    assert "sk-secret" not in process.stderr


@pytest.mark.parametrize("command", [EVERYTHING, RUNNER, DEVELOPMENT], ids=" ".join)
def test_a_data_directory_that_is_a_file(command: tuple[str, ...], tmp_path: Path):
    (tmp_path / "data").write_text("something else")
    process = start(command, tmp_path)
    assert process.returncode == 1
    assert f"{tmp_path / 'data'}: not a directory" in process.stderr
    assert process.stderr.count("\n") == 1
    assert (tmp_path / "data").read_text() == "something else"


@pytest.mark.parametrize("command", [EVERYTHING, RUNNER, DEVELOPMENT], ids=" ".join)
def test_a_data_directory_below_a_file(command: tuple[str, ...], tmp_path: Path):
    (tmp_path / "file").write_text("something else")
    process = start(command, tmp_path, OXILLAMA_DATA_DIR=str(tmp_path / "file" / "data"))
    assert process.returncode == 1
    assert str(tmp_path / "file" / "data") in process.stderr
    assert process.stderr.count("\n") == 1


def test_an_address_that_is_taken(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        process = start(EVERYTHING, tmp_path, OXILLAMA_BIND=bind)
    assert process.returncode == 1
    assert f"{bind}: Address already in use" in process.stderr
    assert process.stderr.count("\n") == 1
    assert process.stdout == ""
