"""The audit must be able to fail: a small data directory as the product leaves it, then one thing wrong at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from oxillama.lifecycle.runs import submit_tool_outputs
from oxillama.lifecycle.threads import create_message, create_thread, delete_message, modify_message
from tests.builders import FUNCTION, OUTPUTS, a_run, an_assistant, answer, ask_for_tools, claimed, open_store
from tests.stress.audit import audit, check_violations, size_violations, traceback_violations
from tests.stress.fleet import Size
from tests.stress.ledger import KnownMessage, KnownRun, KnownThread, Ledger, SeenStream
from tests.stress.views import FileView


class Conversation:
    """Three messages, one modified and one deleted, and a run that called functions and answered; and what the ledger knows of it."""

    def __init__(self, root: Path) -> None:
        store = open_store(root)
        thread_id = json.loads(create_thread(store, "default", {"metadata": {"token": "t"}}))["id"]
        folder = store.thread("default", thread_id)
        self.known = KnownThread(thread_id, [{"token": "t"}])
        for token in ("a", "b", "c"):
            request = {"role": "user", "content": f"{token} text", "metadata": {"token": token}}
            message_id = json.loads(create_message(folder, request))["id"]
            self.known.messages.append(KnownMessage(message_id, f"{token} text", [{"token": token}]))
        first, second, _ = self.known.messages
        modify_message(folder, first.message_id, {"metadata": {"token": "later"}})
        first.metadata = [{"token": "later"}]
        delete_message(folder, second.message_id)
        second.deleted = True
        run = a_run(store, folder, an_assistant(tools=[FUNCTION]), metadata={"token": "r"})
        ask_for_tools(claimed(store, run))
        submit_tool_outputs(store, folder, run["id"], OUTPUTS)
        answer(claimed(store, run), "It is ", "warm.")
        outputs = {output["tool_call_id"]: output["output"] for output in OUTPUTS}
        self.run = KnownRun(thread_id, run["id"], "r", "completed", outputs=outputs)
        self.known.runs.append(self.run)
        self.files = FileView(root / "data")
        self.seen = SeenStream(thread_id, run["id"], [self.files.events(thread_id, run["id"])], whole=True)
        self.ledger = Ledger()
        self.ledger.add_thread(self.known)
        self.ledger.add_stream(self.seen)
        self.folder = self.files.data_dir / "projects" / "default" / "threads" / thread_id
        self.run_folder = self.folder / "runs" / run["id"]

    def kinds(self) -> set[str]:
        return {violation.kind for violation in (*audit(self.ledger, self.files), *self.files.violations())}


@pytest.fixture
def talk(tmp_path: Path) -> Conversation:
    return Conversation(tmp_path)


def lines_of(talk: Conversation, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = talk.folder / "messages.jsonl"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def remove_a_message(talk: Conversation) -> None:
    lines_of(talk, lambda lines: [lines[0], *lines[2:-2], lines[-1]])


def remove_the_answer(talk: Conversation) -> None:
    lines_of(talk, lambda lines: lines[:-1])


def double_a_line(talk: Conversation) -> None:
    lines_of(talk, lambda lines: [*lines, lines[0]])


def store_a_retry_too(talk: Conversation) -> None:
    later = json.dumps({**talk.files.messages(talk.known.thread_id)[1], "id": "msg_zzzzzzzzzzzzzzzzzzzzzzzz"}).encode()
    lines_of(talk, lambda lines: [*lines, later + b"\n"])


def answer_twice(talk: Conversation) -> None:
    later = json.dumps({**talk.files.messages(talk.known.thread_id)[-1], "id": "msg_zzzzzzzzzzzzzzzzzzzzzzzz"}).encode()
    lines_of(talk, lambda lines: [*lines, later + b"\n"])


def swap_two_messages(talk: Conversation) -> None:
    lines_of(talk, lambda lines: [lines[2], lines[1], lines[0], *lines[3:]])


def change_a_text(talk: Conversation) -> None:
    lines_of(talk, lambda lines: [line.replace(b"c text", b"c tixt") for line in lines])


def forget_what_was_modified(talk: Conversation) -> None:
    (talk.folder / "messages" / f"{talk.known.messages[0].message_id}.json").unlink()


def forget_what_was_deleted(talk: Conversation) -> None:
    (talk.folder / "messages" / f"{talk.known.messages[1].message_id}.json").unlink()


def lose_the_thread(talk: Conversation) -> None:
    shutil.rmtree(talk.folder)


def keep_a_deleted_thread(talk: Conversation) -> None:
    talk.known.deleted = True


def lose_the_run(talk: Conversation) -> None:
    shutil.rmtree(talk.run_folder)


def lose_the_run_from_the_list(talk: Conversation) -> None:
    (talk.folder / "runs.log").write_bytes(b"")


def change_status(talk: Conversation, status: str) -> None:
    path = talk.run_folder / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "status": status}))


def leave_the_run_active(talk: Conversation) -> None:
    change_status(talk, "in_progress")


def end_the_run_otherwise(talk: Conversation) -> None:
    change_status(talk, "failed")


def leave_an_entry_in_the_queue(talk: Conversation) -> None:
    (talk.files.data_dir / "queue" / "active" / talk.run.run_id).write_bytes(b"{}")


def lose_a_cancel(talk: Conversation) -> None:
    talk.run.cancelled = True


def lose_an_output(talk: Conversation) -> None:
    talk.run.outputs["call_a"] = "snow"


def events_of(talk: Conversation, change: Callable[[bytes], bytes]) -> None:
    path = talk.run_folder / "events.sse"
    path.write_bytes(change(path.read_bytes()))


def tell_the_end_twice(talk: Conversation) -> None:
    events_of(talk, lambda log: log + b"event: thread.run." + log.rpartition(b"event: thread.run.")[2])
    talk.ledger.streams.clear()


def never_tell_the_end(talk: Conversation) -> None:
    events_of(talk, lambda log: log.rpartition(b"event: thread.run.")[0])
    talk.ledger.streams.clear()


def tell_other_than_was_read(talk: Conversation) -> None:
    events_of(talk, lambda log: log.replace(b"warm", b"cold"))


def tear_an_event(talk: Conversation) -> None:
    events_of(talk, lambda log: log + b"event: thread.ru")
    talk.ledger.streams.clear()


BREAKS = {
    remove_a_message: "lost",
    remove_the_answer: "lost",
    double_a_line: "doubled",
    store_a_retry_too: "doubled",
    answer_twice: "doubled",
    swap_two_messages: "wrong",
    change_a_text: "wrong",
    forget_what_was_modified: "lost",
    forget_what_was_deleted: "wrong",
    lose_the_thread: "lost",
    keep_a_deleted_thread: "wrong",
    lose_the_run: "lost",
    lose_the_run_from_the_list: "lost",
    leave_the_run_active: "stuck",
    end_the_run_otherwise: "wrong",
    leave_an_entry_in_the_queue: "stuck",
    lose_a_cancel: "lost",
    lose_an_output: "lost",
    tell_the_end_twice: "wrong",
    never_tell_the_end: "wrong",
    tell_other_than_was_read: "wrong",
    tear_an_event: "wrong",
}


def test_what_is_as_it_was_acknowledged_passes(talk: Conversation):
    assert talk.kinds() == set()


@pytest.mark.parametrize("harm", BREAKS, ids=lambda harm: harm.__name__)
def test_what_is_not_is_found(talk: Conversation, harm: Callable[[Conversation], None]):
    harm(talk)
    assert BREAKS[harm] in talk.kinds()


def test_what_nobody_knows_may_be_there_or_not_but_once(talk: Conversation):
    talk.known.unknown.add("d")
    assert talk.kinds() == set()
    _, message, *_ = talk.files.messages(talk.known.thread_id)
    content = [{**message["content"][0], "text": {**message["content"][0]["text"], "value": "d text"}}]
    retries = [json.dumps({**message, "content": content, "id": f"msg_zzzzzzzzzzzzzzzzzzzzzzz{end}"}).encode() + b"\n" for end in "12"]
    lines_of(talk, lambda lines: [*lines, retries[0]])
    assert talk.kinds() == set()
    lines_of(talk, lambda lines: [*lines, retries[1]])
    assert talk.kinds() == {"doubled"}


def test_what_the_product_finds_counts_too(talk: Conversation):
    assert not list(check_violations(talk.files.data_dir))
    leave_the_run_active(talk)
    assert {violation.kind for violation in check_violations(talk.files.data_dir)} == {"wrong"}


def test_a_reader_that_missed_an_event_is_found(talk: Conversation):
    talk.seen.whole = False
    log = talk.seen.frames[0]
    talk.seen.frames = [log[: len(log) // 2]]
    assert talk.kinds() == set()
    talk.seen.frames = [log[: len(log) // 2], log[len(log) // 2 + 1 :]]
    assert talk.kinds() == {"wrong"}


def test_a_run_that_ends_twice_is_a_surprise(talk: Conversation):
    assert talk.ledger.see_run(talk.run, {"status": "completed"})
    assert not talk.ledger.surprises
    talk.ledger.see_run(talk.run, {"status": "failed"})
    assert len(talk.ledger.surprises) == 1


def test_a_traceback_in_the_log_is_found_by_its_last_line():
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f()\n    ^^^\nValueError: no\n'
    assert [one.text for one in traceback_violations(f"fine\n{trace}fine\n{trace}")] == ["2 times in the log: ValueError: no"]


def test_what_lives_long_must_not_grow():
    lasting = Size("web worker", 0, 50 << 20, 20, 600, 60 << 20, 25)
    assert not list(size_violations([lasting]))
    assert list(size_violations([replace(lasting, last_rss=100 << 20)]))
    assert list(size_violations([replace(lasting, last_files=90)]))
