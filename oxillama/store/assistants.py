"""AssistantStore: one file an assistant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from oxillama import ids
from oxillama.errors import NotFound
from oxillama.objects.assistant import modified
from oxillama.objects.page import Page, PageQuery, Sendable
from oxillama.store import locks
from oxillama.store.disk import Disk
from oxillama.store.layout import Layout
from oxillama.store.paging import SortedIds, read_page
from oxillama.store.records import parsed, whole
from oxillama.store.stored import FilePart, read_stored


class AssistantStore:
    """The assistants of all projects. Every method that changes something is atomic, and durable when it returns."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        self._disk, self._layout = disk, layout

    def insert(self, project: str, assistant: dict[str, Any]) -> bytes:
        """Store a new Assistant; its wire form."""
        content = orjson.dumps(assistant)
        self._disk.replace(self._layout.assistant(project, assistant["id"]), content)
        return content

    def get(self, project: str, assistant_id: str) -> bytes:
        """An Assistant in wire form. Raises NotFound, CorruptRecord."""
        path = self._layout.assistant(project, assistant_id)
        try:
            return whole(self._disk.read(path), path, id=[assistant_id])
        except FileNotFoundError:
            raise NotFound("assistant", assistant_id) from None

    def stored(self, project: str, assistant_id: str) -> Sendable:
        """An Assistant as it is sent. Raises as `get` does."""
        try:
            return read_stored(self._disk, self._layout.assistant(project, assistant_id), id=[assistant_id])[0]
        except FileNotFoundError:
            raise NotFound("assistant", assistant_id) from None

    def update(self, project: str, assistant_id: str, changes: dict[str, Any]) -> bytes:
        """Change fields of an Assistant; its new wire form. Raises NotFound."""
        with locks.exclusive(self._layout.assistants(project)):
            content = orjson.dumps(modified(parsed(self.get(project, assistant_id), assistant_id), changes))
            self._disk.replace(self._layout.assistant(project, assistant_id), content)
        return content

    def delete(self, project: str, assistant_id: str) -> None:
        """Remove an Assistant. Runs keep their own copy of what they need. Raises NotFound."""
        folder = self._layout.assistants(project)
        with locks.exclusive(folder), self._disk.syncing_names(folder):
            if not self._disk.unlink(self._layout.assistant(project, assistant_id)):
                raise NotFound("assistant", assistant_id)

    def page(self, project: str, query: PageQuery) -> Page:
        """A part of the list. A cursor may name one that was deleted; nothing tells that from one that never was."""
        names = (name.removesuffix(".json") for name in self._disk.names(self._layout.assistants(project)))
        known = SortedIds(sorted(filter(ids.is_ours, names)))
        return read_page(
            known, query, "assistant", lambda assistant_id, _: self._stored_or_none(project, assistant_id), self._place(project)
        )

    def _place(self, project: str) -> Callable[[str, bytes], Sendable]:
        return lambda assistant_id, _: FilePart(self._disk, self._layout.assistant(project, assistant_id))

    def _stored_or_none(self, project: str, assistant_id: str) -> Sendable | None:
        try:
            return self.stored(project, assistant_id)
        except NotFound:
            return None
