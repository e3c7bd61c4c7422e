"""What is checked of a run: that its status, steps, messages and event log tell the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oxillama import ids
from oxillama.objects import run as run_object
from oxillama.objects.stream_event import ENDS
from oxillama.store.check.files import check_lines, entries, parsed, read_frames, read_object
from oxillama.store.check.findings import Findings
from oxillama.store.disk import Disk
from oxillama.store.layout import RunLayout

_FILES = r"status\.json|events\.sse|so_far\.json|private\.json|additional_messages\.jsonl"
_STEP = r"step[-_][0-9A-Za-z-]+"


def check_run(
    findings: Findings, disk: Disk, layout: RunLayout, run_id: str, expected: dict[str, Any], is_stored: Callable[[str], bool]
) -> str | None:
    """Tell what is wrong with a run.

    Args:
        findings: where to tell it.
        disk: what to read from.
        layout: its paths.
        run_id: the name of its folder.
        expected: what fields of the Run must be.
        is_stored: whether the thread's log has a message.

    Returns:
        Its status; None when it has none that can be read.
    """
    adopted = ids.is_legacy(run_id)
    for _ in entries(findings, layout.folder, files=_FILES, folders="steps", adopted=adopted):
        pass
    if not disk.exists(layout.status):
        findings.note(layout.folder, "no status.json: whoever created it did not get to the end, and everybody passes over it")
        return None
    findings.counts["runs"] += 1
    run = read_object(findings, disk, layout.status, expected)
    if run is None:
        return None
    # A wrong id has been told. What else there is belongs to the run of this folder.
    run["id"] = run_id
    status = run.get("status")
    if not isinstance(status, str) or status not in run_object.TRANSITIONS:
        findings.problem(layout.status, "`status` is not one of a run")
        return None
    if adopted:
        return status
    written = dict.fromkeys(_check_events(findings, layout.events, run), layout.events)
    if status in run_object.ACTIVE:
        # It may be writing the last of those that it has announced.
        written = {}
    written |= _check_steps(findings, disk, layout, run)
    if disk.exists(layout.private):
        read_object(findings, disk, layout.private, {})
    for message_id, path in written.items():
        if not is_stored(message_id):
            findings.problem(path, f"tells of {message_id}, which the thread's log does not have")
    _check_additional_messages(findings, disk, layout, run, is_stored)
    return status


def _check_events(findings: Findings, path: str, run: dict[str, Any]) -> list[str]:
    """Ids of the messages that the log announces."""
    announced: list[str] = []
    ended, first = False, True
    is_over = run["status"] in run_object.TERMINAL
    problems = len(findings.problems)
    try:
        for name, value in read_frames(findings, path):
            if ended:
                findings.problem(path, f"{name} comes after the event that ends the run")
                return announced
            if first and name not in ("thread.created", "thread.run.created"):
                findings.problem(path, f"begins with {name}")
            first = False
            if name == "thread.message.created":
                announced.append(str(value.get("id")))
            if name in ENDS:
                ended = True
                _check_end(findings, path, name, value, run)
    except FileNotFoundError:
        if is_over:
            findings.problem(path, "missing, though the run is over")
        return announced
    if is_over and not ended and not any(not one.is_note for one in findings.problems[problems:]):
        findings.problem(path, f"does not tell that the run is {run['status']}")
    return announced


def _check_end(findings: Findings, path: str, name: str, told: dict[str, Any], run: dict[str, Any]) -> None:
    if name != f"thread.run.{run['status']}":
        findings.problem(path, f"ends with {name}, but the run is {run['status']}")
    elif differing := [field for field in {*told, *run} - {"metadata"} if told.get(field) != run.get(field)]:
        findings.problem(path, f"its last event and status.json have other values of: {', '.join(sorted(differing))}")


def _check_steps(findings: Findings, disk: Disk, layout: RunLayout, run: dict[str, Any]) -> dict[str, str]:
    """The messages that steps have written to their end, each with the path of its step."""
    written = {}
    for name in entries(findings, layout.steps, files=rf"{_STEP}\.json"):
        step_id = name.removesuffix(".json")
        path = layout.step(step_id)
        expected = {"id": step_id, "object": "thread.run.step", "run_id": run["id"], "thread_id": run.get("thread_id")}
        step = read_object(findings, disk, path, expected)
        if step is None:
            continue
        if step.get("status") == "in_progress" and run["status"] in run_object.TERMINAL:
            findings.problem(path, f"is in progress, though its run is {run['status']}")
        details = step.get("step_details")
        inner = details.get(str(step.get("type"))) if isinstance(details, dict) else None
        if not isinstance(inner, dict | list):
            findings.problem(path, "`step_details` are not those of a step")
        elif isinstance(inner, dict) and step.get("status") == "completed":
            written[str(inner.get("message_id"))] = path
    return written


def _check_additional_messages(
    findings: Findings, disk: Disk, layout: RunLayout, run: dict[str, Any], is_stored: Callable[[str], bool]
) -> None:
    path = layout.additional_messages
    expected = {"object": "thread.message", "thread_id": run.get("thread_id")}

    def check_line(where: str, line: bytes) -> None:
        message = parsed(findings, path, where, line, expected)
        if message is not None and run["status"] != "queued" and not is_stored(str(message.get("id"))):
            findings.problem(path, f"{where}not in the thread's log")

    if disk.exists(path):
        check_lines(findings, path, check_line)
        findings.note(path, "messages that came with the run, which its claim puts into the thread's log")
