"""The engine's failures, turned into the domain's errors: one table.

The texts end in a run's `last_error`, which its caller reads: no address of the engine, no key, and none of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from oxillama import engine_words
from oxillama.engine import token_limits
from oxillama.engine.echo import Echo
from oxillama.engine.refusal_words import RefusalWords
from oxillama.errors import (
    EngineAnswerUnusable,
    EngineBrokenOff,
    EngineError,
    EngineHungUp,
    EngineRateLimited,
    EngineRefused,
    EngineTimedOut,
    EngineUnavailable,
    EngineUnreachable,
    PromptTooLong,
)

#: Of an engine's words, so many characters are looked at: it may quote a whole prompt.
_MAX_MESSAGE = 10_000

_UNREACHABLE = "The model engine cannot be reached."
_BROKEN_OFF = "The model engine broke off in the middle of its answer."
_REDIRECTED = "The model engine redirects to another address, which is not followed."
_IMAGES_REFUSED = "A message of this thread holds an image, and the model engine's model does not take images."

_MODEL_MISSING = re.compile(
    r"invalid model name|model\b.{0,200}\b(?:not found|does not exist|not exist|is not available)", re.IGNORECASE | re.DOTALL
)
_NO_IMAGES = re.compile(
    r"image input is not supported|not a multimodal model|does not support image|missing data required for image|at most 0 image"
    r"|image_url is only supported"
    r"|found that support image input",  # OpenRouter, see `is_model_missing`
    re.IGNORECASE,
)


class EngineResponseError(Exception):
    """The engine answered, and said that it failed.

    Attributes:
        status: of the HTTP answer, or the one that an error inside the stream names; None when unknown.
        body: the error object, or whatever else came, decoded.
        headers: of the HTTP answer; empty for an error inside the stream.
        code: the machine-readable code and type, both in one text.
        message: the engine's own words.
        words: all that programs can read in the answer.
    """

    def __init__(self, status: int | None, body: object, headers: Mapping[str, str] | None = None) -> None:
        # Without words: those of an engine may quote a prompt, and an exception may come into a log.
        super().__init__(status)
        fields: dict[str, Any] = body if isinstance(body, dict) else {}
        told = map(_status, (fields.get(name) for name in ("code", "status", "status_code")))
        self.status = next(filter(None, told), None) if status is None else status
        self.body, self.headers = body, headers or {}
        self.code = f"{fields.get('code') or ''} {fields.get('type') or ''}"
        self.message = engine_words.told(body)[:_MAX_MESSAGE]
        self.words = RefusalWords.of(body)

    @property
    def limits(self) -> token_limits.TokenLimits:
        """What it says about lengths."""
        return token_limits.told(self.words.sentences, self.body)

    def certain_limits(self, request: object) -> token_limits.TokenLimits:
        """What it says about lengths and the caller did not write, quoted or not: what may count for others.

        Args:
            request: the body that was sent.
        """
        return token_limits.told(self.words.sentences, self.body, Echo(request))

    def without_echo(self, request: object) -> EngineResponseError:
        """The same, but for what the engine quoted of the request: that says nothing about the engine."""
        heard = EngineResponseError(self.status, self.body, self.headers)
        heard.words = self.words.without_echo(Echo(request))
        return heard


def is_model_missing(said: EngineResponseError, echo: Echo) -> bool:
    """Whether the engine says that it does not have the model that was asked for.

    OpenRouter's 404 may say that the model is there and takes no images or tools (openclaw/openclaw#99079).

    Args:
        said: the refusal, `without_echo`.
        echo: of the request, whose caller must not say so in the engine's name: another model would answer from then on.
    """
    text = said.words.sentences
    if "endpoints found that support" in text.lower():
        return False
    if said.status == 404 or "model_not_found" in said.code:
        return True
    told = _MODEL_MISSING.search(text) if said.status == 400 else None
    return told is not None and not echo.holds(told[0])


def is_loading(error: EngineResponseError | EngineError) -> bool:
    """Whether the engine may only have been started a moment ago: nothing listens yet, or it is still reading its model."""
    if isinstance(error, EngineResponseError):
        return error.status == 503 and "loading model" in error.message.lower()
    return isinstance(error, EngineUnreachable)


def named(said: EngineResponseError, *, secrets: tuple[str, ...] = ()) -> EngineError:
    """The domain's error for what an engine said.

    Args:
        said: what was raised.
        secrets: texts that must not appear in the message.
    """
    for applies, make in _TABLE:
        if applies(said):
            return make(said, secrets)
    return EngineUnavailable("The model engine failed.")


def unreachable() -> EngineError:
    """Nobody listens there."""
    return EngineUnreachable(_UNREACHABLE)


def no_answer() -> EngineError:
    """Somebody is there who does not speak HTTP."""
    return EngineUnavailable(_UNREACHABLE)


def hung_up() -> EngineError:
    """The connection was closed before an answer began."""
    return EngineHungUp("The model engine closed the connection without an answer.")


def broken_off() -> EngineError:
    """The connection ended before the answer did."""
    return EngineBrokenOff(_BROKEN_OFF)


def gave_up() -> EngineError:
    """The engine says that it does not go on."""
    return EngineAnswerUnusable(_BROKEN_OFF)


def unusable() -> EngineError:
    """Something came, but not a completion."""
    return EngineAnswerUnusable("The model engine answered with something that is not a chat completion.")


def too_slow() -> EngineError:
    """Nothing came for too long."""
    return EngineTimedOut("The model engine took too long to answer.")


def _too_long(said: EngineResponseError, _secrets: tuple[str, ...]) -> EngineError:
    window, prompt = said.limits.window, said.limits.prompt
    if window and prompt and prompt < window:
        text = f"The prompt and the answer asked for do not fit the model's context of {window} tokens: the prompt alone has {prompt}"
    else:
        text = "The prompt does not fit the model's context"
        if window:
            text += f" of {window} tokens" + (f": it has {prompt}" if prompt else "")
    return PromptTooLong(text + ".", window, prompt)


def _refused(said: EngineResponseError, secrets: tuple[str, ...]) -> EngineError:
    quote = engine_words.quotable(said.message, secrets)
    return EngineRefused(f"The model engine refused the request: {quote}" if quote else "The model engine refused the request.")


def _always(kind: type[EngineError], text: str) -> Callable[[EngineResponseError, tuple[str, ...]], EngineError]:
    return lambda _said, _secrets: kind(text)


#: The first row that applies wins. A code says more than a status: some engines answer 500 for everything, and an error
#: inside a stream often has no status at all.
_TABLE: tuple[tuple[Callable[[EngineResponseError], bool], Callable[[EngineResponseError, tuple[str, ...]], EngineError]], ...] = (
    (lambda said: "exceed_context_size" in said.code or "context_length_exceeded" in said.code, _too_long),
    (lambda said: said.status in (None, 400, 413, 422) and token_limits.is_too_long(said.words.sentences), _too_long),
    # llama.cpp and Ollama call it a server error.
    (lambda said: bool(_NO_IMAGES.search(said.message)), _always(EngineRefused, _IMAGES_REFUSED)),
    (lambda said: said.status == 429 or "rate_limit" in said.code, _always(EngineRateLimited, "The model engine is busy.")),
    (lambda said: said.status in (401, 403), _always(EngineUnavailable, "The model engine refused the server's credentials.")),
    (lambda said: said.status == 404, _always(EngineUnavailable, "The model engine does not know the model or the address asked for.")),
    (lambda said: said.status in (400, 413, 422), _refused),
    (
        lambda said: said.status in range(300, 400),
        _always(EngineUnavailable, _REDIRECTED),
    ),
    (lambda said: said.status is None and "invalid_request" in said.code, _refused),
    (lambda said: (said.status or 0) >= 500, _always(EngineUnavailable, "The model engine answered with a server error.")),
)


def _status(code: object) -> int | None:
    number = int(code) if isinstance(code, str) and code.isdecimal() else _number(code)
    return number if number is not None and 400 <= number < 600 else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
