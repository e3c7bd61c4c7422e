"""What a request that is passed on looks like to the engine: the caller's body, but for the model's name where the engine's differs."""

from __future__ import annotations

import json
from dataclasses import dataclass

import orjson
from flask import request

from oxillama import prompt_bound
from oxillama.errors import InvalidRequest
from oxillama.schemas.loading import object_of
from oxillama.settings import Settings
from oxillama.web import embedded_bodies
from oxillama.web.multipart import with_model
from oxillama.web.parsing import done_with_values, form_body, json_body

_FORM = "multipart/form-data"
#: What is not streamed may take as long as the SDKs wait by default (behaviour.md, section 1).
_WHOLE_ANSWER_SECONDS = 600


@dataclass(frozen=True)
class EngineRequest:
    """A body for the engine.

    Attributes:
        content: its bytes.
        content_type: what they are.
        may_stream: whether a stream of events can be the answer.
        answer_seconds: how long the answer may take to begin.
    """

    content: bytes
    content_type: str
    may_stream: bool
    answer_seconds: int


def for_engine(settings: Settings, model: str | None, *, takes_forms: bool, is_completion: bool) -> EngineRequest:
    """The current request, for the engine.

    Args:
        settings: with the engine's names of models.
        model: that the URL names, and that goes before the body's.
        takes_forms: whether the endpoint takes files, in a body of several parts.
        is_completion: whether it asks for one, which the embedded engine gives within bounds (`embedded_bodies`).

    Raises:
        InvalidRequest: the body is not JSON, nor such a form where the endpoint takes one; or it is too much for the embedded engine.
    """
    if takes_forms and request.mimetype == _FORM:
        content_type, content = request.content_type or _FORM, form_body()
        if model is not None or settings.model_map:
            content = with_model(content, content_type, lambda told: _served(settings, told if model is None else model))
        # Forms are not looked into for more; who asks for a stream knows what it is.
        return EngineRequest(content, content_type, True, _WHOLE_ANSWER_SECONDS)
    content, streamed = _json_for_engine(settings, model, is_bounded=settings.embedded and is_completion)
    return EngineRequest(content, "application/json", streamed, settings.first_token_seconds if streamed else _WHOLE_ANSWER_SECONDS)


def _json_for_engine(settings: Settings, model: str | None, *, is_bounded: bool) -> tuple[bytes, bool]:
    """The body to send, and whether it asks for a stream. It is the caller's own, byte for byte, unless the engine's name differs."""
    content, parsed = json_body()
    values = object_of(parsed)
    if settings.embedded and prompt_bound.is_too_long(len(content), settings.embedded_context_tokens):
        message = (
            f"This model's maximum context length is {settings.embedded_context_tokens} tokens. Please reduce the length of the messages."
        )
        raise InvalidRequest(message, "messages", "context_length_exceeded")
    if is_bounded:
        embedded_bodies.check(values)
        # What was looked at, and not what another parser may find in the same bytes.
        try:
            content = orjson.dumps(values)
        except TypeError:
            raise InvalidRequest("We could not parse the JSON body of your request: it is nested too deeply.") from None
    asked = model if model is not None else values.get("model")
    served = _served(settings, asked) if isinstance(asked, str) else asked
    is_renamed = served != values.get("model")
    # Speech has a word of its own for it.
    may_stream = values.get("stream") is True or values.get("stream_format") == "sse"
    # There is room for the values of one body; and the engine may take minutes for its answer, when nobody needs them.
    del parsed, values
    if is_renamed:
        try:
            # Not orjson, which would make floats of integers that do not fit 64 bits.
            content = json.dumps({**json.loads(content or b"{}"), "model": served}).encode()
        except (RecursionError, ValueError):
            raise InvalidRequest(
                "We could not parse the JSON body of your request: it is nested too deeply, or a number is too long."
            ) from None
    done_with_values()
    return content or b"{}", may_stream


def _served(settings: Settings, asked: str | None) -> str | None:
    return asked if asked is None else settings.model_map.get(asked, asked)
