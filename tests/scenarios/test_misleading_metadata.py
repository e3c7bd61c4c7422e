"""Metadata is the caller's: whatever it says, it is not taken for what the server itself keeps in a run."""

from __future__ import annotations

import pytest

from tests.scenarios.conversation import ended
from tests.scripted_engine import Hang


@pytest.mark.parametrize("said", ["in_progress", "requires_action", "completed"])
def test_metadata_that_names_a_status_does_not_keep_a_run_from_being_cancelled(client, http, thread, assistant, engine, said):
    engine.script(Hang())
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, metadata={"status": said})
    engine.wait_for_requests(1)
    client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    assert ended(client, http, run).status == "cancelled"
    assert engine.wait_until_hung_up()
