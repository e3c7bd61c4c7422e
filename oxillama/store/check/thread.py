"""What is checked of a thread: that each file says what it is, and that log, overlays, list of runs and runs agree."""

from __future__ import annotations

import os
from typing import Any

from oxillama import ids
from oxillama.errors import CorruptRecord
from oxillama.objects import run as run_object
from oxillama.store.check.files import check_fields, check_lines, entries, parsed, read_object
from oxillama.store.check.findings import Findings
from oxillama.store.check.run import check_run
from oxillama.store.disk import Disk
from oxillama.store.layout import Layout, ThreadLayout
from oxillama.store.lines import Lines

_FILES = r"meta\.json|messages\.jsonl|messages\.torn|runs\.log|runs\.torn"


def check_thread(disk: Disk, data: Layout, project: str, thread_id: str, findings: Findings) -> None:
    """Tell what is wrong with a thread."""
    _Thread(findings, disk, data, project, thread_id).check()


class _Thread:
    def __init__(self, findings: Findings, disk: Disk, data: Layout, project: str, thread_id: str) -> None:
        self._findings, self._disk, self._data, self._thread_id = findings, disk, data, thread_id
        self._layout: ThreadLayout = data.thread(project, thread_id)
        self._adopted = ids.is_legacy(thread_id)
        self._messages = Lines(disk, self._layout.messages, self._layout.torn_messages, adopted=self._adopted)
        self._runs = Lines(disk, self._layout.runs_log, self._layout.torn_runs, adopted=self._adopted)

    def check(self) -> None:
        findings, layout = self._findings, self._layout
        findings.counts["threads"] += 1
        for _ in entries(findings, layout.folder, files=_FILES, folders="messages|runs", adopted=self._adopted):
            pass
        read_object(findings, self._disk, layout.meta, self._expected(self._thread_id, "thread"))
        self._check_log(layout.messages, layout.torn_messages, "message")
        self._check_log(layout.runs_log, layout.torn_runs, "run")
        self._check_overlays()
        self._check_runs()

    def _check_log(self, path: str, torn_path: str, noun: str) -> None:
        """Every line is an object that readers find: it begins with its id, and the ids rise."""
        findings, last = self._findings, (0, "")
        if self._disk.exists(torn_path):
            findings.note(torn_path, "lines that a crash cut short, put aside by a later writer")

        def check_line(where: str, line: bytes) -> None:
            nonlocal last
            told = Findings()
            value = parsed(told, path, where, line, {})
            if value is None:
                # That server went on behind a torn line, and nobody was told that one is stored.
                for one in told.problems:
                    findings.unless(self._adopted, path, one.what)
                return
            object_id = value.get("id")
            if not (isinstance(object_id, str) and _is_id(noun, object_id) and line.startswith(b'{"id":"%b"' % object_id.encode())):
                findings.problem(path, f"{where}does not begin with the id of a {noun}, so nobody sees it")
                return
            order = (ids.stamp_of(object_id), object_id)
            if ids.is_ours(object_id):
                if order <= last:
                    findings.problem(path, f"{where}{object_id} does not come after the line before it")
                last = order
            elif last[0]:
                findings.problem(path, f"{where}{object_id} of oxillama-server 0.1.3 comes after one of ours")
            if noun == "message":
                findings.counts["messages"] += 1
                check_fields(findings, path, where, value, self._of_thread(object_id, "thread.message"))
            elif not self._disk.exists(self._layout.run(object_id).folder):
                findings.note(path, f"{where}{object_id} was never created")

        check_lines(findings, path, check_line)

    def _check_overlays(self) -> None:
        for name in entries(self._findings, self._layout.overlays, files=r"msg_[0-9A-Za-z]+\.json", adopted=self._adopted):
            message_id = name.removesuffix(".json")
            path = self._layout.overlay(message_id)
            value = read_object(self._findings, self._disk, path, {"id": message_id})
            if value is not None and value.get("object") != "thread.message.deleted":
                check_fields(self._findings, path, "", value, self._of_thread(message_id, "thread.message"))
            if not self._has(self._messages, message_id):
                self._findings.problem(path, "lies over a message that the log does not have")

    def _check_runs(self) -> None:
        findings, layout = self._findings, self._layout
        active = []
        for run_id in entries(findings, layout.runs, folders=r"run_[0-9A-Za-z]+", adopted=self._adopted):
            expected = self._of_thread(run_id, "thread.run")
            status = check_run(
                findings, self._disk, layout.run(run_id), run_id, expected, lambda message_id: self._has(self._messages, message_id)
            )
            if status is None:
                continue
            if not self._has(self._runs, run_id) and not (self._adopted and not self._disk.exists(layout.runs_log)):
                findings.problem(layout.run(run_id).folder, f"is not in {os.path.basename(layout.runs_log)}, so no list shows it")
            if status in run_object.ACTIVE:
                active.append(run_id)
                if not self._disk.exists(self._data.active_entry(run_id)):
                    findings.unless(
                        ids.is_legacy(run_id), layout.run(run_id).status, f"is {status}, but nobody looks after it: no entry in the queue"
                    )
        if len(active) > 1:
            findings.unless(self._adopted, layout.runs, f"more than one active run: {', '.join(sorted(active))}")
        elif active and self._runs.last_id() not in (None, *active) and self._newest_that_exists() != active[0]:
            findings.problem(layout.run(active[0]).status, "is active, and not the newest run")

    def _newest_that_exists(self) -> str | None:
        with self._runs.reader() as runs:
            listed = runs.backward(0, runs.end())
            return next((run_id for run_id, _ in listed if self._disk.exists(self._layout.run(run_id).status)), None)

    def _has(self, log: Lines, object_id: str) -> bool:
        try:
            return log.get(object_id) is not None
        except (CorruptRecord, FileNotFoundError):
            # What is wrong with the log was told when it was read.
            with log.reader() as lines:
                return lines.end() > 0

    def _of_thread(self, object_id: str, kind: str) -> dict[str, Any]:
        return {**self._expected(object_id, kind), "thread_id": self._thread_id}

    def _expected(self, object_id: str, kind: str) -> dict[str, Any]:
        return {"id": object_id} if ids.is_legacy(object_id) else {"id": object_id, "object": kind}


def _is_id(noun: str, object_id: str) -> bool:
    return object_id.startswith(f"{ids.PREFIXES[noun]}_") and (ids.is_ours(object_id) or ids.is_legacy(object_id))
