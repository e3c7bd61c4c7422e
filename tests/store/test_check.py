"""`oxillama check`: every kind of damage is told with the file that it is in, nothing is changed, and whole data is not complained of."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from oxillama import ids
from oxillama.lifecycle import runs, threads
from oxillama.store import Store
from oxillama.store.check import Check, Problem, check
from tests.builders import (
    OUTPUTS,
    PROJECT,
    USAGE,
    a_run,
    a_thread,
    an_assistant,
    answer,
    claimed,
    files_below,
    open_store,
    say,
    waiting_run,
)
from tests.process_control import ROOT

SECRET = "what nobody but the thread may know"


@dataclass
class Data:
    """A directory with one of everything, and where it lies."""

    root: Path
    store: Store
    thread: Path
    message_id: str
    run: Path
    step: Path
    waiting: Path
    entry: Path
    assistant: Path


@pytest.fixture
def data(tmp_path: Path) -> Data:
    store = open_store(tmp_path)
    root = tmp_path / "data"
    at = root / "projects" / PROJECT
    folder = a_thread(store, SECRET)
    for _ in range(2):
        run = a_run(store, folder)
        answer(claimed(store, run), "It is ", "warm.")
    message = say(folder, SECRET)
    threads.delete_message(folder, say(folder)["id"])
    threads.modify_message(folder, message["id"], {"metadata": {"a": "b"}})
    runs.modify_run(folder, run["id"], {"metadata": {"a": "b"}})
    waits_in = a_thread(store, SECRET)
    waiting = waiting_run(store, waits_in)
    failing = a_thread(store, SECRET)
    claim = claimed(store, a_run(store, failing))
    claim.begin_message()
    claim.add_text(SECRET)
    claim.stop("failed", last_error={"code": "server_error", "message": "x"})
    claim.close()
    runs.cancel_run(store, failing, a_run(store, failing, additional_messages=[{"role": "user", "content": SECRET}])["id"])
    a_run(store, failing, additional_messages=[{"role": "user", "content": SECRET}])
    continued = a_thread(store, SECRET)
    called = waiting_run(store, continued)
    runs.submit_tool_outputs(store, continued, called["id"], OUTPUTS)
    store.assistants.insert(PROJECT, assistant := an_assistant())
    run_folder = at / "threads" / folder.thread_id / "runs" / run["id"]
    return Data(
        root,
        store,
        at / "threads" / folder.thread_id,
        message["id"],
        run_folder,
        next((run_folder / "steps").iterdir()),
        at / "threads" / waits_in.thread_id / "runs" / waiting["id"],
        root / "queue" / "active" / waiting["id"],
        at / "assistants" / f"{assistant['id']}.json",
    )


def found(data: Data) -> list[Problem]:
    return list(check(data.root, patience_seconds=0))


def problems(data: Data) -> list[Problem]:
    return [one for one in found(data) if not one.is_note]


def test_whole_data_is_clean_and_counted(data):
    checking = Check(data.root)
    assert [str(one) for one in checking.problems() if not one.is_note] == []
    assert {noun: checking.counts[noun] for noun in ("projects", "threads", "messages", "runs", "problems")} == {
        "projects": 1,
        "threads": 4,
        "messages": 11,
        "runs": 7,
        "problems": 0,
    }


def test_data_of_oxillama_server_0_1_3_is_clean_before_and_after_it_is_continued(data):
    place = data.root / "projects" / PROJECT / "threads"
    for seed in (Path(__file__).with_name("seed")).iterdir():
        shutil.copytree(seed, place / seed.name)
    assert problems(data) == []
    for seed in (Path(__file__).with_name("seed")).iterdir():
        folder = data.store.thread(PROJECT, seed.name)
        say(folder)
        answer(claimed(data.store, a_run(data.store, folder)), "warm")
    assert problems(data) == []


def test_nothing_is_changed(data):
    (data.thread / "messages.jsonl").open("ab").write(b'{"id":"msg_torn')
    before = files_below(data.root), {path: path.stat().st_mtime_ns for path in data.root.rglob("*")}
    assert found(data)
    assert (files_below(data.root), {path: path.stat().st_mtime_ns for path in data.root.rglob("*")}) == before


def changed(path: Path, **values: object) -> None:
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **values}))


def appended(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def swap_last_lines(path: Path) -> None:
    *before, one, two = lines_of(path)
    path.write_bytes(b"".join([*before, two, one]))


def repeat_last_line(path: Path) -> None:
    appended(path, lines_of(path)[-1])


def spoil_a_line(path: Path) -> None:
    first, *others = lines_of(path)
    path.write_bytes(first + b"\0" * 40 + b"\n" + b"".join(others))


def without_last_frame(path: Path) -> None:
    frames = path.read_bytes().split(b"\n\n")[:-1]
    path.write_bytes(b"".join(frame + b"\n\n" for frame in frames[:-1]))


def repeat_last_frame(path: Path) -> None:
    appended(path, path.read_bytes().split(b"\n\n")[-2] + b"\n\n")


def an_entry(data: Data, run_id: str, **changes: object) -> None:
    (data.root / "queue" / "active" / run_id).write_bytes(
        orjson.dumps({**orjson.loads(data.entry.read_bytes()), "run_id": run_id, **changes})
    )
    (data.root / "queue" / "active" / run_id).chmod(0o600)


def second_active_run(data: Data) -> None:
    other = ids.new_id("run", ids.stamp_of(data.waiting.name) - 1)
    shutil.copytree(data.waiting, data.waiting.with_name(other))
    changed(data.waiting.with_name(other) / "status.json", id=other)


#: damage -> how it is done, the file that is named, what is said of it
DAMAGE: dict[str, tuple[Callable[[Data], object], Callable[[Data], Path], str]] = {
    "no format": (lambda d: (d.root / "format.json").unlink(), lambda d: d.root / "format.json", "missing"),
    "later format": (lambda d: changed(d.root / "format.json", format=2), lambda d: d.root / "format.json", "not of format 1"),
    "foreign file": (lambda d: (d.thread / "x.db").touch(), lambda d: d.thread / "x.db", "does not belong here"),
    "foreign folder": (lambda d: (d.run / "more").mkdir(), lambda d: d.run / "more", "does not belong here"),
    "foreign thread": (
        lambda d: (d.thread.parent / "thread_x").mkdir(0o700),
        lambda d: d.thread.parent / "thread_x",
        "not named by the id",
    ),
    "symbolic link": (lambda d: (d.root / "queue" / "x").symlink_to("/"), lambda d: d.root / "queue" / "x", "a symbolic link"),
    "fifo for a file": (
        lambda d: (d.assistant.unlink(), os.mkfifo(d.assistant)),
        lambda d: d.assistant,
        "does not belong here",
    ),
    "file for all": (lambda d: d.assistant.chmod(0o644), lambda d: d.assistant, "mode 0644 is wider than 0600"),
    "folder for all": (lambda d: d.run.chmod(0o750), lambda d: d.run, "mode 0750 is wider than 0700"),
    "empty assistant": (lambda d: d.assistant.write_bytes(b""), lambda d: d.assistant, "empty"),
    "assistant of zeros": (lambda d: d.assistant.write_bytes(b"\0" * 100), lambda d: d.assistant, "not JSON"),
    "assistant that is a list": (lambda d: d.assistant.write_bytes(b"[]"), lambda d: d.assistant, "not a JSON object"),
    "assistant of another name": (lambda d: changed(d.assistant, id="asst_x"), lambda d: d.assistant, "`id` is not"),
    "cut thread": (lambda d: os.truncate(d.thread / "meta.json", 20), lambda d: d.thread / "meta.json", "not JSON"),
    "no thread": (lambda d: (d.thread / "meta.json").unlink(), lambda d: d.thread / "meta.json", "missing"),
    "thread that is none": (
        lambda d: changed(d.thread / "meta.json", object="assistant"),
        lambda d: d.thread / "meta.json",
        "`object` is not thread",
    ),
    "spoilt message": (
        lambda d: spoil_a_line(d.thread / "messages.jsonl"),
        lambda d: d.thread / "messages.jsonl",
        "line at byte",
    ),
    "message that nobody sees": (
        lambda d: appended(d.thread / "messages.jsonl", b'{"object":"thread.message"}\n'),
        lambda d: d.thread / "messages.jsonl",
        "does not begin with the id of a message",
    ),
    "messages out of order": (
        lambda d: swap_last_lines(d.thread / "messages.jsonl"),
        lambda d: d.thread / "messages.jsonl",
        "does not come after the line before it",
    ),
    "message twice": (
        lambda d: repeat_last_line(d.thread / "messages.jsonl"),
        lambda d: d.thread / "messages.jsonl",
        "does not come after the line before it",
    ),
    "message of another thread": (
        lambda d: appended(
            d.thread / "messages.jsonl",
            orjson.dumps({"id": ids.new_id("message"), "object": "thread.message", "thread_id": "thread_x"}) + b"\n",
        ),
        lambda d: d.thread / "messages.jsonl",
        "`thread_id` is not thread_",
    ),
    "overlay over nothing": (
        lambda d: (d.thread / "messages" / f"{d.message_id}.json").rename(d.thread / "messages" / f"{ids.new_id('message')}.json"),
        lambda d: d.thread / "messages",
        "lies over a message that the log does not have",
    ),
    "spoilt overlay": (
        lambda d: (d.thread / "messages" / f"{d.message_id}.json").write_bytes(b"{"),
        lambda d: d.thread / "messages" / f"{d.message_id}.json",
        "not JSON",
    ),
    "run that no list shows": (
        lambda d: (d.thread / "runs.log").write_bytes(lines_of(d.thread / "runs.log")[0]),
        lambda d: d.run,
        "is not in runs.log",
    ),
    "spoilt list of runs": (lambda d: spoil_a_line(d.thread / "runs.log"), lambda d: d.thread / "runs.log", "line at byte"),
    "spoilt run": (lambda d: (d.run / "status.json").write_bytes(b"null"), lambda d: d.run / "status.json", "not a JSON object"),
    "run of another thread": (
        lambda d: changed(d.run / "status.json", thread_id="thread_x"),
        lambda d: d.run / "status.json",
        "`thread_id` is not",
    ),
    "run in no status": (lambda d: changed(d.run / "status.json", status="done"), lambda d: d.run / "status.json", "`status`"),
    "run that nobody looks after": (
        lambda d: d.entry.unlink(),
        lambda d: d.waiting / "status.json",
        "no entry in the queue",
    ),
    "two active runs": (second_active_run, lambda d: d.waiting.parent, "more than one active run"),
    "active run that is not the newest": (
        lambda d: (
            changed(d.run.parent / sorted(os.listdir(d.run.parent))[0] / "status.json", status="queued"),
            an_entry(d, sorted(os.listdir(d.run.parent))[0], thread_id=d.thread.name),
        ),
        lambda d: d.run.parent / sorted(os.listdir(d.run.parent))[0] / "status.json",
        "not the newest",
    ),
    "step of another run": (lambda d: changed(d.step, run_id="run_x"), lambda d: d.step, "`run_id` is not"),
    "spoilt step": (lambda d: d.step.write_bytes(b"{}"), lambda d: d.step, "`step_details`"),
    "step left open": (lambda d: changed(d.step, status="in_progress"), lambda d: d.step, "is in progress, though"),
    "step whose message is gone": (
        lambda d: changed(d.step, step_details={"type": "message_creation", "message_creation": {"message_id": ids.new_id("message", 1)}}),
        lambda d: d.step,
        "which the thread's log does not have",
    ),
    "announced message is gone": (
        lambda d: (d.thread / "messages.jsonl").write_bytes(b"".join(lines_of(d.thread / "messages.jsonl")[:2])),
        lambda d: d.run,
        "which the thread's log does not have",
    ),
    "no events": (lambda d: (d.run / "events.sse").unlink(), lambda d: d.run / "events.sse", "missing"),
    "events without end": (lambda d: without_last_frame(d.run / "events.sse"), lambda d: d.run / "events.sse", "does not tell that"),
    "events with two ends": (lambda d: repeat_last_frame(d.run / "events.sse"), lambda d: d.run / "events.sse", "comes after the event"),
    "spoilt events": (
        lambda d: (d.run / "events.sse").write_bytes(b"\0\n" + (d.run / "events.sse").read_bytes()),
        lambda d: d.run / "events.sse",
        "frame at byte 0: not an event",
    ),
    "events of another end": (
        lambda d: changed(d.run / "status.json", usage=None),
        lambda d: d.run / "events.sse",
        "other values of: usage",
    ),
    "end of another status": (
        lambda d: changed(d.run / "status.json", status="failed"),
        lambda d: d.run / "events.sse",
        "ends with thread.run.completed, but the run is failed",
    ),
    "messages that were never settled": (
        lambda d: (d.run / "additional_messages.jsonl").write_bytes(
            orjson.dumps({"id": ids.new_id("message", 1), "object": "thread.message", "thread_id": d.thread.name})
        ),
        lambda d: d.run / "additional_messages.jsonl",
        "not in the thread's log",
    ),
    "a private body that is damaged": (
        lambda d: (d.run / "private.json").write_bytes(b'{"turns":'),
        lambda d: d.run / "private.json",
        "not JSON",
    ),
    "entry of a run that is over": (
        lambda d: an_entry(d, d.run.name, thread_id=d.thread.name),
        lambda d: d.root / "queue" / "active" / d.run.name,
        "the entry of a run that is completed",
    ),
    "entry of no run": (
        lambda d: an_entry(d, ids.new_id("run", 1)),
        lambda d: d.root / "queue" / "active",
        "the entry of a run that does not exist",
    ),
    "spoilt entry": (lambda d: d.entry.write_bytes(b"{}"), lambda d: d.entry, "not an entry of the queue"),
    "entry of another name": (lambda d: changed(d.entry, run_id="run_x"), lambda d: d.entry, "`run_id` is not the name"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_kind_of_damage_is_told_with_its_file(data, damage):
    do, where, said = DAMAGE[damage]
    do(data)
    told = [one for one in problems(data) if one.path.startswith(str(where(data))) and said in one.what]
    assert told, [str(one) for one in found(data)]
    assert SECRET not in "".join(map(str, found(data)))


#: trace of a crash -> how it is made, the file that is named, what is said of it
TRACES: dict[str, tuple[Callable[[Data], object], Callable[[Data], Path], str]] = {
    "torn message": (
        lambda d: appended(d.thread / "messages.jsonl", b'{"id":"msg_'),
        lambda d: d.thread / "messages.jsonl",
        "a last line of 11 bytes",
    ),
    "torn message put aside": (
        lambda d: (d.thread / "messages.torn").touch(0o600),
        lambda d: d.thread / "messages.torn",
        "put aside by a later writer",
    ),
    "torn event": (lambda d: appended(d.waiting / "events.sse", b"event: thread"), lambda d: d.waiting / "events.sse", "not whole"),
    "run that was never written": (
        lambda d: appended(d.thread / "runs.log", b'{"id":"%b"}\n' % ids.new_id("run").encode()),
        lambda d: d.thread / "runs.log",
        "was never created",
    ),
    "run without status": (
        lambda d: (d.thread / "runs" / ids.new_id("run")).mkdir(0o700),
        lambda d: d.thread / "runs",
        "no status.json",
    ),
    "file that did not come to its place": (lambda d: (d.root / "tmp" / "1-2-3").touch(), lambda d: d.root / "tmp", "left by a crash"),
    "deleted thread": (lambda d: d.thread.rename(d.root / "trash" / "x"), lambda d: d.root / "trash", "were deleted"),
    "entry before its run": (
        lambda d: an_entry(d, ids.new_id("run")),
        lambda d: d.root / "queue" / "active",
        "a run that does not exist",
    ),
    "offer of a run that is over": (
        lambda d: (d.root / "queue" / "waiting" / d.run.name).touch(0o600),
        lambda d: d.root / "queue" / "waiting" / d.run.name,
        "not active",
    ),
}


@pytest.mark.parametrize("trace", TRACES)
def test_what_a_crash_may_leave_is_a_note(data, trace):
    do, where, said = TRACES[trace]
    do(data)
    assert [one for one in found(data) if one.is_note and one.path.startswith(str(where(data))) and said in one.what]
    assert problems(data) == []


def test_a_last_message_that_is_whole_but_for_its_end_counts(data):
    log = data.thread / "messages.jsonl"
    os.truncate(log, log.stat().st_size - 1)
    assert problems(data) == []


def test_a_log_full_of_nonsense_is_not_told_line_by_line(data):
    appended(data.thread / "messages.jsonl", b"nonsense\n" * 1000)
    told = [one for one in problems(data) if one.path.endswith("messages.jsonl")]
    assert len(told) == 11
    assert told[-1].what.startswith("and so on")


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_stops_it(data, seed):
    chance = random.Random(seed)
    for path in (path for path in data.root.rglob("*") if path.is_file() and chance.random() < 0.5):
        content = bytearray(path.read_bytes() or b"?")
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(content) + 1)
            content[at : at + chance.randrange(3)] = chance.choice([b"", b"\0", b"{", b"[1]", b"\n", b"null", b'"', b"7"])
        path.write_bytes(content)
    assert problems(data)


def test_what_is_put_right_meanwhile_is_not_told(data):
    entry = data.entry.read_bytes()
    data.entry.unlink()
    threading.Timer(0.2, data.entry.write_bytes, [entry]).start()
    assert [one for one in check(data.root, patience_seconds=1) if "no entry" in one.what] == []


def test_it_may_look_while_others_write(tmp_path):
    store = open_store(tmp_path)
    folder = a_thread(store, SECRET)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            claim = claimed(store, a_run(store, folder), "writer")
            claim.begin_message()
            claim.add_text("x")
            claim.finish(USAGE, None)
            claim.close()

    store.queue.join("writer")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            assert [str(one) for one in check(tmp_path / "data", patience_seconds=0.05) if not one.is_note] == []
    finally:
        stop.set()
        writer.join()


def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "oxillama", "check", *arguments]
    return subprocess.run(line, cwd=ROOT, env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True, timeout=30)


def test_the_command_says_what_is_wrong_a_line_each_and_how_much_it_read(data):
    clean = command(str(data.root))
    assert clean.returncode == 0
    assert clean.stdout.splitlines()[-1].startswith("projects: 1, threads: 4, messages: 11, runs: 7, notes: ")
    assert clean.stdout.endswith("problems: 0\n")
    data.assistant.write_bytes(b"")
    spoilt = command(OXILLAMA_DATA_DIR=str(data.root))
    assert spoilt.returncode == 1
    assert f"{data.assistant}: empty" in spoilt.stdout.splitlines()
    assert spoilt.stdout.endswith("problems: 1\n")
    assert spoilt.stderr == clean.stderr == ""


def test_the_command_does_not_make_a_directory_that_is_not_there(tmp_path):
    process = command(str(tmp_path / "none"))
    assert process.returncode == 1
    assert f"{tmp_path / 'none'}: not a directory" in process.stdout
    assert not (tmp_path / "none").exists()
