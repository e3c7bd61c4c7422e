"""Ledger: what the server has acknowledged, what it may have done, and what callers have seen. Each object has one writer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Metadata = dict[str, str]

TERMINAL = frozenset({"completed", "incomplete", "failed", "cancelled", "expired"})


@dataclass
class KnownMessage:
    """An acknowledged message.

    Attributes:
        metadata: what it may be: the last that was acknowledged, and those after it whose answer never came.
        deleted: None when nobody knows.
    """

    message_id: str
    text: str
    metadata: list[Metadata]
    deleted: bool | None = False


@dataclass
class KnownRun:
    """An acknowledged run.

    Attributes:
        token: in its metadata; no other run has it.
        end: the first terminal status that anybody saw.
        cancelled: whether a cancel was acknowledged.
        outputs: those that were acknowledged, by the id of their call.
    """

    thread_id: str
    run_id: str
    token: str
    end: str | None = None
    cancelled: bool = False
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass
class KnownThread:
    """An acknowledged thread.

    Attributes:
        messages: in the order of their acknowledgements.
        unknown: tokens of messages and runs whose answer never came.
        may_have_others: whether a run may be at work of which nobody knows, so that the thread is left alone.
    """

    thread_id: str
    metadata: list[Metadata]
    messages: list[KnownMessage] = field(default_factory=list)
    runs: list[KnownRun] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    deleted: bool | None = False
    may_have_others: bool = False


@dataclass
class SeenStream:
    """What one reader got of a run's log.

    Attributes:
        from_start: whether it began with the log.
        whole: whether it saw the end of the run.
    """

    thread_id: str
    run_id: str
    frames: list[bytes]
    from_start: bool = True
    whole: bool = False
    reconnects: int = 0


class Ledger:
    """All of it. Safe to be filled by several threads, as long as each object is one thread's."""

    def __init__(self) -> None:
        self.threads: dict[str, KnownThread] = {}
        self.streams: list[SeenStream] = []
        self.acknowledged: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.surprises: list[str] = []
        self._lock = threading.Lock()

    def count(self, counter: Counter[str], kind: str) -> None:
        with self._lock:
            counter[kind] += 1

    def surprise(self, text: str) -> None:
        """Note an answer that should not have been."""
        with self._lock:
            self.surprises.append(f"{time.strftime('%H:%M:%S')} {text}")

    def add_thread(self, thread: KnownThread) -> KnownThread:
        with self._lock:
            self.threads[thread.thread_id] = thread
        return thread

    def add_stream(self, stream: SeenStream) -> None:
        with self._lock:
            self.streams.append(stream)

    def see_run(self, known: KnownRun, run: dict[str, Any]) -> bool:
        """Note the status of a run; whether it is over. A run that ends twice is a surprise."""
        if run["status"] not in TERMINAL:
            if known.end is not None:
                self.surprise(f"{known.run_id} was {known.end} and is {run['status']}")
            return False
        if known.end not in (None, run["status"]):
            self.surprise(f"{known.run_id} was {known.end} and is {run['status']}")
        known.end = known.end or run["status"]
        return True
