"""Many processes on one data directory: one writer at a time per thread, readers that never wait and never see half of anything."""

from __future__ import annotations

import os
import re

import orjson

from oxillama import ids
from oxillama.errors import ThreadBusy
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.objects.page import PageQuery
from oxillama.store import Store
from tests.builders import (
    EXPIRY_SECONDS,
    PROJECT,
    Child,
    a_run,
    a_thread,
    all_at_once,
    an_assistant,
    answer,
    claimed,
    event_names,
    join,
    listed,
    say,
)

WRITERS, EACH = 8, 200
ROUNDS = 40


def all_messages(folder) -> list[tuple[str, bytes]]:
    items, after, more = [], None, True
    while more:
        page = folder.page_messages(PageQuery(100, "asc", after))
        items += page.items
        after, more = items[-1][0] if items else None, page.has_more
    return items


def test_messages_of_many_processes_are_all_there_once_and_in_one_order_for_every_reader(store, tmp_path):
    folder = a_thread(store)
    orders = tmp_path / "orders"
    orders.mkdir()

    def write(number: int) -> None:
        made = [say(folder, f"{number}/{count} " + "x" * (count * 91 % 3000))["id"] for count in range(EACH)]
        assert made == sorted(made)

    def read(number: int) -> None:
        """Whatever is seen while others write is the beginning of what is seen in the end."""
        seen: list[str] = []
        while len(seen) < WRITERS * EACH:
            for _, item in (items := all_messages(folder)):
                orjson.loads(item)
            now = listed(items)
            assert now[: len(seen)] == seen
            seen = now
        (orders / str(number)).write_text("\n".join(seen))

    all_at_once([*(lambda number=number: write(number) for number in range(WRITERS)), lambda: read(0), lambda: read(1)])
    items = all_messages(folder)
    found = listed(items)
    assert len(found) == len(set(found)) == WRITERS * EACH
    assert found == sorted(found)
    assert {path.read_text() for path in orders.iterdir()} == {"\n".join(found)}
    with open(os.path.join(store._layout.threads(PROJECT), folder.thread_id, "messages.jsonl"), "rb") as log:
        assert [orjson.loads(line)["id"] for line in log] == found
    texts = [orjson.loads(item)["content"][0]["text"]["value"].split()[0] for _, item in items]
    for number in range(WRITERS):
        assert [text for text in texts if text.startswith(f"{number}/")] == [f"{number}/{count}" for count in range(EACH)]


def test_of_two_runs_created_at_once_exactly_one_is_and_nothing_of_the_other(store, tmp_path):
    folders = [a_thread(store, "x") for _ in range(ROUNDS)]

    def create(number: int) -> None:
        with (tmp_path / f"result-{number}").open("w") as result:
            for folder in folders:
                try:
                    additional = [{"role": "user", "content": f"from {number}"}]
                    result.write(
                        runs.create_run(store, folder, an_assistant(), {"additional_messages": additional}, EXPIRY_SECONDS)["id"] + "\n"
                    )
                except ThreadBusy as busy:
                    result.write(f"{busy.message}\n")

    all_at_once([lambda: create(0), lambda: create(1)])
    results = [(tmp_path / f"result-{number}").read_text().splitlines() for number in (0, 1)]
    winners = []
    for folder, *answers in zip(folders, *results, strict=True):
        (winner,) = [answer for answer in answers if answer.startswith("run_")]
        (loser,) = [answer for answer in answers if not answer.startswith("run_")]
        assert loser == f"Thread {folder.thread_id} already has an active run {winner}."
        assert listed(folder.page_runs(PageQuery()).items) == [winner]
        (_, item), _ = folder.page_messages(PageQuery()).items
        assert orjson.loads(item)["content"][0]["text"]["value"] == f"from {answers.index(winner)}"
        assert os.listdir(os.path.join(store._layout.threads(PROJECT), folder.thread_id, "runs")) == [winner]
        winners.append(winner)
    assert store.queue.active() == store.queue.offered() == sorted(winners)


def test_a_message_and_a_run_at_once_leave_the_message_before_the_run_or_refused(store, tmp_path):
    folders = [a_thread(store, "x") for _ in range(ROUNDS)]

    def speak() -> None:
        with (tmp_path / "said").open("w") as said:
            for folder in folders:
                try:
                    said.write(say(folder)["id"] + "\n")
                except ThreadBusy:
                    said.write("refused\n")

    all_at_once([speak, lambda: [a_run(store, folder) for folder in folders]])
    for folder, said in zip(folders, (tmp_path / "said").read_text().splitlines(), strict=True):
        ((run_id, _),) = folder.page_runs(PageQuery()).items
        found = listed(folder.page_messages(PageQuery(order="asc")).items)
        assert found[1:] == ([] if said == "refused" else [said])
        assert all(ids.stamp_of(one) < ids.stamp_of(run_id) for one in found)


def test_readers_see_a_whole_thread_while_it_is_replaced(store, tmp_path):
    folder = a_thread(store)
    done = tmp_path / "done"

    def write() -> None:
        for number in range(400):
            threads.modify_thread(folder, {"metadata": {"n": str(number), "filler": "x" * (number % 7 * 5_000)}})
        done.touch()

    def read() -> None:
        last, reads = -1, 0
        while not done.exists() or reads == 0:
            metadata = orjson.loads(folder.read())["metadata"]
            number = int(metadata.get("n", -1))
            assert number >= last
            assert number < 0 or len(metadata["filler"]) == number % 7 * 5_000
            last, reads = number, reads + 1

    all_at_once([write, read, read])


def test_changes_of_different_fields_at_once_are_both_kept(store):
    assistant = an_assistant()
    store.assistants.insert(PROJECT, assistant)

    def change(field: str) -> None:
        for number in range(100):
            store.assistants.update(PROJECT, assistant["id"], {field: str(number)})
            assert orjson.loads(store.assistants.get(PROJECT, assistant["id"]))[field] == str(number), (
                "the other one wrote an old value back"
            )

    all_at_once([lambda: change("name"), lambda: change("description")])


def test_of_many_claimers_of_one_run_exactly_one_gets_it(store, tmp_path):
    made = [a_run(store, a_thread(store, "x")) for _ in range(ROUNDS)]

    def claim(number: int) -> None:
        runner = join(store, f"runner-{number}")
        won = [run["id"] for run in made if Claim.take(store, run["id"], runner) is not None]
        (tmp_path / f"won-{number}").write_text("\n".join(won))

    all_at_once([lambda number=number: claim(number) for number in range(3)])
    won = [run_id for number in range(3) for run_id in (tmp_path / f"won-{number}").read_text().split()]
    assert sorted(won) == sorted(run["id"] for run in made)
    for run in made:
        folder = store.thread(PROJECT, run["thread_id"])
        assert event_names(folder, run["id"]) == ["run.created", "run.queued", "run.in_progress"]
        assert store.queue.load(run["id"]).attempt == 1
    assert store.queue.offered() == []


def test_whoever_races_a_run_comes_to_exactly_one_end(store, tmp_path):
    made = [claimed(store, a_run(store, a_thread(store, "x"))) for _ in range(ROUNDS)]
    for claim in made:
        claim.begin_message()

    def finish() -> None:
        for claim in made:
            try:
                claim.add_text("text")
                claim.finish({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}, None)
            except Exception:
                claim.settle()

    def cancel() -> None:
        for claim in made:
            try:
                runs.cancel_run(store, claim.thread, claim.run["id"])
            except Exception as error:
                assert re.match("Cannot cancel run with status 'completed'", str(error))

    all_at_once([finish, cancel])
    for claim in made:
        run = claim.thread.load_run(claim.run["id"])
        names = event_names(claim.thread, run["id"])
        assert run["status"] in ("completed", "cancelled")
        assert names[-1] == f"run.{run['status']}"
        assert sum(name in ("run.completed", "run.cancelled", "run.failed") for name in names) == 1
        ((_, message), _) = claim.thread.page_messages(PageQuery()).items
        assert orjson.loads(message)["status"] == {"completed": "completed", "cancelled": "incomplete"}[run["status"]]
    assert store.queue.active() == []


def test_a_store_that_is_open_in_many_processes_is_one_store(tmp_path):
    def open_and_write(number: int) -> None:
        store = Store.open(tmp_path / "data", durable=False)
        store.create_project("team")
        folder = a_thread(store, f"from {number}")
        answer(claimed(store, a_run(store, folder), join(store, f"runner-{number}")), "done")

    all_at_once([lambda number=number: open_and_write(number) for number in range(4)])
    store = Store.open(tmp_path / "data", durable=False)
    assert len(os.listdir(store._layout.threads(PROJECT))) == 4
    assert store.queue.active() == store.queue.offered() == os.listdir(store._layout.temporary) == []


def test_a_writer_that_is_killed_between_two_messages_leaves_the_others_untouched(store):
    folder = a_thread(store)

    def write_for_ever() -> None:
        for number in range(30):
            say(folder, str(number))

    for _ in range(3):
        Child(write_for_ever).finish()
    assert len(all_messages(folder)) == 90
