"""The engine of a soak, in a process of its own so that it can be killed: answers by the name of the model, now quickly, now slowly."""

from __future__ import annotations

import dataclasses
import random
import signal
import sys
from typing import Any

from tests.compat.answering_engine import answering_engine
from tests.scripted_engine import AnyReply, Reply

#: Seconds before each piece of an answer; one is chosen for each answer.
DELAYS = (0.0, 0.0, 0.02, 0.1, 0.3)


def main(port: int) -> None:
    """Serve until killed."""
    engine = answering_engine(port)
    answer = engine.default

    def at_some_pace(request: dict[str, Any]) -> AnyReply:
        assert callable(answer)
        reply = answer(request)
        return dataclasses.replace(reply, delay=random.choice(DELAYS)) if isinstance(reply, Reply) else reply

    engine.default = at_some_pace
    with engine:
        signal.pause()


if __name__ == "__main__":
    main(int(sys.argv[1]))
