"""The embedded engine, asked for no answer whose form would cost more than it can bear. See `grammar_cost`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from oxillama import grammar_cost
from oxillama.engine.interface import ChatRequest, Delta, Engine
from oxillama.engine.reply_schema import arguments, reply_format, structured_answer
from oxillama.errors import EngineRefused


class AffordableForms:
    """An engine that refuses a form by itself, made of llama.cpp, which dies of it. See `interface.Engine`.

    Args:
        engine: what answers all other requests.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """See `interface.Engine.stream`.

        Raises:
            EngineRefused: a schema in the request has too much of something, and of what.
        """
        _check(request)
        async with aclosing(self._engine.stream(request)) as deltas:
            async for delta in deltas:
                yield delta

    async def context_tokens(self, model: str) -> int | None:
        """See `interface.Engine.context_tokens`."""
        return await self._engine.context_tokens(model)

    async def count_tokens(self, text: str) -> int:
        """See `interface.Engine.count_tokens`."""
        return await self._engine.count_tokens(text)

    async def close(self) -> None:
        """Hang up everything."""
        await self._engine.close()


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
