"""Page: the list envelope, and what a caller asks of a list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

#: Of what is sent, so much is held in memory for one client. What is larger leaves in pieces from where it lies.
MAX_HELD_BYTES = 256 * 1024


class Part(Protocol):
    """An object in wire form that is too large to be held."""

    def pieces(self) -> Iterator[bytes]:
        """It, in pieces."""


#: An object in wire form.
Sendable = bytes | Part


@dataclass(frozen=True)
class PageQuery:
    """What part of a list is wanted.

    Attributes:
        limit: at most this many objects, 1 to 100.
        order: `asc` or `desc`, by creation.
        after: id of the object before the page, in the asked order; exclusive.
        before: id of the object behind the page, in the asked order; exclusive. Alone, the page that ends just before it.
    """

    limit: int = 20
    order: str = "desc"
    after: str | None = None
    before: str | None = None


@dataclass(frozen=True)
class Page:
    """Objects in wire form, in the asked order, and whether more follow.

    Attributes:
        items: pairs of id and object. Together no more than MAX_HELD_BYTES of them are in memory.
        has_more: whether the list goes on beyond this page.
    """

    items: list[tuple[str, Sendable]]
    has_more: bool

    def wire_form(self) -> Sendable:
        """The list envelope; both ids are null when it is empty (behaviour.md, section 10)."""
        held = [item for _, item in self.items if isinstance(item, bytes)]
        return _BEGINNING + b",".join(held) + self._end() if len(held) == len(self.items) else self

    def pieces(self) -> Iterator[bytes]:
        """The list envelope in pieces."""
        yield _BEGINNING
        for index, (_, item) in enumerate(self.items):
            if index:
                yield b","
            if isinstance(item, bytes):
                yield item
            else:
                yield from item.pieces()
        yield self._end()

    def _end(self) -> bytes:
        first, last = (self.items[0][0], self.items[-1][0]) if self.items else (None, None)
        return b'],"first_id":%b,"last_id":%b,"has_more":%b}' % (_json_id(first), _json_id(last), b"true" if self.has_more else b"false")


_BEGINNING = b'{"object":"list","data":['


def _json_id(object_id: str | None) -> bytes:
    return b"null" if object_id is None else f'"{object_id}"'.encode()
