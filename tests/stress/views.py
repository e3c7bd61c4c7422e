"""Two ways to look at what is stored: through the API, and at the bytes on disk without any code of the product."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tests.stress.calls import Caller, Refused, parse
from tests.stress.ledger import TERMINAL, Ledger
from tests.stress.violation import Violation

#: For how long the product keeps the entry of a run whose thread is not there, and some seconds in which it looks.
_CREATION_SECONDS = 70

Object = dict[str, Any]


class View(Protocol):
    """What the audit asks. Lists are oldest first; None and empty mean that there is none."""

    name: str

    def thread(self, thread_id: str) -> Object | None: ...
    def messages(self, thread_id: str) -> list[Object]: ...
    def run(self, thread_id: str, run_id: str) -> Object | None: ...
    def steps(self, thread_id: str, run_id: str) -> list[Object]: ...
    def events(self, thread_id: str, run_id: str) -> bytes: ...


class ApiView:
    """What a client sees."""

    name = "API"

    def __init__(self, port: int) -> None:
        self._caller = Caller(port, threading.Event())

    def thread(self, thread_id: str) -> Object | None:
        return self._get(f"/v1/threads/{thread_id}")

    def messages(self, thread_id: str) -> list[Object]:
        return list(self._list(f"/v1/threads/{thread_id}/messages"))

    def run(self, thread_id: str, run_id: str) -> Object | None:
        return self._get(f"/v1/threads/{thread_id}/runs/{run_id}")

    def steps(self, thread_id: str, run_id: str) -> list[Object]:
        return list(self._list(f"/v1/threads/{thread_id}/runs/{run_id}/steps"))

    def events(self, thread_id: str, run_id: str) -> bytes:
        return b"".join(self._caller.stream("GET", f"/v1/threads/{thread_id}/runs/{run_id}/events").frames)

    def stuck_threads(self, ledger: Ledger) -> Iterator[Violation]:
        """Threads that had runs and take no message any more."""
        for thread in ledger.threads.values():
            if thread.deleted is False and (thread.runs or thread.may_have_others):
                try:
                    self._caller.write("POST", f"/v1/threads/{thread.thread_id}/messages", {"role": "user", "content": "And now?"})
                except Refused as error:
                    yield Violation("stuck", f"{thread.thread_id} takes no message: {error}")

    def _get(self, path: str) -> Any:
        try:
            return self._caller.read(path)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def _list(self, path: str) -> Iterator[Object]:
        after = ""
        while True:
            page = self._get(f"{path}?order=asc&limit=100{after}")
            yield from page["data"] if page else ()
            if not page or not page["has_more"]:
                return
            after = f"&after={page['last_id']}"


class FileView:
    """What is on disk."""

    name = "files"

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._threads = data_dir / "projects" / "default" / "threads"

    def thread(self, thread_id: str) -> Object | None:
        return _json(self._threads / thread_id / "meta.json")

    def messages(self, thread_id: str) -> list[Object]:
        folder, found = self._threads / thread_id, []
        overlays = {path.stem for path in (folder / "messages").glob("*.json")}
        for message in _lines(folder / "messages.jsonl"):
            if message["id"] in overlays:
                message = _json(folder / "messages" / f"{message['id']}.json") or message
            if not message.get("deleted"):
                found.append(message)
        return found

    def run(self, thread_id: str, run_id: str) -> Object | None:
        return _json(self._threads / thread_id / "runs" / run_id / "status.json")

    def steps(self, thread_id: str, run_id: str) -> list[Object]:
        return [_json(path) or {} for path in sorted((self._threads / thread_id / "runs" / run_id / "steps").glob("*.json"))]

    def events(self, thread_id: str, run_id: str) -> bytes:
        path = self._threads / thread_id / "runs" / run_id / "events.sse"
        return path.read_bytes() if path.exists() else b""

    def active_runs(self) -> list[str]:
        """Entries of the queue, but for those that wait a minute whether their thread comes to be."""
        return sorted(path.name for path in (self.data_dir / "queue" / "active").iterdir() if not self._may_come_to_be(path))

    def _may_come_to_be(self, entry: Path) -> bool:
        try:
            thread_id = json.loads(entry.read_bytes()).get("thread_id", "")
            return time.time() - entry.stat().st_mtime < _CREATION_SECONDS and not (self._threads / thread_id).exists()
        except FileNotFoundError:
            return True

    def count_runs(self) -> Counter[str]:
        """Runs by status, those that nobody was told of included."""
        return Counter(str((_json(path) or {}).get("status")) for path in self._threads.glob("*/runs/*/status.json"))

    def violations(self) -> Iterator[Violation]:
        """What must hold of the files whatever was acknowledged."""
        for run_id in self.active_runs():
            yield Violation("stuck", f"{run_id} is in queue/active")
        for kind in ("waiting", "../trash"):
            left = os.listdir(self.data_dir / "queue" / kind)
            if left:
                yield Violation("wrong", f"{len(left)} entries are left in {kind}: {left[:3]}")
        tokens: Counter[str] = Counter()
        for folder in sorted(self._threads.iterdir()):
            tokens[str((_json(folder / "meta.json") or {}).get("metadata", {}).get("token"))] += 1
            yield from self._thread_violations(folder)
        yield from (Violation("doubled", f"{count} threads have the token {token}") for token, count in tokens.items() if count > 1)

    def _thread_violations(self, folder: Path) -> Iterator[Violation]:
        messages, runs = list(_lines(folder / "messages.jsonl")), list(_lines(folder / "runs.log"))
        for name, objects in (("messages.jsonl", messages), ("runs.log", runs)):
            ids = [one["id"] for one in objects]
            if ids != sorted(ids):
                yield Violation("wrong", f"{folder.name}/{name}: ids are not in order")
            yield from (Violation("doubled", f"{folder.name}/{name}: {one}") for one, count in Counter(ids).items() if count > 1)
        by_run = {run["id"] for run in runs}
        created = set()
        for path in sorted(folder.glob("runs/*/status.json")):
            run_id = path.parent.name
            if run_id not in by_run:
                yield Violation("lost", f"{run_id} is not in runs.log of {folder.name}")
            for step in self.steps(folder.name, run_id):
                if step["type"] == "message_creation":
                    created.add(step["step_details"]["message_creation"]["message_id"])
                if step["status"] == "in_progress":
                    yield Violation("stuck", f"{step['id']} of {run_id} is in progress")
            yield from log_violations(_json(path) or {}, self.events(folder.name, run_id))
        yield from (
            Violation("doubled", f"{message['id']} of {folder.name} belongs to no step")
            for message in messages
            if message["run_id"] and message["id"] not in created
        )


def log_violations(run: Object, log: bytes) -> Iterator[Violation]:
    """What must hold of the event log of a run that is over."""
    run_id, told = run.get("id"), parse(log).told
    if run.get("status") not in TERMINAL:
        yield Violation("stuck", f"{run_id} is {run.get('status')}")
        return
    ends = [name for name in told if name.removeprefix("thread.run.") in TERMINAL]
    if ends != [f"thread.run.{run['status']}"] or told[-1:] != ends:
        yield Violation("wrong", f"{run_id} is {run['status']} and its log ends {told[-3:]} with {ends}")
    if not log.endswith(b"\n\n"):
        yield Violation("wrong", f"the log of {run_id} ends within an event: {log[-60:]!r}")
    once = Counter(
        (name, json.loads(frame.split(b"\n")[1][6:])["id"])
        for name, frame in zip(told, parse(log).frames, strict=True)
        if name.startswith(("thread.message.", "thread.run.step.")) and not name.endswith(".delta")
    )
    yield from (Violation("doubled", f"{run_id} told {count} times {event}") for event, count in once.items() if count > 1)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def _lines(path: Path) -> Iterator[Object]:
    if path.exists():
        yield from (json.loads(line) for line in path.read_bytes().splitlines() if line)
