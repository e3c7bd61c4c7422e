"""The SDK says itself which methods it has. Each must have been called by a program of this folder, not only by the SDK's own helpers."""

from __future__ import annotations

import pytest

from tests.compat.openai_python import recorded_calls

PROGRAMS = {"test_sync_client.py", "test_async_client.py", "test_raw_responses.py"}


def test_every_method_of_the_sdk_was_called(request: pytest.FixtureRequest, record_property):
    ran = {item.path.name for item in request.session.items if item.path.parent == request.path.parent}
    if not ran >= PROGRAMS or request.config.getoption("keyword"):
        pytest.skip("looks back at all programs of this folder, and they did not all run")
    offered = recorded_calls.offered()
    assert len(offered) > 100
    assert offered - recorded_calls.called == set()
    print(f"{len(offered)} of {len(offered)} methods called")
