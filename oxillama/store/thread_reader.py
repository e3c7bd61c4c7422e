"""ThreadReader: all that can be asked of one thread. No lock is needed: what is read is whole, and was true a moment ago."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import orjson

from oxillama import ids
from oxillama.errors import CorruptRecord, NotFound
from oxillama.objects import run as run_object
from oxillama.objects import step as step_object
from oxillama.objects.page import MAX_HELD_BYTES, Page, PageQuery, Sendable
from oxillama.store import legacy
from oxillama.store.disk import Disk
from oxillama.store.event_log import EventLog
from oxillama.store.layout import ThreadLayout
from oxillama.store.lines import Lines
from oxillama.store.message_log import MessageLog
from oxillama.store.paging import Sequence, SortedIds, read_page
from oxillama.store.records import parsed
from oxillama.store.run_queue import RunQueue
from oxillama.store.stored import FilePart, Scratch, read_stored

#: How a stored Run begins, which `objects.run.new_run` decides, with its status. No id is longer.
_STATUS = re.compile(
    rb'\{"id":"([^"\\]{1,64})","object":"thread\.run","created_at":\d{1,16},"assistant_id":"[^"\\]{1,64}",'
    rb'"thread_id":"([^"\\]{1,64})","status":"([a-z_]{1,32})"'
)
_STATUS_BYTES = 512


class ThreadReader:
    """What is stored of one thread. Nothing is looked at before a method is called.

    Args:
        disk: where it lies.
        layout: its paths.
        queue: where its active run is entered.
        project: whose it is.
        thread_id: a checked id.
    """

    def __init__(self, disk: Disk, layout: ThreadLayout, queue: RunQueue, project: str, thread_id: str) -> None:
        self._disk, self._layout, self.queue = disk, layout, queue
        self.project, self.thread_id = project, thread_id

    @property
    def messages(self) -> MessageLog:
        """Its Messages."""
        return MessageLog(self._disk, self._layout, self._message_being_written, adopted=ids.is_legacy(self.thread_id))

    @property
    def _run_ids(self) -> Lines:
        return Lines(self._disk, self._layout.runs_log, self._layout.torn_runs, adopted=ids.is_legacy(self.thread_id))

    def read(self) -> bytes:
        """The Thread in wire form. Raises NotFound."""
        try:
            content = self._disk.read(self._layout.meta)
        except FileNotFoundError:
            raise NotFound("thread", self.thread_id) from None
        thread = parsed(content, self._layout.meta, id=[self.thread_id])
        return orjson.dumps(legacy.thread(thread)) if ids.is_legacy(self.thread_id) else content

    def require(self) -> None:
        """Raise NotFound unless the thread exists."""
        if not self._disk.exists(self._layout.meta):
            raise NotFound("thread", self.thread_id)

    def stored_run(self, run_id: str) -> tuple[bytes, dict[str, Any]]:
        """A Run in wire form, and what it says. Raises NotFound, for the thread when that is what is missing."""
        run = self._run_or_none(run_id)
        if run is None:
            self.require()
            raise NotFound("run", run_id)
        return run

    def sendable_run(self, run_id: str) -> tuple[Sendable, str]:
        """A Run as it is sent, and its status. Raises as `stored_run` does."""
        run = self._sendable_run(run_id)
        if run is None:
            self.require()
            raise NotFound("run", run_id)
        return run

    def read_run(self, run_id: str) -> Sendable:
        """A Run as it is sent. Raises as `stored_run` does."""
        return self.sendable_run(run_id)[0]

    def load_run(self, run_id: str) -> dict[str, Any]:
        """A Run. Raises as `stored_run` does."""
        return self.stored_run(run_id)[1]

    def page_runs(self, query: PageQuery) -> Page:
        """A part of the list of Runs. Raises NotFound for the thread or an unknown cursor."""
        self.require()
        with self._runs_in_order() as run_ids:
            return read_page(run_ids, query, "run", lambda run_id, _: _first(self._sendable_run(run_id)), self._place_of_run)

    def run_status(self, run_id: str) -> str:
        """The status of a Run. Costs the same however large the run is, for it stands near the file's beginning. Raises NotFound."""
        try:
            beginning = self._disk.read_beginning(self._layout.run(run_id).status, _STATUS_BYTES)
        except FileNotFoundError:
            raise NotFound("run", run_id) from None
        found = _STATUS.match(beginning)
        told = [group.decode() for group in found.groups()] if found else []
        if told[:2] == [run_id, self.thread_id] and told[2] in run_object.TRANSITIONS:
            return told[2]
        return str(self.load_run(run_id)["status"])

    def load_private(self, run_id: str) -> dict[str, Any]:
        """What `LockedThread.write_private` stored beside a Run; empty when there is nothing."""
        path = self._layout.run(run_id).private
        try:
            return parsed(self._disk.read(path), path)
        except FileNotFoundError:
            return {}

    def active_run(self) -> dict[str, Any] | None:
        """The Run that keeps the thread busy."""
        run_id = self.active_run_id()
        stored = None if run_id is None else self._run_or_none(run_id)
        return stored[1] if stored is not None and stored[1]["status"] in run_object.ACTIVE else None

    def active_run_id(self) -> str | None:
        """The id of the Run that keeps the thread busy. Only the newest can: no run is created while another is active."""
        with self._run_ids.reader() as run_ids:
            for run_id, _ in run_ids.backward(0, run_ids.end()):
                with contextlib.suppress(NotFound):
                    return run_id if self.run_status(run_id) in run_object.ACTIVE else None
        return None

    def read_step(self, run_id: str, step_id: str) -> Sendable:
        """A RunStep as it is sent. Raises NotFound, for the run when that is what is missing."""
        step = self._sendable_step(run_id, step_id)
        if step is None:
            self.read_run(run_id)
            raise NotFound("run step", step_id)
        return step

    def page_steps(self, run_id: str, query: PageQuery) -> Page:
        """A part of the list of a Run's steps. Raises NotFound for the run or an unknown cursor."""
        self.read_run(run_id)
        for cursor in (query.after, query.before):
            # Steps are never deleted, so one that is not here never was.
            if cursor is not None:
                self.read_step(run_id, cursor)

        def place(step_id: str, content: bytes) -> Sendable:
            return self._place(self._layout.run(run_id).step(step_id), step_id, content)

        return read_page(
            SortedIds(self._step_ids(run_id)), query, "run step", lambda step_id, _: self._sendable_step(run_id, step_id), place
        )

    def load_steps(self, run_id: str) -> list[dict[str, Any]]:
        """All steps of a Run, oldest first."""
        steps = (self._step_or_none(run_id, step_id) for step_id in self._step_ids(run_id))
        return [step[1] for step in steps if step is not None]

    def page_messages(self, query: PageQuery, run_id: str | None = None) -> Page:
        """A part of the list of Messages, or of those that one run wrote. Raises NotFound for the thread or an unknown cursor."""
        if run_id is None:
            return self._page_all_messages(query)
        self.require()
        for cursor in (query.after, query.before):
            # Any message of the thread may be one, also one that another wrote: it has its place among those of the run.
            if cursor is not None and not self.messages.has_held(cursor):
                raise NotFound("message", cursor)
        if ids.is_legacy(run_id):
            written = self.messages.ids_of_run(run_id)
        else:
            details = (step["step_details"] for step in self.load_steps(run_id))
            written = [one["message_creation"]["message_id"] for one in details if one["type"] == "message_creation"]
        return read_page(
            SortedIds(written), query, "message", lambda message_id, _: self.messages.sendable(message_id), self.messages.place
        )

    def _page_all_messages(self, query: PageQuery) -> Page:
        try:
            page = self.messages.page(query)
        except NotFound:
            self.require()
            raise
        if not page.items:
            self.require()
        return page

    def sendable_message(self, message_id: str) -> Sendable:
        """A Message as it is sent. Raises as `read_message` does."""
        message = self.messages.sendable(message_id)
        if message is None:
            self.require()
            raise NotFound("message", message_id)
        return message

    def read_message(self, message_id: str) -> bytes:
        """A Message in wire form. Raises NotFound, for the thread when that is what is missing."""
        message = self.messages.get(message_id)
        if message is None:
            self.require()
            raise NotFound("message", message_id)
        return message

    def events(self, run_id: str) -> EventLog:
        """The event log of a Run."""
        return EventLog(self._disk, self._layout.run(run_id))

    def _run_or_none(self, run_id: str) -> tuple[bytes, dict[str, Any]] | None:
        path = self._layout.run(run_id).status
        try:
            content = self._disk.read(path)
        except FileNotFoundError:
            return None
        if ids.is_legacy(run_id):
            run = legacy.run(parsed(content, path))
            return orjson.dumps(run), run
        return content, parsed(content, path, id=[run_id], thread_id=[self.thread_id], status=run_object.TRANSITIONS)

    def _sendable_run(self, run_id: str) -> tuple[Sendable, str] | None:
        if ids.is_legacy(run_id):
            stored = self._run_or_none(run_id)
            return None if stored is None else (stored[0], stored[1]["status"])
        try:
            content, head = read_stored(
                self._disk, self._layout.run(run_id).status, id=[run_id], thread_id=[self.thread_id], status=run_object.TRANSITIONS
            )
        except FileNotFoundError:
            return None
        return content, head["status"]

    def _sendable_step(self, run_id: str, step_id: str) -> Sendable | None:
        step = self._step_or_none(run_id, step_id)
        return None if step is None else self._place(self._layout.run(run_id).step(step_id), step_id, step[0], MAX_HELD_BYTES)

    def _place_of_run(self, run_id: str, content: bytes) -> Sendable:
        return self._place(self._layout.run(run_id).status, run_id, content)

    def _place(self, path: str, object_id: str, content: bytes, most: int = 0) -> Sendable:
        """Where an object lies that is larger than `most` bytes; one of 0.1.3 does not lie anywhere as it is sent."""
        if len(content) <= most:
            return content
        return Scratch(self._disk, content) if ids.is_legacy(object_id) else FilePart(self._disk, path)

    def _runs_in_order(self) -> contextlib.AbstractContextManager[Sequence]:
        if ids.is_legacy(self.thread_id) and not self._disk.exists(self._layout.runs_log):
            return contextlib.nullcontext(SortedIds(self._legacy_run_ids()))
        return self._run_ids.reader()

    def _legacy_run_ids(self) -> list[str]:
        """Runs that oxillama-server 0.1.3 left, by time: it kept no order."""
        found = [name for name in self._disk.names(self._layout.runs) if ids.is_legacy(name)]
        runs = [run[1] for run in map(self._run_or_none, found) if run is not None]
        return [run["id"] for run in sorted(runs, key=lambda run: (run["created_at"], run["id"]))]

    def _step_or_none(self, run_id: str, step_id: str) -> tuple[bytes, dict[str, Any]] | None:
        path = self._layout.run(run_id).step(step_id)
        try:
            content = self._disk.read(path)
        except FileNotFoundError:
            return None
        if ids.is_legacy(step_id):
            step = legacy.step(parsed(content, path), self.load_run(run_id))
            return orjson.dumps(step), step
        step = parsed(content, path, id=[step_id], run_id=[run_id], status=step_object.STATUSES, type=step_object.TYPES)
        if not step_object.has_details(step):
            raise CorruptRecord(path, "`step_details` are not those of its type")
        return content, step

    def _step_ids(self, run_id: str) -> list[str]:
        names = [name.removesuffix(".json") for name in self._disk.names(self._layout.run(run_id).steps)]
        if not ids.is_legacy(run_id):
            return sorted(filter(ids.is_ours, names))
        steps = [(step_id, self._step_or_none(run_id, step_id)) for step_id in filter(ids.is_legacy, names)]
        by_time = sorted((step[1]["created_at"], step_id) for step_id, step in steps if step is not None)
        return [step_id for _, step_id in by_time]

    def _message_being_written(self, wanted: str | None) -> tuple[str, bytes] | None:
        """The Message that the active run has begun and not finished, as far as it has come; None when it is not the wanted one."""
        run_id = self.active_run_id()
        if run_id is None:
            return None
        for step in reversed(self.load_steps(run_id)):
            if step["type"] == "message_creation" and step["status"] == "in_progress":
                message_id = step["step_details"]["message_creation"]["message_id"]
                if wanted not in (None, message_id):
                    return None
                message = self.events(run_id).message_so_far(message_id)
                return None if message is None else (message_id, orjson.dumps(message))
        return None


def _first(stored: tuple[Sendable, str] | None) -> Sendable | None:
    return None if stored is None else stored[0]
