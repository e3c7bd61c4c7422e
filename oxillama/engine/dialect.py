"""Parameters of a chat request that an engine does not take, learned from its refusals, model by model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from oxillama.engine.faults import EngineResponseError
from oxillama.recent import Recent

#: what we send -> (what the engine's refusal mentions when it does not take it, what to send instead or None)
_SUBSTITUTES: dict[str, tuple[str, str | None]] = {
    "max_tokens": ("max_completion_tokens", "max_completion_tokens"),
    "stream_options": ("stream_options", None),
    "parallel_tool_calls": ("parallel_tool_calls", None),
}

#: Names of models that callers may make us remember.
_MAX_REMEMBERED = 1000


class Dialect:
    """What one engine's models do not take."""

    def __init__(self) -> None:
        self._unknown: Recent[str, frozenset[str]] = Recent(_MAX_REMEMBERED)

    def unknown(self, model: str) -> frozenset[str]:
        """The parameters that the model is known not to take."""
        return self._unknown.get(model, frozenset())

    def remember(self, model: str, unknown: frozenset[str]) -> None:
        """Note what a model did not take, once it answered without it: only then was the refusal really about that."""
        self._unknown[model] = unknown


def translated(body: dict[str, Any], unknown: Iterable[str]) -> dict[str, Any]:
    """The request without what the engine does not take."""
    body = dict(body)
    for parameter in unknown:
        if parameter in body:
            value = body.pop(parameter)
            substitute = _SUBSTITUTES[parameter][1]
            if substitute is not None:
                body[substitute] = value
    return body


def complained_about(error: EngineResponseError, body: dict[str, Any]) -> str | None:
    """The parameter in `body` that the engine's refusal is about, or None when it is about something else."""
    if error.status not in (400, 422):
        return None
    text = json.dumps(error.body, default=str)
    return next((name for name, (mention, _) in _SUBSTITUTES.items() if name in body and mention in text), None)
