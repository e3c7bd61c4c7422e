"""One request on its way to an answer: in which words it is sent, after all that the engine refused of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from oxillama.engine import faults, refusals
from oxillama.engine.accommodations import Body
from oxillama.engine.dialect import Dialect
from oxillama.engine.echo import Echo
from oxillama.engine.faults import EngineResponseError
from oxillama.engine.interface import ChatRequest
from oxillama.engine.models import ModelChoice
from oxillama.errors import ToolsNotTaken

#: Requests that one may cost. None is repeated as it was, and an engine that is strict about everything needs no more.
_MAX_TRIES = 12


class Asking:
    """A request and what was learnt while it was asked.

    Args:
        request: what to ask.
        models: which of the engine's models answers.
        dialects: what is known of them; what this request brings to light is noted there.
        secrets: texts that must not appear in an error.
    """

    def __init__(self, request: ChatRequest, models: ModelChoice, dialects: Dialect, secrets: tuple[str, ...]) -> None:
        self._request, self._models, self._dialects, self._secrets = request, models, dialects, secrets
        self._model = models.served(request.model)
        self._dialect = dialects.of(self._model)
        self._tries_left = _MAX_TRIES
        self._sent: Body = {}

    def body(self) -> Body:
        """What to send next."""
        self._tries_left -= 1
        self._sent = self._dialect.said(_body(self._request, self._model))
        return self._sent

    def answered(self) -> None:
        """Note how it was asked: the engine took it."""
        self._dialects.remember(self._model, self._dialect)

    async def refused(self, error: EngineResponseError) -> None:
        """Choose other words, or another model, for what was just refused. Nothing of an answer may have come.

        Raises:
            EngineResponseError: the same; there is nothing else to try.
            ToolsNotTaken: functions have to be described in words.
            EngineUnavailable: the engine has no such model and no other.
        """
        # Not on the event loop: it compares with all of the request.
        heard = await asyncio.to_thread(error.without_echo, self._sent)
        adapted = self._dialect.after(heard, self._sent) if self._tries_left else None
        if adapted is not None:
            self._dialect = adapted
        elif refusals.takes_no_tools(heard, self._sent):
            if await asyncio.to_thread(refusals.takes_no_tools, heard, self._sent, Echo(self._sent)):
                self._dialects.remember(self._model, replace(self._dialect, takes_tools=False))
            raise ToolsNotTaken(str(faults.named(error, secrets=self._secrets))) from None
        elif self._tries_left and await asyncio.to_thread(faults.is_model_missing, heard, Echo(self._sent)):
            self._model = await self._models.instead(self._request.model, self._model)
            self._dialect = self._dialects.of(self._model)
        else:
            certain = await asyncio.to_thread(heard.certain_limits, self._sent)
            self._dialects.note_window(self._model, certain.window)
            raise error


def _body(request: ChatRequest, model: str) -> Body:
    body: Body = {
        "model": model,
        "messages": request.messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "reasoning_effort": request.reasoning_effort,
    }
    if request.response_format != "auto":
        body["response_format"] = request.response_format
    if request.tools:
        body |= {"tools": request.tools, "tool_choice": request.tool_choice, "parallel_tool_calls": request.parallel_tool_calls}
    return {name: value for name, value in body.items() if value is not None}
