"""Page: the list envelope, and what a caller asks of a list."""

from __future__ import annotations

from dataclasses import dataclass


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
        items: pairs of id and JSON bytes.
        has_more: whether the list goes on beyond this page.
    """

    items: list[tuple[str, bytes]]
    has_more: bool

    def to_bytes(self) -> bytes:
        """The list envelope; both ids are null when it is empty (behaviour.md, section 10)."""
        first, last = (self.items[0][0], self.items[-1][0]) if self.items else (None, None)
        return b'{"object":"list","data":[%b],"first_id":%b,"last_id":%b,"has_more":%b}' % (
            b",".join(item for _, item in self.items),
            _json_id(first),
            _json_id(last),
            b"true" if self.has_more else b"false",
        )


def _json_id(object_id: str | None) -> bytes:
    return b"null" if object_id is None else f'"{object_id}"'.encode()
