"""Whatever is logged, a record is one line of bounded length."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from oxillama.log_config import FORMAT, MAX_MESSAGE, OneLine, one_line
from tests.process_control import ROOT


def logged(message: str, *args: object, exc_info: object = None) -> list[str]:
    record = logging.LogRecord("oxillama.x", logging.WARNING, __file__, 1, message, args, exc_info)  # type: ignore[arg-type]
    return OneLine(FORMAT).format(record).splitlines()


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x1b[2J"])
def test_no_text_makes_a_second_line(end: str) -> None:
    (line,) = logged("model %s", f"m{end}2026-01-01 00:00:00,000 1 ERROR oxillama: forged")
    assert "\x1b" not in line
    assert line.isprintable()


def test_a_long_text_is_cut() -> None:
    (line,) = logged("model %s", "m" * 8_000_000)
    assert len(line) < MAX_MESSAGE + 200
    assert line.endswith("(8,000,006 characters)")


def test_a_trace_is_told_from_other_records_and_bounded() -> None:
    try:
        raise ValueError("x\n2026-01-01 00:00:00,000 1 ERROR oxillama: forged\n" * 100_000)
    except ValueError:
        first, *trace = logged("failed", exc_info=sys.exc_info())
    assert first.endswith("failed")
    assert trace and all(line.startswith("| ") for line in trace)
    assert sum(map(len, trace)) < 40_000


def test_escapes_are_those_of_python() -> None:
    assert one_line("a\tb\nc\u2028d…") == "a\\tb\\nc\\u2028d…"


def test_processes_log_in_that_form() -> None:
    code = "import logging; from oxillama import log_config; log_config.configure(); logging.getLogger('oxillama').warning('a\\nb')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.endswith("oxillama: a\\nb\n")


def test_gunicorns_log_has_that_form_too() -> None:
    code = """
from gunicorn.config import Config
from oxillama.web.gunicorn_log import GunicornLog
GunicornLog(Config()).warning("Invalid request: %s", "a\\nb" * 10_000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.count("\n") == 1
    assert "a\\nb" in done.stderr and len(done.stderr) < 3_000


def test_workers_use_it() -> None:
    assert 'logger_class = "oxillama.web.gunicorn_log.GunicornLog"' in (ROOT / "gunicorn.conf.py").read_text()
