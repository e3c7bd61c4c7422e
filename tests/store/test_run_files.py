"""What of a run is read alone, and what is kept beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from oxillama.errors import CorruptRecord, NotFound
from tests.builders import PRIVATE, a_run, a_thread


def test_a_status_is_told_without_reading_the_rest_of_the_run(store):
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    path = Path(folder._layout.run(run["id"]).status)
    # A file that ends behind its beginning cannot be read as a whole.
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(CorruptRecord):
        folder.load_run(run["id"])
    assert (folder.run_status(run["id"]), folder.active_run_id()) == ("queued", run["id"])
    path.unlink()
    with pytest.raises(NotFound):
        folder.run_status(run["id"])


def test_a_private_body_is_kept_beside_the_run_and_not_in_it(store):
    folder = a_thread(store, "x")
    run = a_run(store, folder)
    assert folder.load_private(run["id"]) == {}
    with folder.locked() as thread:
        thread.write_private(run["id"], {"turns": {"step_1": PRIVATE}})
    assert folder.load_private(run["id"]) == {"turns": {"step_1": PRIVATE}}
    assert folder.load_run(run["id"]) == run
