"""One turn of a run: ask the engine once, and write what comes back through the claim, piece by piece."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from oxillama.engine.interface import CallDelta, ChatRequest, Engine, Finished, ReasoningDelta, RefusalDelta, TextDelta, TokenUsage
from oxillama.errors import EngineAnswerUnusable, OxillamaError, PromptTooLong
from oxillama.lifecycle.claim import Claim
from oxillama.objects import run as run_object
from oxillama.runner.open_calls import OpenCalls, Thoughts
from oxillama.runner.prompt import BudgetSpent, Prompt

log = logging.getLogger(__name__)

_INCOMPLETE = {"length": "max_tokens", "content_filter": "content_filter"}

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Turn:
    """The answer as it grows. What is said before the first call is a message; after it, it has no place in the API and is left out.

    Args:
        claim: the run.
        engine: who answers.
    """

    def __init__(self, claim: Claim, engine: Engine) -> None:
        self._claim, self._engine = claim, engine
        self._functions = {tool["function"]["name"] for tool in claim.run["tools"] if tool["type"] == "function"}
        self._characters = 0
        self._message_open = False
        self._calls = OpenCalls()
        self._thoughts = Thoughts()
        self._leading_space: list[str] = []
        self._unwritten: list[str] = []
        self._failure: OxillamaError | None = None

    async def run(self) -> None:
        """Ask, write, and leave the run ended or waiting for tool outputs.

        Raises:
            EngineError: the engine failed; what was written stays.
            ClaimLost: the run is not ours any more.
        """
        try:
            prompt = await asyncio.to_thread(Prompt, self._engine, self._claim.thread, self._claim.run)
            while True:
                try:
                    await self._ask(await prompt.request())
                    return
                except PromptTooLong as error:
                    if not prompt.shorten(error):
                        raise
        except BudgetSpent as spent:
            await blocking(self._claim.run_out, spent.reason)

    async def _ask(self, request: ChatRequest) -> None:
        async with contextlib.aclosing(self._engine.stream(request)) as deltas:
            async for delta in deltas:
                if not isinstance(delta, TextDelta):
                    self._write()
                if self._failure is not None:
                    raise self._failure
                match delta:
                    case TextDelta(text) if not self._calls:
                        await self._add_text(text)
                    case RefusalDelta(text) if not self._calls:
                        await self._open_message()
                        self._claim.add_refusal(text)
                        self._characters += len(text)
                    case CallDelta():
                        await self._add_call(delta)
                    case ReasoningDelta():
                        self._thoughts.add(delta)
                    case Finished(reason, usage):
                        await self._finish(reason, self._counted(usage, request))

    async def _add_text(self, text: str) -> None:
        if not self._message_open:
            # Some models send blank lines before they call a tool: those are no message.
            self._leading_space.append(text)
            if not text.strip():
                return
            text = "".join(self._leading_space)
        await self._open_message()
        # What has arrived by now is written at once, as soon as this turn waits for more.
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._write)
        self._unwritten.append(text)
        self._characters += len(text)

    def _write(self) -> None:
        """Write the text that has come. Cheap enough for the event loop: it waits for no device."""
        texts, self._unwritten = self._unwritten, []
        if texts and self._failure is None:
            try:
                self._claim.add_text(*texts)
            except OxillamaError as error:
                self._failure = error

    async def _open_message(self) -> None:
        if not self._message_open:
            await blocking(self._claim.begin_message)
            self._message_open = True

    async def _add_call(self, delta: CallDelta) -> None:
        if delta.index > 0 and not self._claim.run["parallel_tool_calls"]:
            return
        if delta.index == len(self._calls):
            await self._open_call(delta.name or "", delta.id)
        if delta.index >= len(self._calls):
            raise EngineAnswerUnusable("The model engine sent tool calls out of order.")
        if delta.extra is not None:
            self._calls.add_extra(delta.index, delta.extra)
        if delta.arguments:
            self._calls.add_arguments(delta.index, delta.arguments)
            self._claim.add_arguments(delta.index, delta.arguments)

    async def _open_call(self, name: str, engine_id: str | None) -> None:
        if name not in self._functions:
            if any(tool["type"] == name for tool in self._claim.run["tools"]):
                raise EngineAnswerUnusable(f"The model called the tool '{name}', which this server does not execute yet.")
            raise EngineAnswerUnusable(f"The model called the function '{name[:64]}', which this run does not have.")
        if self._message_open:
            await blocking(self._claim.end_message)
            self._message_open = False
        if not self._calls:
            await blocking(self._claim.begin_calls)
        index = len(self._calls)
        self._claim.open_call(index, self._calls.open(name, engine_id))

    async def _finish(self, reason: str, usage: dict[str, Any]) -> None:
        if self._calls and reason == "length":
            await blocking(self._claim.run_out, "max_completion_tokens", usage)
        elif self._calls:
            await blocking(self._claim.require_action, self._calls.whole(), usage, self._private())
        else:
            await self._open_message()
            if not self._characters and self._leading_space:
                self._claim.add_text("".join(self._leading_space))
            await blocking(self._claim.finish, usage, _INCOMPLETE.get(reason))

    def _counted(self, usage: TokenUsage | None, request: ChatRequest) -> dict[str, Any]:
        """Tokens of this turn; estimated as a third of the characters when the engine does not say."""
        if usage is not None:
            return run_object.usage(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens)
        asked = sum(len(str(message.get("content") or "")) for message in request.messages)
        thought = -(-self._thoughts.characters // 3)
        answered = -(-(self._characters + self._calls.characters) // 3)
        return run_object.usage(-(-asked // 3), answered + thought, reasoning_tokens=thought)

    def _private(self) -> dict[str, Any]:
        """What the engine gets back with its calls in the next turn; empty where it sent nothing of its own."""
        parts = {"call_ids": self._calls.engine_ids(), "call_extras": self._calls.extras(), "reasoning": self._thoughts.to_send_back()}
        return {name: part for name, part in parts.items() if part}


async def blocking(act: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Do something that waits for a disk or a lock in a thread of its own. When cancelled, it is waited for all the same."""
    task = asyncio.ensure_future(asyncio.to_thread(act, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait({task})
        if not task.cancelled() and task.exception() is not None:
            log.info("%s was interrupted, and ended with %s", getattr(act, "__name__", act), type(task.exception()).__name__)
        raise
