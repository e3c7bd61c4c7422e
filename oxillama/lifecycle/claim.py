"""Claim: a run while one runner owns it. Every change is fenced: it counts only while the claim is the latest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from oxillama import clock, ids
from oxillama.errors import ClaimLost, NotFound
from oxillama.lifecycle.ending import end, end_early, open_step, untold
from oxillama.objects import message as message_object
from oxillama.objects import run as run_object
from oxillama.objects import step as step_object
from oxillama.objects.stream_event import call_arguments, call_opened, content_delta, frame, message_event, run_event, step_event
from oxillama.store import LockedThread, Store
from oxillama.store.event_log import KEPT_EVERY_BYTES
from oxillama.store.run_queue import ActiveRun
from oxillama.store.thread_reader import ThreadReader


class Claim:
    """Make it with `Claim.take`. Close it, whatever happened.

    Methods raise ClaimLost when the run was cancelled, expired or claimed by others; `settle` then does what is left to do.

    Attributes:
        run: the run as this runner knows it.
    """

    def __init__(self, store: Store, entry: ActiveRun, run: dict[str, Any], last_stamp: int) -> None:
        self._store, self._entry, self.run = store, entry, run
        self.thread = store.thread(entry.project, entry.thread_id)
        self._events = self.thread.events(entry.run_id).writer(entry.run_id)
        self._last_stamp = last_stamp
        self._message: dict[str, Any] | None = None
        self._content = message_object.GrowingContent()
        self._step: dict[str, Any] | None = None
        self._streamed = False
        self._keep_at = KEPT_EVERY_BYTES

    @classmethod
    def take(cls, store: Store, run_id: str, runner_id: str) -> Claim | None:
        """Claim a run that was offered. None when another runner has it, or it is not queued any more."""
        offered = store.queue.load(run_id) if store.queue.take(run_id) else None
        if offered is None:
            return None
        try:
            with store.thread(offered.project, offered.thread_id).locked() as thread:
                entry, run = store.queue.load(run_id), thread.load_run(run_id)
                if entry is None or run["status"] != "queued":
                    return None
                thread.settle_messages(run_id)
                entry = replace(entry, attempt=entry.attempt + 1, runner=runner_id, turn_usage=None)
                store.queue.save(entry)
                started = run_object.moved(run, "in_progress")
                thread.write_run(started)
                events = thread.events(run_id)
                events.append(_untold(thread, run) + run_event(started))
                last_stamp = max([thread.last_stamp(), *(ids.stamp_of(step["id"]) for step in thread.load_steps(run_id))])
                return cls(store, entry, started, last_stamp)
        except NotFound:
            # Created by a process that died before the run was written, or its thread was deleted since: recovery drops the entry.
            return None

    def is_wanted(self) -> bool:
        """Whether the run is still to be worked on. Cheap enough to ask several times a second, whatever the run holds."""
        try:
            return self.thread.run_status(self.run["id"]) == "in_progress"
        except NotFound:
            return False

    def begin_message(self) -> None:
        """Open a step and the message it writes."""
        with self._owned() as (thread, run):
            self._message = message_object.run_message(run, self._stamp())
            self._content = message_object.GrowingContent()
            self._step = step_object.message_step(run, self._message["id"], self._stamp())
            self._streamed = True
            thread.write_step(self._step)
            self._events.append(_opened(self._step) + frame("thread.message.created", self._message) + message_event(self._message))

    def add_text(self, *fragments: str) -> None:
        """Stream pieces of the open message's text, each in an event of its own, all in one append."""
        self._add("text", *fragments)

    def add_refusal(self, fragment: str) -> None:
        """Stream a piece of the open message's refusal."""
        self._add("refusal", fragment)

    def end_message(self) -> None:
        """End the open message because tool calls follow it; the tokens of the turn will be counted with those."""
        with self._owned() as (thread, _):
            message, step = self._finished(None, None)
            # First of all: without it, recovery takes a turn whose message is in the log for one that has ended.
            self._store.queue.save(replace(self._entry, turn_usage=run_object.usage(0, 0)))
            thread.write_message(message)
            thread.write_step(step)
            self._events.append(message_event(message) + step_event(step))
        self._message = self._step = None

    def begin_calls(self) -> None:
        """Open a step for the tool calls of this turn."""
        with self._owned() as (thread, run):
            self._step = step_object.tool_calls_step(run, self._stamp())
            self._streamed = True
            thread.write_step(self._step)
            self._events.append(_opened(self._step))

    def open_call(self, index: int, call: dict[str, Any]) -> None:
        """Stream the beginning of a tool call: `call` without arguments."""
        assert self._step is not None
        self._events.append(call_opened(self._step["id"], index, call))

    def add_arguments(self, index: int, fragment: str) -> None:
        """Stream a piece of a tool call's arguments."""
        assert self._step is not None
        self._events.append(call_arguments(self._step["id"], index, fragment))

    def require_action(self, calls: list[dict[str, Any]], usage: dict[str, Any], private: dict[str, Any] | None = None) -> None:
        """The turn ended in tool calls: wait for their outputs, and let go of the run.

        Args:
            calls: as the step shows them.
            usage: tokens of the turn.
            private: what the engine is to get back with the calls in the next turn, and no caller sees; see `private_turns`.
        """
        with self._owned() as (thread, run):
            assert self._step is not None
            if private:
                # First: whoever sees the calls may go on with the next turn.
                turns = private_turns(thread, run["id"])
                thread.write_private(run["id"], {"turns": {**turns, self._step["id"]: private}})
            step = {**self._step, "step_details": {"type": "tool_calls", "tool_calls": calls}}
            thread.write_step(step)
            counted = replace(self._entry, turn_usage=usage)
            self._store.queue.save(counted)
            wait_for_outputs(thread, run, step)
            # Only now: an entry that names a dead runner tells recovery that the event may be missing.
            self._store.queue.save(replace(counted, runner=None))

    def finish(self, usage: dict[str, Any], incomplete_reason: str | None) -> None:
        """The turn ended in the open message, and the run with it.

        Args:
            usage: tokens of the turn.
            incomplete_reason: None, or the message's: `max_tokens` or `content_filter`.
        """
        with self._owned() as (thread, run):
            message, step = self._finished(usage, incomplete_reason)
            status, details = outcome_of(message)
            end(self._store, thread, run, status, message=message, step=step, incomplete_details=details)

    def run_out(self, reason: str, usage: dict[str, Any] | None = None) -> None:
        """End the run `incomplete` because it may not spend another token.

        Args:
            reason: `max_completion_tokens` or `max_prompt_tokens`.
            usage: tokens of the turn, when one had begun.
        """
        with self._owned() as (thread, run):
            step = open_step(thread, run["id"])
            if step is not None:
                step = step_object.finish(step, "completed", usage=usage)
            end(self._store, thread, run, "incomplete", step=step, incomplete_details={"reason": reason})

    def stop(self, status: str, *, last_error: dict[str, str] | None = None) -> None:
        """End the run before its own end: `failed`, with `last_error`, or `expired`."""
        # What was said is read out of the log; a long text is not wanted twice.
        self._content = message_object.GrowingContent()
        with self._owned() as (thread, run):
            end_early(self._store, thread, run, status, last_error=last_error)

    def release(self) -> None:
        """Queue the run again: this runner is stopping and has streamed nothing of the turn."""
        with self._owned() as (thread, run):
            queue_again(self._store, thread, self._entry, run)

    def settle(self) -> None:
        """After ClaimLost: end the run if it is being cancelled and still ours; else whoever took it takes care of it."""
        with contextlib.suppress(ClaimLost), self._owned(status="cancelling") as (thread, run):
            end_early(self._store, thread, run, "cancelled")

    @property
    def has_streamed(self) -> bool:
        """Whether anything of this turn is in the log."""
        return self._streamed

    def close(self) -> None:
        """Give the log's descriptor back."""
        self._events.close()

    @contextlib.contextmanager
    def _owned(self, status: str = "in_progress") -> Iterator[tuple[LockedThread, dict[str, Any]]]:
        """The locked thread and the run as stored, if it is still ours and in this status."""
        run_id = self._entry.run_id
        try:
            with self.thread.locked() as thread:
                entry, run = self._store.queue.load(run_id), thread.load_run(run_id)
                if entry is None or (entry.attempt, entry.runner) != (self._entry.attempt, self._entry.runner) or run["status"] != status:
                    raise ClaimLost(run_id)
                yield thread, run
        except NotFound:
            raise ClaimLost(run_id) from None

    def _add(self, kind: str, *fragments: str) -> None:
        assert self._message is not None
        message_id = self._message["id"]
        self._events.append(b"".join(content_delta(message_id, self._content.add(kind, fragment)) for fragment in fragments))
        if self._events.end >= self._keep_at:
            so_far = {**self._message, "content": self._content.parts()}
            self._keep_at = self.thread.events(self._entry.run_id).keep_so_far(so_far, self._events.end)

    def _finished(self, usage: dict[str, Any] | None, incomplete_reason: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The open message and its step. Programs read the first part of every answer, so an empty one has an empty text."""
        assert self._message is not None and self._step is not None
        message = message_object.finish(self._message, self._content.parts() or [message_object.text_part("")], incomplete_reason)
        return message, step_object.finish(self._step, "completed", usage=usage)

    def _stamp(self) -> int:
        self._last_stamp = max(clock.microseconds(), self._last_stamp + 1)
        return self._last_stamp


def private_turns(thread: ThreadReader, run_id: str) -> dict[str, dict[str, Any]]:
    """What `require_action` kept of a run's turns that ended in calls: the step's id -> its private body."""
    turns: dict[str, dict[str, Any]] = thread.load_private(run_id).get("turns", {})
    return turns


def queue_again(store: Store, thread: LockedThread, entry: ActiveRun, run: dict[str, Any], told_before: bytes = b"") -> dict[str, Any]:
    """Put a run back into the queue, with its entry as given but for the runner; `told_before` are events that come first."""
    store.queue.save(replace(entry, runner=None))
    queued = run_object.moved(run, "queued")
    thread.write_run(queued)
    thread.events(run["id"]).append(told_before + run_event(queued))
    store.queue.offer(run["id"])
    return queued


def _untold(thread: LockedThread, run: dict[str, Any]) -> bytes:
    """The events that should have led to a queued run and are not in its log: a power cut took them, or who queued it died."""
    told = [name for name, _ in thread.events(run["id"]).frames()]
    if told[-1:] == ["thread.run.queued"]:
        return b""
    return b"".join([*untold(thread, run), run_event(run)])


def wait_for_outputs(thread: LockedThread, run: dict[str, Any], step: dict[str, Any]) -> None:
    """Put a run in `requires_action` for the calls of a step."""
    calls = [step_object.without_output(call) for call in step["step_details"]["tool_calls"]]
    required = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
    waiting = run_object.moved(run, "requires_action", required_action=required)
    thread.write_run(waiting)
    thread.events(run["id"]).append(run_event(waiting))


def outcome_of(message: dict[str, Any]) -> tuple[str, dict[str, str] | None]:
    """The status in which a run ends with this message as its last, and its `incomplete_details`.

    The API knows two reasons for an incomplete run, and a content filter is neither: the message alone names it.
    """
    if message["status"] == "completed":
        return "completed", None
    reason = message["incomplete_details"]["reason"]
    if reason == "max_tokens":
        return "incomplete", {"reason": "max_completion_tokens"}
    return "incomplete", {}


def _opened(step: dict[str, Any]) -> bytes:
    return frame("thread.run.step.created", step) + step_event(step)
