"""Paging: one way to cut a page out of any list that is in the order of creation."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Protocol

from oxillama import ids
from oxillama.errors import NotFound
from oxillama.objects.page import MAX_HELD_BYTES, Page, PageQuery, Sendable


class Sequence(Protocol):
    """Objects in the order of creation, at positions that only grow. What a position is, is the sequence's affair."""

    def end(self) -> int:
        """The position behind the last object."""

    def forward(self, low: int, high: int) -> Iterator[tuple[str, bytes]]:
        """Ids and objects between two positions, oldest first."""

    def backward(self, low: int, high: int) -> Iterator[tuple[str, bytes]]:
        """Ids and objects between two positions, newest first."""

    def span(self, object_id: str) -> tuple[int, int] | None:
        """The positions before and behind an object, also when it has been deleted; None when it never was in here."""


class SortedIds:
    """A sequence of ids that are names in a directory, or were collected in order of creation. Objects are empty: a resolver reads them."""

    def __init__(self, object_ids: list[str]) -> None:
        self._ids = object_ids

    def end(self) -> int:
        """See Sequence."""
        return len(self._ids)

    def forward(self, low: int, high: int) -> Iterator[tuple[str, bytes]]:
        """See Sequence."""
        return ((object_id, b"") for object_id in self._ids[low:high])

    def backward(self, low: int, high: int) -> Iterator[tuple[str, bytes]]:
        """See Sequence."""
        return ((object_id, b"") for object_id in reversed(self._ids[low:high]))

    def span(self, object_id: str) -> tuple[int, int] | None:
        """See Sequence. An id of ours that is gone still has its place."""
        if not ids.is_ours(object_id):
            return (at := self._ids.index(object_id), at + 1) if object_id in self._ids else None
        return bisect_left(self._ids, object_id, key=ids.order_of), bisect_right(self._ids, object_id, key=ids.order_of)


def read_page(
    items: Sequence,
    query: PageQuery,
    noun: str,
    resolve: Callable[[str, bytes], Sendable | None] | None,
    place: Callable[[str, bytes], Sendable],
) -> Page:
    """The part of a list that `query` asks for (behaviour.md, section 10).

    Args:
        items: the list.
        query: limit, order and cursors.
        noun: what the list holds, for the error.
        resolve: id and stored object to the object as it is sent, or None to pass over it; None where all are sent as they are stored.
        place: id and object in wire form to where it lies, for what cannot be held in memory besides the rest of the page.

    Raises:
        NotFound: a cursor names something that never was in the list.
    """
    ascending = query.order == "asc"
    low, high = 0, items.end()
    for cursor, behind in ((query.after, ascending), (query.before, not ascending)):
        if cursor is None:
            continue
        span = items.span(cursor)
        if span is None:
            raise NotFound(noun, cursor)
        low, high = (max(low, span[1]), high) if behind else (low, min(high, span[0]))
    # `before` alone asks for the page that ends just before it, so that one is read from its end.
    from_the_end = query.before is not None and query.after is None
    walk = items.forward if ascending != from_the_end else items.backward
    found: list[tuple[str, Sendable]] = []
    has_more, held = False, 0
    for object_id, stored in walk(low, high):
        value = stored if resolve is None else resolve(object_id, stored)
        if value is None:
            continue
        if len(found) == query.limit:
            has_more = True
            break
        if isinstance(value, bytes):
            held += len(value)
            if held > MAX_HELD_BYTES:
                value = place(object_id, value)
        found.append((object_id, value))
    if from_the_end:
        found.reverse()
    return Page(found, has_more)
