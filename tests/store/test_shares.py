"""What all processes on a directory share in parts: who dies gives them back, and who waits is served in time."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from oxillama.store.shares import Shares
from tests.builders import open_store


@pytest.fixture
def shares(tmp_path: Path) -> Shares:
    return open_store(tmp_path).value_shares(4)


def test_no_more_are_held_than_there_are(shares: Shares):
    with shares.holding(3, 0) as first, shares.holding(1, 0) as second, shares.holding(1, 0) as third:
        assert (first, second, third) == (True, True, False)
    with shares.holding(4, 0) as all_of_them:
        assert all_of_them


def test_what_was_not_held_in_time_takes_nothing(shares: Shares):
    with shares.holding(2, 0), shares.holding(3, 0.02) as too_many, shares.holding(2, 0) as rest:
        assert (too_many, rest) == (False, True)


def test_who_waits_for_many_is_not_overtaken_for_ever_by_those_who_want_few(shares: Shares):
    done = threading.Event()

    def take_one() -> None:
        while not done.is_set():
            with shares.holding(1, 5):
                time.sleep(0.001)

    threads = [threading.Thread(target=take_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            with shares.holding(4, 10) as held:
                assert held
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_killed_process_gives_its_parts_back(shares: Shares):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with shares.holding(4, 5):
            os.write(writing, b"x")
            signal.pause()
    os.read(reading, 1)
    with shares.holding(1, 0) as held:
        assert not held, "another process has them"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with shares.holding(4, 5) as held:
        assert held
    os.close(reading)
    os.close(writing)
