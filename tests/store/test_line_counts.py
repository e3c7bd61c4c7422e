"""Counting the lines of a log that only grows: each byte is read once, and only when the log is large enough to matter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oxillama.store import line_counts
from oxillama.store.disk import Disk
from oxillama.store.line_counts import SHORTEST_LINE, has_at_least
from oxillama.store.lines import Lines
from tests.builders import a_thread, die_after, open_store, say

LINE = b'{"id":"' + b"x" * SHORTEST_LINE + b'"}'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "messages.jsonl"


def lines_of(log: Path) -> Lines:
    return Lines(Disk(str(log.parent), durable=False), str(log), str(log) + ".torn")


def exactly(log: Path, count: int) -> bool:
    return has_at_least(str(log), count) and not has_at_least(str(log), count + 1)


def test_a_log_that_does_not_exist_has_none(log: Path):
    assert not has_at_least(str(log), 1)


def test_it_follows_a_log_that_grows(log: Path):
    for number in range(1, 50):
        lines_of(log).append([LINE])
        assert exactly(log, number)
    lines_of(log).append([LINE] * 5000)
    assert exactly(log, 5049)


def test_what_others_append_counts(log: Path):
    lines_of(log).append([LINE] * 3)
    assert exactly(log, 3)
    die_after(lambda: lines_of(log).append([LINE] * 4))
    assert exactly(log, 7)


def test_a_line_that_a_crash_cut_short_does_not_count_and_neither_does_its_removal(log: Path):
    lines_of(log).append([LINE] * 3)
    with log.open("ab") as end:
        end.write(LINE[:-2] * 4)
    assert exactly(log, 3)
    # The next writer moves it away, and its own lines end before it did.
    lines_of(log).append([LINE] * 2)
    assert exactly(log, 5)


def test_another_log_in_the_same_place_is_counted_afresh(log: Path):
    lines_of(log).append([LINE] * 9)
    assert exactly(log, 9)
    log.rename(log.with_suffix(".old"))
    lines_of(log).append([LINE] * 2)
    assert exactly(log, 2)


def test_every_byte_is_read_once_and_a_small_log_not_at_all(log: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []
    pread = os.pread

    def counting(fd: int, length: int, offset: int) -> bytes:
        block = pread(fd, length, offset)
        read.append(len(block))
        return block

    lines_of(log).append([LINE] * 1000)
    monkeypatch.setattr(line_counts.os, "pread", counting)
    assert not has_at_least(str(log), 100_000)
    assert read == []
    assert exactly(log, 1000)
    assert sum(read) == 1000 * (len(LINE) + 1)


def test_no_message_is_shorter_than_it_is_taken_to_be(tmp_path: Path):
    folder = a_thread(open_store(tmp_path))
    say(folder, "")
    (path,) = (tmp_path / "data").rglob("messages.jsonl")
    assert path.stat().st_size > SHORTEST_LINE
