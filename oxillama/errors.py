"""Every error of the domain. No HTTP in here: `web/error_handlers.py` holds the table to status codes.

OxillamaError
  RequestRefused              the caller can act
    InvalidRequest              a parameter is missing, of the wrong type or out of range
    ThreadBusy                  a run is active on the thread
    RunTransitionRefused        the run is in the wrong state for this
    ThreadFull                  a thread would hold more messages than it may
    ForeignPage                 a web page of another site asks, and there are no keys
  AuthenticationFailed        no key, or one we do not know
  NotFound                    no such object for this caller
  LimitReached                too much of something is open; try again later
  StoreError                  the operator can act
    StoreFull                   no space or no inodes left
    StoreUnavailable            the data directory cannot be read or written
    CorruptRecord               a file holds something that is not what it should be
  EngineError                 the model engine failed; becomes a run's `last_error`
    EngineUnavailable           cannot be reached, or answers with a server error
      EngineUnreachable           nobody listens at its address
      EngineHungUp                closed the connection instead of answering
    EngineRateLimited           answers 429
    EngineRefused               says that the request itself is wrong
    PromptTooLong               says that the prompt does not fit its context
    EngineTimedOut              no token for too long
    EngineAnswerUnusable        answers, but not with a completion
      EngineBrokenOff             the connection ended before the answer did
  ClaimLost                   this runner no longer owns the run; whoever does will finish it
  SettingsInvalid             the environment holds a setting that cannot be used
"""

from __future__ import annotations

from pathlib import Path


class OxillamaError(Exception):
    """Root of all errors that oxillama raises on purpose."""


class RequestRefused(OxillamaError):
    """The request cannot be carried out as it is.

    Attributes:
        message: the text of the API's error envelope.
        param: dotted path of the offending parameter, or None.
        code: the envelope's machine-readable code, or None.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.code = message, param, code


class InvalidRequest(RequestRefused):
    """A parameter is missing, of the wrong type, or out of range."""


class ThreadBusy(RequestRefused):
    """A run is active on the thread. Texts: behaviour.md, section 8."""

    def __init__(self, thread_id: str, run_id: str, adding: str) -> None:
        text = {
            "message": f"Can't add messages to {thread_id} while a run {run_id} is active.",
            "run": f"Thread {thread_id} already has an active run {run_id}.",
        }
        super().__init__(text[adding])


class RunTransitionRefused(RequestRefused):
    """The run's status does not allow what was asked of it.

    Attributes:
        status: the status that stood in the way.
    """

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


class ThreadFull(RequestRefused):
    """A thread would hold more messages than it may. Nothing was added."""

    def __init__(self, most: int) -> None:
        super().__init__(f"A thread cannot hold more than {most} messages. Create another thread.", None, "thread_message_limit_exceeded")


class ForeignPage(RequestRefused):
    """A web page of another site asks, or may, and there are no keys that would tell it from the operator's own programs."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message, None, code)


class AuthenticationFailed(OxillamaError):
    """The request has no key (None), or one that no project owns."""

    def __init__(self, key: str | None) -> None:
        super().__init__("no API key" if key is None else "unknown API key")
        self.key = key


class NotFound(OxillamaError):
    """No such object for this caller.

    Args:
        noun: as the API names it: assistant, thread, message, run, run step.
        object_id: the id that was asked for.
    """

    def __init__(self, noun: str, object_id: str) -> None:
        super().__init__(f"No {noun} found with id '{object_id}'.")
        self.noun, self.object_id = noun, object_id


class LimitReached(OxillamaError):
    """Too much of something is open at once. `retry_after_seconds` says when to come back."""

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StoreError(OxillamaError):
    """The data directory is at fault. `path` names the file for the operator's log, never for the caller."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = str(path), reason


class StoreFull(StoreError):
    """No space or no inodes left."""


class StoreUnavailable(StoreError):
    """The data directory cannot be read or written."""


class CorruptRecord(StoreError):
    """A file holds something that is not what it should be."""


class EngineError(OxillamaError):
    """The model engine failed. `code` and `message` become the run's `last_error`; no host or port in either."""

    code = "server_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or answers with a server error."""


class EngineUnreachable(EngineUnavailable):
    """Nobody listens at the engine's address, so it has not seen the request."""


class EngineHungUp(EngineUnavailable):
    """The engine closed the connection instead of answering. It may have died of the request, or with it."""


class EngineRateLimited(EngineError):
    """The engine answered 429."""

    code = "rate_limit_exceeded"


class EngineRefused(EngineError):
    """The engine says that the request itself is wrong."""

    code = "invalid_prompt"


class ToolsNotTaken(EngineRefused):
    """The engine's model takes no tools. Nothing was streamed."""


class PromptTooLong(EngineRefused):
    """The prompt does not fit the engine's context.

    Attributes:
        context_tokens: the size of the context, where the engine named it.
        prompt_tokens: the size of the prompt, where the engine named it.
    """

    def __init__(self, message: str, context_tokens: int | None = None, prompt_tokens: int | None = None) -> None:
        super().__init__(message)
        self.context_tokens, self.prompt_tokens = context_tokens, prompt_tokens


class EngineTimedOut(EngineError):
    """No token came for too long."""


class EngineAnswerUnusable(EngineError):
    """The engine answered, but not with a completion, or broke off in the middle of one."""


class EngineBrokenOff(EngineAnswerUnusable):
    """The connection ended before the answer did."""


class ClaimLost(OxillamaError):
    """This runner no longer owns the run: another claimed, cancelled or expired it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the claim on {run_id} is lost")
        self.run_id = run_id


class SettingsInvalid(OxillamaError):
    """A setting cannot be used. The message names it and says what is allowed."""
