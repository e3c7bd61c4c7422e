"""Projects take turns, however many runs one of them has in the queue."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oxillama import clock, ids
from oxillama.runner.offers import Offers
from oxillama.store import Store
from oxillama.store.active_entries import ActiveEntries
from oxillama.store.run_queue import ActiveRun
from tests.builders import open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def offered(store: Store, project: str, count: int = 1) -> list[str]:
    run_ids = sorted(ids.new_id("run", clock.microseconds()) for _ in range(count))
    for run_id in run_ids:
        store.queue.save(ActiveRun(run_id, project, "thread_x", clock.now() + 600))
        store.queue.offer(run_id)
    return run_ids


def look(offers: Offers) -> None:
    """Look at all markers, also if they were listed just before."""
    offers._look_at = 0.0
    offers.look()


def served(store: Store, offers: Offers, count: int) -> list[str | None]:
    """The runs that are worked on one after the other."""
    found = []
    for _ in range(count):
        look(offers)
        run_id = offers.take()
        found.append(run_id)
        if run_id is not None:
            store.queue.take(run_id)
            offers.done(run_id)
    return found


def test_projects_take_turns_and_the_oldest_of_each_comes_first(store: Store):
    busy, other, third = offered(store, "busy", 100), offered(store, "other", 2), offered(store, "third", 1)
    found = served(store, Offers(store.queue), 103)
    assert sorted(found[:3]) == sorted([busy[0], other[0], third[0]])
    assert set(found[3:5]) == {busy[1], other[1]} and found[5:] == busy[2:]


def test_who_comes_last_is_next_when_a_place_becomes_free(store: Store):
    offers = Offers(store.queue)
    busy = offered(store, "busy", 100)
    look(offers)
    working = [offers.take() for _ in range(4)]
    assert working == busy[:4]
    (late,) = offered(store, "late")
    offers.done(working[0])
    look(offers)
    assert offers.take() == late


def test_the_project_with_fewer_runs_at_work_is_next(store: Store):
    offers = Offers(store.queue)
    busy, small = offered(store, "busy", 10), offered(store, "small", 4)
    look(offers)
    assert sorted(offers.take() for _ in range(6)) == sorted(busy[:3] + small[:3])


def test_markers_that_appear_are_known_at_once_and_others_take_some_away(store: Store):
    offers = Offers(store.queue)
    one, two = offered(store, "a", 2)
    look(offers)
    store.queue.take(one)
    (three,) = offered(store, "b")
    offers.found([three, three, "README", ""])
    assert served(store, offers, 3) in ([two, three, None], [three, two, None])
    store.queue.offer(two)
    assert served(store, offers, 2) == [two, None], "it may be offered again"
    assert not (offers._known or offers._waiting or offers._at_work or offers._counts or offers._turns), "nothing is left"


def test_a_run_that_is_offered_again_while_it_is_worked_on_is_known_when_that_is_done(store: Store):
    (run_id,) = offered(store, "a")
    offers = Offers(store.queue)
    look(offers)
    assert offers.take() == run_id and store.queue.take(run_id)
    store.queue.offer(run_id)
    offers.found([run_id])
    assert offers.take() is None
    offers.done(run_id)
    assert offers.take() == run_id


def test_a_marker_without_an_entry_is_offered_for_somebody_has_to_take_it_away(store: Store):
    run_id = ids.new_id("run", clock.microseconds())
    store.queue.offer(run_id)
    assert served(store, Offers(store.queue), 1) == [run_id]


def test_an_entry_is_read_once_until_it_changes(store: Store, monkeypatch: pytest.MonkeyPatch):
    run_ids, read, failed = offered(store, "a", 3), [], []
    load = store.queue.load
    monkeypatch.setattr(store.queue, "load", lambda run_id: read.append(run_id) or load(run_id))
    entries = ActiveEntries(store.queue, lambda run_id, error: failed.append(run_id))
    for _ in range(3):
        assert [entry.run_id for entry in entries.all()] == run_ids
    assert read == run_ids
    store.queue.save(ActiveRun(run_ids[1], "a", "thread_x", 1, attempt=1))
    assert [entry.attempt for entry in entries.all()] == [0, 1, 0]
    assert read == [*run_ids, run_ids[1]]
    store.queue.remove(run_ids[0])
    Path(store._layout.active_entry(run_ids[2])).write_bytes(b"{")
    assert [entry.run_id for entry in entries.all()] == [run_ids[1]]
    assert failed == [run_ids[2]] and len(entries._read) <= 2 and os.path.exists(store._layout.active_entry(run_ids[2]))
