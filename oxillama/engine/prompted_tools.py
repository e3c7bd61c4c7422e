"""Functions for engines without tools: described in the prompt, and the reply held to a JSON schema of calls and answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from oxillama.engine.interface import Activity, ChatRequest, Delta, Engine, Finished, TextDelta
from oxillama.engine.reply_reader import ReplyReader
from oxillama.engine.reply_schema import is_answer_allowed, reply_format, structured_answer
from oxillama.engine.tool_prompt import in_words
from oxillama.errors import ToolsNotTaken


class PromptedTools:
    """An engine that takes `tools`, made of one that does not. See `interface.Engine`.

    A reply is one call or one answer, never several calls. A required or named choice always gives a call, unless the limit on tokens
    cuts it short: then `Finished` says `length`.

    Args:
        engine: must enforce `response_format` of type `json_schema`.
        unless: asked, with the model's name, before a request that needs it. When it says True, the request is passed on as it is, and
            only prompted when the engine then refuses tools.
    """

    def __init__(self, engine: Engine, unless: Callable[[str], Awaitable[bool]] | None = None) -> None:
        self._engine, self._unless = engine, unless

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """See `interface.Engine.stream`."""
        if not _is_about_functions(request) or (self._unless is not None and await self._unless(request.model)):
            try:
                async with aclosing(self._engine.stream(request)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except ToolsNotTaken:
                if self._unless is None:
                    raise
        async with aclosing(self._prompted(request)) as deltas:
            async for delta in deltas:
                yield delta

    async def _prompted(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        reader = None
        if not request.tools or request.tool_choice == "none":
            request = replace(request, messages=in_words(request.messages, []), tools=[])
        else:
            answer_is_text = structured_answer(request) is None
            reader = ReplyReader(answer_allowed=is_answer_allowed(request), answer_is_text=answer_is_text)
            messages = in_words(request.messages, request.tools, answer_is_text=answer_is_text)
            request = replace(request, messages=messages, response_format=reply_format(request), tools=[])
        async with aclosing(self._engine.stream(request)) as deltas:
            async for delta in deltas:
                for read in [delta] if reader is None else _read(reader, delta):
                    yield read

    async def context_tokens(self, model: str) -> int | None:
        """See `interface.Engine.context_tokens`."""
        return await self._engine.context_tokens(model)

    async def count_tokens(self, text: str) -> int:
        """See `interface.Engine.count_tokens`."""
        return await self._engine.count_tokens(text)

    async def close(self) -> None:
        """Hang up everything."""
        await self._engine.close()


def _is_about_functions(request: ChatRequest) -> bool:
    return bool(request.tools) or any(message["role"] == "tool" for message in request.messages)


def _read(reader: ReplyReader, delta: Delta) -> list[Delta]:
    match delta:
        case TextDelta(text):
            return [*reader.read(text)] or [Activity()]
        case Finished(reason, usage):
            return [*reader.finish(reason), Finished(reader.reason(reason), usage)]
    return [delta]
