"""Message: one turn of a thread, from the caller or from a run."""

from __future__ import annotations

from typing import Any

from oxillama import clock, ids


def text_part(value: str) -> dict[str, Any]:
    """A text content part in the form in which it is stored and sent."""
    return {"type": "text", "text": {"value": value, "annotations": []}}


def refusal_part(value: str) -> dict[str, Any]:
    """A refusal as a content part, in the form in which it is stored and sent."""
    return {"type": "refusal", "refusal": value}


class GrowingContent:
    """The content of a message while it is written: a text, a refusal, or both, each one part, in the order in which they began."""

    def __init__(self) -> None:
        self._fragments: dict[str, list[str]] = {}

    def add(self, kind: str, fragment: str) -> dict[str, Any]:
        """Add a piece to the `text` or the `refusal`.

        Returns:
            The piece as a delta names it. Only the first of a text carries `annotations` (behaviour.md, section 6: recorded).
        """
        first = kind not in self._fragments
        self._fragments.setdefault(kind, []).append(fragment)
        index = list(self._fragments).index(kind)
        if kind == "refusal":
            return {"index": index, **refusal_part(fragment)}
        return {"index": index, "type": "text", "text": {"value": fragment, **({"annotations": []} if first else {})}}

    def fold(self, delta: dict[str, Any]) -> None:
        """Add a piece that was streamed before, as `add` returned it."""
        self.add(delta["type"], delta["refusal"] if delta["type"] == "refusal" else delta["text"]["value"])

    def parts(self) -> list[dict[str, Any]]:
        """The content so far; no parts when there is none."""
        make = {"text": text_part, "refusal": refusal_part}
        return [make[kind]("".join(fragments)) for kind, fragments in self._fragments.items()]


def caller_message(thread_id: str, values: dict[str, Any], stamp: int, now: int | None = None) -> dict[str, Any]:
    """A Message that the caller adds: complete at once.

    Args:
        thread_id: the thread it goes to.
        values: a checked create-message request; `content` is a string or a list of parts in request form.
        stamp: microseconds from which the id is made, later than every id of the thread.
        now: Unix seconds, one for all messages that come together; the clock's, when not given.
    """
    content = values["content"]
    parts = [text_part(content)] if isinstance(content, str) else [_stored_part(part) for part in content]
    now = clock.now() if now is None else now
    return {
        **_message(thread_id, ids.new_id("message", stamp), values["role"], now),
        "status": "completed",
        "completed_at": now,
        "content": parts,
        "attachments": values.get("attachments", []),
        "metadata": values.get("metadata", {}),
    }


def run_message(run: dict[str, Any], stamp: int) -> dict[str, Any]:
    """The Message that a run begins to write: `in_progress`, without content."""
    message = _message(run["thread_id"], ids.new_id("message", stamp), "assistant", clock.now())
    return {**message, "assistant_id": run["assistant_id"], "run_id": run["id"]}


def finish(message: dict[str, Any], content: list[dict[str, Any]], incomplete_reason: str | None) -> dict[str, Any]:
    """A run's Message at its end.

    Args:
        message: the message as it was begun.
        content: its parts, whole.
        incomplete_reason: None when it is complete, else `content_filter`, `max_tokens`, `run_cancelled`, `run_expired` or `run_failed`.
    """
    now = clock.now()
    if incomplete_reason is None:
        return {**message, "status": "completed", "completed_at": now, "content": content}
    return {
        **message,
        "status": "incomplete",
        "incomplete_details": {"reason": incomplete_reason},
        "incomplete_at": now,
        "content": content,
    }


def _message(thread_id: str, message_id: str, role: str, created_at: int) -> dict[str, Any]:
    return {
        "id": message_id,
        "object": "thread.message",
        "created_at": created_at,
        "assistant_id": None,
        "thread_id": thread_id,
        "run_id": None,
        "status": "in_progress",
        "incomplete_details": None,
        "incomplete_at": None,
        "completed_at": None,
        "role": role,
        "content": [],
        "attachments": [],
        "metadata": {},
    }


def _stored_part(part: dict[str, Any]) -> dict[str, Any]:
    return text_part(part["text"]) if part["type"] == "text" else part
