"""The embedded engine, asked for no answer whose form would cost more than it can bear. See `grammar_cost`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from oxillama import grammar_cost, prompt_bound
from oxillama.engine.interface import ChatRequest, Delta, Engine
from oxillama.engine.reply_schema import arguments, reply_format, structured_answer
from oxillama.errors import EngineRefused, PromptTooLong

#: A guess for what is not counted; in any case far more than the window.
_CHARACTERS_PER_TOKEN = 3


class AffordableForms:
    """An engine that refuses a form by itself, made of llama.cpp, which dies of it. See `interface.Engine`.

    Args:
        engine: what answers all other requests.
        window: tokens of its context.
    """

    def __init__(self, engine: Engine, window: int) -> None:
        self._engine, self._window = engine, window

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """See `interface.Engine.stream`.

        Raises:
            EngineRefused: a schema in the request has too much of something, and of what.
            PromptTooLong: the prompt cannot fit.
        """
        # Before the prompt, which may hold the schemas in words. Not on the event loop: they may be megabytes.
        await asyncio.to_thread(_check, request)
        size = sum(_characters(message.get("content")) for message in request.messages)
        if prompt_bound.is_too_long(size, self._window):
            raise PromptTooLong(f"The prompt does not fit the model's context of {self._window} tokens.", self._window, None)
        async with aclosing(self._engine.stream(request)) as deltas:
            async for delta in deltas:
                yield delta

    async def context_tokens(self, model: str) -> int | None:
        """See `interface.Engine.context_tokens`."""
        return await self._engine.context_tokens(model)

    async def count_tokens(self, text: str) -> int:
        """See `interface.Engine.count_tokens`. Of a text that cannot fit, no more is told than that: it is not counted."""
        if prompt_bound.is_too_long(len(text), self._window):
            return len(text) // _CHARACTERS_PER_TOKEN
        return await self._engine.count_tokens(text)

    async def close(self) -> None:
        """Hang up everything."""
        await self._engine.close()


def _characters(content: object) -> int:
    """Of a message's text, whole or in parts."""
    if isinstance(content, list):
        return sum(_characters(part.get("text")) for part in content if isinstance(part, dict))
    return len(content) if isinstance(content, str) else 0


def _check(request: ChatRequest) -> None:
    """Look at the schema of the answer, or at the one that functions come to together."""
    schema = reply_format(request)["json_schema"]["schema"] if request.tools else structured_answer(request)
    if schema is None:
        return
    of_functions = arguments(schema)
    for name, part in of_functions.items():
        _refuse(f"the parameters of the function '{name}'", grammar_cost.problem(schema, part))
    if of_functions:
        _refuse("the functions of this run together", grammar_cost.cost_problem(schema))
    else:
        _refuse("the JSON schema of the response format", grammar_cost.problem(schema))


def _refuse(what: str, problem: str | None) -> None:
    if problem is not None:
        raise EngineRefused(f"The embedded engine cannot use {what}: the schema {problem}.")
