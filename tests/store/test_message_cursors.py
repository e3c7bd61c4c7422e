"""Which cursors a list of messages takes, whole or of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oxillama.errors import NotFound
from oxillama.lifecycle import threads as lifecycle
from oxillama.objects.page import PageQuery
from oxillama.store import Store, ThreadFolder

UNKNOWN = f"msg_{'0' * 24}"
RUN = f"run_{'0' * 24}"


@pytest.fixture
def thread(tmp_path: Path) -> ThreadFolder:
    store = Store.open(tmp_path, durable=False)
    created = lifecycle.create_thread(store, "default", {"messages": [{"role": "user", "content": "Hi"}]})
    return store.thread("default", _id_in(created))


def _id_in(content: bytes) -> Any:
    return content.split(b'"')[3].decode()


@pytest.mark.parametrize("run_id", [None, RUN])
@pytest.mark.parametrize("side", ["after", "before"])
def test_a_message_that_never_was_in_the_thread_is_no_cursor(thread: ThreadFolder, run_id: str | None, side: str) -> None:
    with pytest.raises(NotFound, match=f"No message found with id '{UNKNOWN}'"):
        thread.page_messages(PageQuery(**{side: UNKNOWN}), run_id)


@pytest.mark.parametrize("run_id", [None, RUN])
def test_a_message_is_a_cursor_also_when_it_was_deleted_or_is_not_the_runs(thread: ThreadFolder, run_id: str | None) -> None:
    message_id = _id_in(lifecycle.create_message(thread, {"role": "user", "content": "To be deleted"}))
    lifecycle.delete_message(thread, message_id)
    for query in (PageQuery(after=message_id), PageQuery(before=message_id)):
        thread.page_messages(query, run_id)
