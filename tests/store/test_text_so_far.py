"""The message that a run writes is folded from what follows the text that was kept, and the log stays the truth."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from oxillama.lifecycle.claim import Claim
from oxillama.objects.page import PageQuery
from oxillama.store import Store
from oxillama.store.check import check
from oxillama.store.disk import Disk
from oxillama.store.event_log import KEPT_EVERY_BYTES, EventLog
from oxillama.store.event_reader import EventReader
from tests.builders import USAGE, a_run, a_thread, claimed

DELTAS = 5000


@pytest.fixture
def claim(store: Store) -> Claim:
    """A run that has streamed a long answer of short pieces, and goes on."""
    claim = claimed(store, a_run(store, a_thread(store, "Hi")))
    claim.begin_message()
    for number in range(DELTAS // 10):
        claim.add_text(*(f"{number}.{piece} " for piece in range(10)))
    return claim


def text(claim: Claim) -> str:
    log = claim.thread.events(claim.run["id"])
    message = log.message_so_far(claim._message["id"])
    assert message is not None
    return "".join(part["text"]["value"] for part in message["content"])


def expected() -> str:
    return "".join(f"{number}.{piece} " for number in range(DELTAS // 10) for piece in range(10))


def kept(claim: Claim) -> Path:
    return Path(claim.thread.events(claim.run["id"])._so_far_path)


def test_a_reader_reads_only_what_follows(claim: Claim, monkeypatch: pytest.MonkeyPatch):
    assert claim._events.end > KEPT_EVERY_BYTES
    read: list[int] = []
    original = EventReader.read
    monkeypatch.setattr(EventReader, "read", lambda self, position: read.append(position) or original(self, position))
    assert text(claim) == expected()
    assert min(read) >= KEPT_EVERY_BYTES, "not from the beginning"
    claim.add_text("more")
    assert text(claim) == expected() + "more"
    claim.close()


@pytest.mark.parametrize("harm", ["gone", "torn", "of another message", "behind the end", "within a frame"])
def test_what_does_not_fit_the_log_is_passed_over(claim: Claim, harm: str):
    path = kept(claim)
    value = orjson.loads(path.read_bytes())
    value["message"]["content"] = [{"type": "text", "text": {"value": "wrong", "annotations": []}}]
    if harm == "of another message":
        value["message"]["id"] = "msg_other"
    value["end"] += {"behind the end": 10**9, "within a frame": 1}.get(harm, 0)
    path.write_bytes(b"{" if harm == "torn" else orjson.dumps(value))
    if harm == "gone":
        os.unlink(path)
    assert text(claim) == expected()
    claim.close()


def test_keeping_a_long_text_costs_little_more_than_streaming_it(claim: Claim, monkeypatch: pytest.MonkeyPatch):
    written: list[int] = []
    original = EventLog.keep_so_far
    monkeypatch.setattr(
        EventLog, "keep_so_far", lambda self, message, end: written.append(len(orjson.dumps(message))) or original(self, message, end)
    )
    for _ in range(300):
        claim.add_text("x" * 10_000)
    assert written and sum(written) < 1.25 * claim._events.end
    claim.close()


def test_the_message_ends_as_ever(claim: Claim, tmp_path: Path):
    claim.finish(USAGE, None)
    claim.close()
    (newest, *_) = claim.thread.page_messages(PageQuery(limit=1)).items
    assert expected().encode() in newest[1]
    assert [str(problem) for problem in check(tmp_path / "data")] == []


def test_keeping_a_text_waits_for_no_device(claim: Claim, monkeypatch: pytest.MonkeyPatch):
    synced: list[int] = []
    monkeypatch.setattr(Disk, "sync", lambda self, fd: synced.append(fd))
    monkeypatch.setattr(Disk, "sync_directory", lambda self, path, opened=None: synced.append(-1))
    os.unlink(kept(claim))
    while not kept(claim).exists():
        claim.add_text("x" * 10_000)
    assert not synced
    claim.close()
