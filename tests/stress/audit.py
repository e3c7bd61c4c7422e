"""Audit: is everything that was acknowledged there, once, as it was acknowledged?"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.process_control import ROOT
from tests.stress.fleet import Size
from tests.stress.ledger import TERMINAL, KnownRun, KnownThread, Ledger, SeenStream
from tests.stress.views import View
from tests.stress.violation import Violation

#: A process counts as long-lived from here, in seconds; then it may have grown by this much.
_LONG_LIFE = 60
_MOST_GROWTH_BYTES, _MOST_MORE_FILES = 40 << 20, 40


def audit(ledger: Ledger, view: View) -> Iterator[Violation]:
    """Compare the ledger with what a view shows."""
    for thread in ledger.threads.values():
        for violation in _thread(thread, view):
            yield Violation(violation.kind, f"{view.name}: {thread.thread_id}: {violation.text}")
    for stream in ledger.streams:
        known = ledger.threads.get(stream.thread_id)
        if known is not None and known.deleted is False and (text := _stream(stream, view.events(stream.thread_id, stream.run_id))):
            yield Violation("wrong", f"{view.name}: {stream.run_id}: {text}")


def _thread(thread: KnownThread, view: View) -> Iterator[Violation]:
    stored = view.thread(thread.thread_id)
    if thread.deleted or (thread.deleted is None and stored is None):
        if stored is not None:
            yield Violation("wrong", "was deleted and is there")
        return
    if stored is None:
        yield Violation("lost", "the thread")
        return
    if stored["metadata"] not in thread.metadata:
        yield Violation("lost", f"has {stored['metadata']}, not {thread.metadata}")
    messages = view.messages(thread.thread_id)
    yield from _messages(thread, messages)
    for run in thread.runs:
        yield from _run(run, view, messages)


def _messages(thread: KnownThread, messages: list[dict[str, Any]]) -> Iterator[Violation]:
    found = {message["id"]: message for message in messages}
    yield from (Violation("doubled", one) for one, count in Counter(message["id"] for message in messages).items() if count > 1)
    for known in thread.messages:
        message = found.get(known.message_id)
        if message is None and known.deleted is False:
            yield Violation("lost", f"{known.message_id}: {known.text[:40]!r}")
        if message is None:
            continue
        if known.deleted:
            yield Violation("wrong", f"{known.message_id} was deleted and is there")
        if _text(message) != known.text:
            yield Violation("wrong", f"{known.message_id} says {_text(message)[:60]!r}, not {known.text[:60]!r}")
        if message["metadata"] not in known.metadata:
            yield Violation("lost", f"{known.message_id} has {message['metadata']}, not {known.metadata}")
    acknowledged = [known.message_id for known in thread.messages]
    if [one for one in found if one in set(acknowledged)] != [one for one in acknowledged if one in found]:
        yield Violation("wrong", "messages are not in the order in which they were acknowledged")
    tokens = Counter(_text(message).partition(" ")[0] for message in messages if not message["run_id"])
    yield from (Violation("doubled", f"{count} messages say {token}") for token, count in tokens.items() if count > 1)
    written = thread.unknown | {known.text.partition(" ")[0] for known in thread.messages}
    yield from (Violation("wrong", f"nobody wrote {token}") for token in tokens if token not in written)


def _run(known: KnownRun, view: View, messages: list[dict[str, Any]]) -> Iterator[Violation]:
    run = view.run(known.thread_id, known.run_id)
    if run is None:
        yield Violation("lost", known.run_id)
        return
    if run["status"] not in TERMINAL:
        yield Violation("stuck", f"{known.run_id} is {run['status']}")
    if known.end not in (None, run["status"]):
        yield Violation("wrong", f"{known.run_id} was {known.end} and is {run['status']}")
    if known.cancelled and run["status"] != "cancelled":
        yield Violation("lost", f"{known.run_id} was cancelled and is {run['status']}")
    steps = view.steps(known.thread_id, known.run_id)
    outputs = {call["id"]: call["function"]["output"] for step in steps for call in step["step_details"].get("tool_calls", ())}
    for call_id, output in known.outputs.items():
        if outputs.get(call_id) != output:
            yield Violation("lost", f"{known.run_id}: {call_id} has the output {outputs.get(call_id)!r}, not {output!r}")
    there = {message["id"] for message in messages}
    for step in steps:
        message_id = step["step_details"].get("message_creation", {}).get("message_id")
        # A message of which nothing was said before the run ended early need not be there.
        if message_id and step["status"] == "completed" and message_id not in there:
            yield Violation("lost", f"{known.run_id}: {message_id}")


def _stream(stream: SeenStream, log: bytes) -> str | None:
    received = b"".join(stream.frames)
    if stream.whole and received != log:
        return f"a reader saw {len(received)} bytes over {stream.reconnects + 1} connections, the log has {len(log)}"
    if not (log.startswith(received) if stream.from_start else received in log):
        return f"what a reader saw is no part of the log: {received[:80]!r}"
    return None


def _text(message: dict[str, Any]) -> str:
    return str(message["content"][0]["text"]["value"]) if message["content"] else ""


def traceback_violations(log: str) -> Iterator[Violation]:
    """Tracebacks that the server wrote, one of each kind."""
    found = Counter(re.findall(r"Traceback \(most recent call last\):\n(?:[ +|].*\n)*(.*)", log))
    yield from (Violation("wrong", f"{count} times in the log: {last}") for last, count in found.items())


def check_violations(data_dir: Path) -> Iterator[Violation]:
    """What the product itself says of its data."""
    checked = subprocess.run([sys.executable, "-m", "oxillama", "check", data_dir], cwd=ROOT, capture_output=True, text=True, timeout=300)
    problems = [line for line in checked.stdout.splitlines()[:-1] if not line.startswith("note: ")]
    yield from (Violation("wrong", f"check: {line}") for line in problems)
    if (checked.returncode != 0) != bool(problems):
        yield Violation("wrong", f"check ended with {checked.returncode}: {checked.stdout[-300:]} {checked.stderr[-1000:]}")


def size_violations(sizes: Iterable[Size]) -> Iterator[Violation]:
    """Processes that live long and grow."""
    for size in sizes:
        if size.last - size.since < _LONG_LIFE:
            continue
        if size.last_rss - size.first_rss > _MOST_GROWTH_BYTES or size.last_files - size.first_files > _MOST_MORE_FILES:
            yield Violation("wrong", f"{size.role} has grown: {size}")
