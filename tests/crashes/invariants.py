"""What must hold of a data directory that somebody died in, and of every run in it once it was recovered."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from oxillama.lifecycle import runs
from oxillama.lifecycle.claim import private_turns
from oxillama.lifecycle.recovery import recover
from oxillama.objects import run as run_object
from oxillama.objects.stream_event import ENDS
from oxillama.store import Store
from oxillama.store.threads import ThreadFolder
from tests.builders import PRIVATE, PROJECT, Value, a_run, answer, claimed, event_names, events, listed, open_store, say
from tests.contract.validation import check, check_event
from tests.crashes.site import ALL, STREAMED, Facts

TERMINAL_NAMES = {name.removeprefix("thread.") for name in ENDS}
_CLOSING = ("completed", "incomplete", "failed", "cancelled", "expired")


def assert_nothing_is_lost(root: Path, before: Facts, after: Facts, *, power_cut: bool = False) -> None:
    """Look at a data directory as those who come next find it: readers at once, then recovery, then writers.

    Args:
        root: what is below it.
        before: all that had been acknowledged.
        after: the same, and what the operation that was under way would have acknowledged next.
        power_cut: tokens that were streamed may be missing, because nobody waits for a device before a token is sent.
    """
    assert_files_are_whole(root, torn_ends=True)
    store = open_store(root)
    seen = what_is_there(store)
    for key in before.keys() & after.keys():
        if before[key] == after[key] and key[0] in ("thread", "message", "assistant"):
            assert seen.get(key) == before[key], f"{key} is not there as it was acknowledged, before recovery"
    orders = orders_of(store)
    recover_all(store)
    sweep(store)
    assert_soundness(store, power_cut)
    found = what_is_there(store)
    misfits = [unlike(expected, found, power_cut) for expected in (before, after)]
    assert [] in misfits, f"neither as before: {misfits[0]}\n  nor as after: {misfits[1]}"
    for thread_id, order in orders_of(store).items():
        kept = [one for one in orders.get(thread_id, []) if one in order]
        assert order[: len(kept)] == kept and len(set(order)) == len(order), "the order of a list changed"
    for project, thread_id in threads_in(store):
        carry_on(store, store.thread(project, thread_id))
    for run_id in store.queue.offered():
        store.queue.take(run_id)
    assert_soundness(store, power_cut)
    assert_files_are_whole(root, torn_ends=False)
    assert store.queue.active() == []
    for folder in ("tmp", "trash"):
        assert os.listdir(root / "data" / folder) == [], f"something is left in {folder}"


def threads_in(store: Store) -> list[tuple[str, str]]:
    projects = sorted(os.listdir(store._layout.projects))
    return [(project, name) for project in projects for name in sorted(store._disk.names(store._layout.threads(project)))]


def orders_of(store: Store) -> dict[str, list[str]]:
    """Ids of messages as they are listed, by thread."""
    return {name: listed(store.thread(project, name).page_messages(ALL).items) for project, name in threads_in(store)}


def what_is_there(store: Store) -> Facts:
    """Everything that a caller can see."""
    found: Facts = {}
    for project in os.listdir(store._layout.projects):
        found["project", project] = os.path.isdir(store._layout.threads(project)) and os.path.isdir(store._layout.assistants(project))
        for assistant_id, assistant in store.assistants.page(project, ALL).items:
            found["assistant", assistant_id] = orjson.loads(assistant)
    for project, thread_id in threads_in(store):
        folder = store.thread(project, thread_id)
        found["thread", thread_id] = orjson.loads(folder.read())
        for message_id, message in folder.page_messages(ALL).items:
            found["message", f"{thread_id}/{message_id}"] = orjson.loads(message)
            assert folder.read_message(message_id) == message
        for run_id, run in folder.page_runs(ALL).items:
            found["run", f"{thread_id}/{run_id}"] = orjson.loads(run)["status"]
            assert folder.read_run(run_id) == run
            for step_id, step in folder.page_steps(run_id, ALL).items:
                found["step", f"{thread_id}/{run_id}/{step_id}"] = orjson.loads(step)
    return found


def unlike(expected: Facts, found: Facts, power_cut: bool) -> list[str]:
    """In what the store is not as it should be. What a run wrote, and the steps it took, may be more than was acknowledged."""
    problems = []
    for (noun, where), value in expected.items():
        if noun == "run":
            lost = ("queued",) if power_cut and STREAMED in value else ()
            if found.get((noun, where)) not in (*value, *lost):
                problems.append(f"run {where} is {found.get((noun, where))} and not {value}")
        elif noun == "said":
            text = text_of(found.get(("message", where), {"content": []}))
            if not power_cut and not text.startswith(value):
                problems.append(f"message {where} is {text!r} and not {value!r}")
        elif found.get((noun, where)) != value:
            problems.append(f"{noun} {where} is {found.get((noun, where))} and not {value}")
    for (noun, where), value in found.items():
        if (noun, where) not in expected and (noun in ("assistant", "thread", "run") or (noun == "message" and not value["run_id"])):
            problems.append(f"{noun} {where} should not be there")
    return problems


def recover_all(store: Store) -> None:
    """What a runner does when it starts: once for each active run, and once more, as another runner may do it too."""
    for run_id in store.queue.active():
        entry = store.queue.load(run_id)
        assert entry is not None
        recover(store, entry)
        recover(store, entry)


def sweep(store: Store) -> None:
    """What a runner does now and then, when all that lies about has become old."""
    for name in os.listdir(store._layout.temporary):
        os.utime(os.path.join(store._layout.temporary, name), (0, 0))
    store.sweep()


def assert_files_are_whole(root: Path, *, torn_ends: bool) -> None:
    """Every file is what its name says. `torn_ends`: an append may be half done, because nobody has written there since."""
    for path in (root / "data").rglob("*"):
        if not path.is_file() or path.parent.name in ("tmp", "trash", "waiting", "runners") or path.suffix == ".torn":
            continue
        if "tmp" in path.parts or "trash" in path.parts:
            continue
        if path.suffix == ".sse" and not path.with_name("status.json").exists():
            # Of a run that never came to be.
            continue
        content = path.read_bytes()
        if path.suffix == ".sse":
            whole = content[: content.rfind(b"\n\n") + 2] if b"\n\n" in content else b""
            assert whole.count(b"\n\n") == whole.count(b"event: ") and (torn_ends or whole == content), f"{path.name} is torn"
        elif path.name in ("messages.jsonl", "runs.log"):
            lines = content.split(b"\n")
            assert torn_ends or lines[-1] == b"", f"{path.name} is torn"
            for line in lines[:-1]:
                assert (line.startswith(b'{"id":"') and line.endswith(b"}")) or "thread_3f2b8c1d" in str(path), (
                    f"{path.name} has a torn line"
                )
        elif path.suffix == ".jsonl":
            assert all(map(orjson.loads, content.split(b"\n")))
        else:
            orjson.loads(content)


def assert_soundness(store: Store, power_cut: bool = False) -> None:
    """Of all runs, and of the queue."""
    active = []
    for project, thread_id in threads_in(store):
        folder = store.thread(project, thread_id)
        for run_id in listed(folder.page_runs(ALL).items):
            if run_id.startswith("run_") and len(run_id) == len("run_") + 24:
                run = assert_sound(store, folder, run_id, power_cut=power_cut)
                active += [run_id] if run["status"] in run_object.ACTIVE else []
    young = [run_id for run_id in store.queue.active() if run_id not in active]
    for run_id in young:
        entry = store.queue.load(run_id)
        assert entry is not None and (entry.project, entry.thread_id) not in threads_in(store), "an entry of a run that is not active"
        store.queue.remove(run_id)


def messages(folder: ThreadFolder) -> list[Value]:
    return [orjson.loads(item) for _, item in folder.page_messages(ALL).items]


def text_of(message: Value) -> str:
    return "".join(part["text"]["value"] for part in message["content"])


def assert_sound(store: Store, folder: ThreadFolder, run_id: str, *, power_cut: bool = False) -> Value:
    """What must hold of any run after recovery, whatever happened to it. The run."""
    run = folder.load_run(run_id)
    check("RunObject", run)
    log, told, names = folder.events(run_id).read_all(), events(folder, run_id), event_names(folder, run_id)
    assert len(told) == log.count(b"\n\n"), "every frame parses"
    for name, value in told:
        check_event(name, value)
    steps = folder.load_steps(run_id)
    for step in steps:
        check("RunStepObject", step)
    for message in messages(folder):
        check("MessageObject", message)
    _assert_told_in_order(told, power_cut)
    ends = [name for name in names if name in TERMINAL_NAMES]
    if run["status"] in run_object.TERMINAL:
        assert ends == [f"run.{run['status']}"] == names[-1:], "exactly one end, and it is the last"
        assert dict(told)[f"thread.run.{run['status']}"] == {**run, "metadata": dict(told)[f"thread.run.{run['status']}"]["metadata"]}
        assert all(step["status"] != "in_progress" for step in steps), "a step is still open"
        assert all(message["status"] != "in_progress" for message in messages(folder)), "a message is still open"
        assert store.queue.load(run_id) is None, "a run that is over is still in the queue"
        assert run["usage"] is not None and run["expires_at"] is None
        kinds = [step["type"] for step in steps]
        assert kinds.count("message_creation") <= kinds.count("tool_calls") + 1, "a turn was answered twice"
        spent = run_object.total_usage([step["usage"] for step in steps])
        assert run["usage"]["total_tokens"] >= spent["total_tokens"]
    else:
        assert ends == []
        assert run["status"] in ("queued", "requires_action"), f"the run is {run['status']} and nobody works on it"
        assert store.queue.load(run_id) is not None, "an active run is not in the queue"
        assert (run_id in store.queue.offered()) == (run["status"] == "queued")
        if run["status"] == "requires_action":
            assert names[-1] == "run.requires_action", "or who follows the run waits for ever"
        called = [step["id"] for step in steps if step["type"] == "tool_calls"]
        assert all(private_turns(folder, run_id).get(step_id) == PRIVATE for step_id in called), "the engine does not get its own back"
    for step in steps:
        # A run that goes on is told of what it missed when it is claimed, or when its outputs come again.
        if run["status"] in run_object.TERMINAL:
            assert (f"thread.run.step.{step['status']}", step["id"]) in {(name, value["id"]) for name, value in told}, "an end was not told"
        assert run["status"] != "queued" or step["status"] != "in_progress", "a run that is queued again has a step that is open"
        if step["type"] == "message_creation":
            _assert_message_is_there(folder, step, told)
    return run


def _assert_message_is_there(folder: ThreadFolder, step: Value, told: list[tuple[str, Value]]) -> None:
    message_id = step["step_details"]["message_creation"]["message_id"]
    if ("thread.message.created", message_id) not in {(name, value["id"]) for name, value in told}:
        return
    line = folder.messages.find(message_id)
    assert line is not None, "a message that was begun is missing"
    closing = [value for name, value in told if value["id"] == message_id and name.rpartition(".")[2] in _CLOSING]
    assert closing == [orjson.loads(line)], "the end of a message was not told as it is stored"


def _assert_told_in_order(told: list[tuple[str, Value]], power_cut: bool) -> None:
    """Each message and step begins once, then grows, then ends once; each run is created first and all is over when it ends."""
    stages: dict[str, int] = {}
    counts = Counter((name, value["id"]) for name, value in told if name.startswith(("thread.message.", "thread.run.step.")))
    for (name, object_id), count in counts.items():
        assert count == 1 or name.endswith(".delta"), f"{name} of {object_id} was told {count} times"
    names = [name for name, _ in told if name != "thread.created"]
    first = ["thread.run.created", "thread.run.queued"][: 1 if power_cut else 2]
    assert names[: len(first)] == first[: len(names)], f"the log begins with {names[:2]}"
    if power_cut:
        return
    for name, value in told:
        if name.startswith(("thread.message.", "thread.run.step.")):
            kind = name.rpartition(".")[2]
            stage = {"created": 0, "in_progress": 1, "delta": 2}.get(kind, 3)
            assert stage >= stages.get(value["id"], -1) and (stage == 0) == (value["id"] not in stages), f"{name} is out of order"
            stages[value["id"]] = stage
        elif name in ENDS:
            assert all(stage == 3 for stage in stages.values()), f"{name} was told before all that was open had ended"


def carry_on(store: Store, folder: ThreadFolder) -> None:
    """Whatever was left active goes on to its end, and the thread takes what comes next: a message, and another run."""
    run = folder.active_run()
    if run is not None:
        if run["status"] == "requires_action":
            calls: list[dict[str, Any]] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
            run, _ = runs.submit_tool_outputs(store, folder, run["id"], [{"tool_call_id": call["id"], "output": "late"} for call in calls])
        assert run["id"] in store.queue.offered(), "a queued run is not offered"
        life = store.queue.join("next")
        answer(claimed(store, run, "next"), "after all")
        os.close(life)
        assert folder.load_run(run["id"])["status"] == "completed"
    assert folder.project == PROJECT
    say(folder, "on")
    assert text_of(messages(folder)[-1]) == "on"
    runs.cancel_run(store, folder, a_run(store, folder)["id"])
