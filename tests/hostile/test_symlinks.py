"""Symbolic links in the data directory: who can plant them owns it anyway, but nothing outside is written to or deleted through them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from oxillama.errors import OxillamaError
from oxillama.lifecycle import threads
from oxillama.store import Store
from tests.builders import a_run, a_thread, an_assistant, files_below, open_store, say


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_bytes(b"precious")
    return folder


@pytest.mark.parametrize("place", ["trash", "tmp"])
@pytest.mark.parametrize("inside", [False, True], ids=["itself", "in a folder"])
def test_a_sweep_deletes_links_and_not_what_they_lead_to(store: Store, outside: Path, tmp_path: Path, place: str, inside: bool) -> None:
    at = tmp_path / "data" / place
    if inside:
        at = at / "deleted"
        at.mkdir()
    (at / "folder").symlink_to(outside)
    (at / "file").symlink_to(outside / "precious")
    for path in (at, outside, outside / "precious"):
        os.utime(path, (0, 0))
    store.sweep()
    assert files_below(outside) == {"precious": b"precious"}
    assert not (inside and at.exists())


@pytest.mark.parametrize("name", ["meta.json", "messages.jsonl", "runs.log", "messages.torn"])
def test_nothing_is_written_through_a_link(store: Store, outside: Path, tmp_path: Path, name: str) -> None:
    folder = a_thread(store, "Hi")
    path = tmp_path / "data" / "projects" / "default" / "threads" / folder.thread_id / name
    content = path.read_bytes() if path.exists() else b""
    (outside / "precious").write_bytes(content)
    path.unlink(missing_ok=True)
    path.symlink_to(outside / "precious")
    for act in (
        lambda: say(folder),
        lambda: a_run(store, folder, an_assistant()),
        lambda: threads.modify_thread(folder, {"metadata": {"a": "b"}}),
    ):
        try:
            act()
        except OxillamaError:
            continue
    assert files_below(outside) == {"precious": content}
    with contextlib.suppress(OxillamaError):
        threads.delete_thread(store, folder)
    store.sweep()
    assert files_below(outside) == {"precious": content}
