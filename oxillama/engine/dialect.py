"""What one engine's models do not take, learnt from their refusals."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from oxillama.engine import accommodations, refusals
from oxillama.engine.accommodations import Body
from oxillama.engine.faults import EngineResponseError
from oxillama.recent import Recent

log = logging.getLogger(__name__)

#: Names come from callers, so that there may be any number of them.
_MAX_MODELS = 1000
#: An answer that is cut shorter than this is none.
_MIN_ANSWER_TOKENS = 16
_RENAMED = "max_tokens as max_completion_tokens"


@dataclass(frozen=True)
class ModelDialect:
    """How to ask one model.

    Attributes:
        made: accommodations, keys of `accommodations.CHANGES`.
        completion_tokens: that an answer may have at the most; None when nobody knows.
        window: tokens that prompt and answer may have together; None when no refusal told.
        answer_tokens: that the prompt at hand leaves; None when no refusal told. It is not remembered.
        takes_tools: whether `tools` may be sent at all.
        new: accommodations that the request at hand brought. They are not remembered as such.
    """

    made: frozenset[str] = frozenset()
    completion_tokens: int | None = None
    window: int | None = None
    answer_tokens: int | None = None
    takes_tools: bool = True
    new: frozenset[str] = frozenset()

    def said(self, body: Body) -> Body:
        """The request in this model's words."""
        limits = [tokens for tokens in (body.get("max_tokens"), self.completion_tokens, self.answer_tokens) if tokens is not None]
        if body.get("max_tokens") is not None:
            body = {**body, "max_tokens": min(limits)}
        return accommodations.apply(body, self.made)

    def after(self, refusal: EngineResponseError, body: Body) -> ModelDialect | None:
        """What to try after a refusal; None where it is about something that no other words would mend.

        Args:
            refusal: what the engine said.
            body: what it was sent, in this dialect.
        """
        asked = body.get("max_tokens") or body.get("max_completion_tokens")
        told = refusal.limits
        if asked and told.completion and told.completion < asked:
            return replace(self, completion_tokens=told.completion)
        if asked and told.window and told.prompt is not None and _MIN_ANSWER_TOKENS <= told.window - told.prompt < asked:
            return replace(self, window=told.window, answer_tokens=told.window - told.prompt)
        if told.window:
            return None
        name = refusals.wanted(refusal, body, self.made)
        if name is None:
            return None
        if name == "max_completion_tokens left out" and _RENAMED in self.made - self.new:
            # Its model, or the engine itself, is another than the one that wanted the newer name.
            return replace(self, made=self.made - {_RENAMED})
        return replace(self, made=self.made | {name}, new=self.new | {name})


class Dialect:
    """The dialects of one engine's models; those that were learnt last are kept."""

    def __init__(self) -> None:
        self._models: Recent[str, ModelDialect] = Recent(_MAX_MODELS)

    def of(self, model: str) -> ModelDialect:
        """What is known of a model."""
        return self._models.get(model) or ModelDialect()

    def note_window(self, model: str, window: int | None) -> None:
        """Note the context's size that a refusal told; None where it told none."""
        if window is not None:
            self.remember(model, replace(self.of(model), window=window))

    def remember(self, model: str, learnt: ModelDialect) -> None:
        """Note how a model was asked, once it answered: only then were its refusals really about that."""
        learnt = replace(learnt, answer_tokens=None, new=frozenset())
        new = sorted(learnt.made - self.of(model).made)
        if new:
            log.warning("The engine's model %r does not take every request as it is. From now on: %s.", model[:100], "; ".join(new))
        if learnt != self.of(model):
            self._models[model] = learnt
