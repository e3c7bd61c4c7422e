"""What a turn gathers for the engine besides its answer."""

from __future__ import annotations

import pytest

from oxillama.engine.interface import ReasoningDelta
from oxillama.runner.open_calls import Thoughts


def test_thoughts_go_back_under_the_names_they_came_with() -> None:
    thoughts = Thoughts()
    for delta in (ReasoningDelta("reasoning_content", "a"), ReasoningDelta(None, "b"), ReasoningDelta("reasoning_content", "c")):
        thoughts.add(delta)
    thoughts.add(ReasoningDelta("reasoning_details", [{"type": "reasoning.text", "text": "d"}]))
    parts = [{"type": "reasoning.text", "text": "d"}]
    assert thoughts.to_send_back() == {"reasoning_content": "ac", "reasoning_details": parts}


@pytest.mark.parametrize(("count", "goes_back"), [(1000, True), (1001, False)])
def test_thoughts_that_are_too_long_do_not_go_back(count: int, goes_back: bool, caplog: pytest.LogCaptureFixture) -> None:
    thoughts = Thoughts()
    for _ in range(count):
        thoughts.add(ReasoningDelta("reasoning_content", "x" * 1000))
    assert thoughts.characters == count * 1000
    assert bool(thoughts.to_send_back()) is goes_back
    assert ("too many to send back" in caplog.text) is not goes_back
