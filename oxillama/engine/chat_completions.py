"""An engine that speaks Chat Completions over HTTP: vLLM, llama-server, Ollama, a hosted API, or the embedded one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import aiohttp

from oxillama.engine import faults, refusals
from oxillama.engine.answer import Answer
from oxillama.engine.dialect import Dialect
from oxillama.engine.faults import EngineResponseError
from oxillama.engine.http_client import EngineHttp
from oxillama.engine.interface import Activity, ChatRequest, Delta, Engine
from oxillama.engine.markers import MarkerKnowledge
from oxillama.engine.models import ModelChoice
from oxillama.engine.patience import Patience
from oxillama.engine.prompted_tools import PromptedTools
from oxillama.engine.properties import EngineProperties
from oxillama.engine.tokens import TokenKnowledge
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineError, EngineRefused, ToolsNotTaken
from oxillama.settings import Settings

#: For what is not a completion: the list of models, a token count.
_QUESTION_SECONDS = 10
#: Another's engine that is being restarted; one that is not there at all should not be waited for longer.
_RESTART_SECONDS = 5
_LOADING_POLL_SECONDS = 0.25
#: How often one request is put in other words, or to another model, before the engine's refusal stands.
_MAX_TRIES = 12
_NO_TOOLS = "The model engine's model does not take tools."

_T = TypeVar("_T")


def connect(settings: Settings) -> Engine:
    """The engine that the settings name. Nothing is sent yet."""
    engine = ChatCompletionsEngine(
        EngineEndpoint.of(settings),
        model_map=settings.model_map,
        first_token_seconds=settings.first_token_seconds,
        stall_seconds=settings.stall_seconds,
        wait_seconds=settings.loading_seconds,
        restart_seconds=_RESTART_SECONDS,
        context_tokens=settings.context_tokens,
    )
    if settings.engine_tools == "native":
        return engine
    if settings.engine_tools == "prompted" or settings.embedded:
        # Measured with xllamacpp 2026.10: even where the template takes tools, it does not hold the model to a tool choice.
        return PromptedTools(engine)
    return PromptedTools(engine, unless=engine.takes_tools)


class ChatCompletionsEngine:
    """See `interface.Engine`.

    Args:
        endpoint: where it is.
        model_map: the engine's name for a name that callers use.
        first_token_seconds: how long the first token may take.
        stall_seconds: how long the engine may be silent after it.
        wait_seconds: how long an engine may take to come up, from the request on, whatever it is asked.
        restart_seconds: the same for completions only.
        context_tokens: size of the context of an engine that does not say; None when nobody knows.
    """

    def __init__(
        self,
        endpoint: EngineEndpoint,
        *,
        model_map: Mapping[str, str] | None = None,
        first_token_seconds: float = 120,
        stall_seconds: float = 60,
        wait_seconds: float = 0,
        restart_seconds: float = 0,
        context_tokens: int | None = None,
    ) -> None:
        self._endpoint, self._http = endpoint, EngineHttp(endpoint)
        self._first_token_seconds, self._stall_seconds = first_token_seconds, stall_seconds
        self._wait_seconds, self._restart_seconds = wait_seconds, restart_seconds
        self._dialect, self._context_tokens = Dialect(), context_tokens
        self._models = ModelChoice(model_map or {}, lambda: self._question("GET", "/models", None))
        self._properties = EngineProperties(self._ask_root)
        self._tokens = TokenKnowledge(self._ask_root)
        self._markers = MarkerKnowledge(self._ask_root, self._properties.is_llama_cpp)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """See `interface.Engine.stream`. What fails before anything of the answer came is tried again, as `Patience` says."""
        patience = Patience(self._first_token_seconds, max(self._wait_seconds, self._restart_seconds))
        while True:
            spoke = False
            try:
                async with contextlib.aclosing(self._once(request)) as deltas:
                    async for delta in deltas:
                        spoke = spoke or not isinstance(delta, Activity)
                        yield delta
                return
            except (EngineResponseError, EngineError) as error:
                pause = None if spoke else patience.pause(error)
                if pause is None:
                    if isinstance(error, EngineResponseError):
                        raise faults.named(error, secrets=self._endpoint.secrets) from None
                    raise
            await asyncio.sleep(pause)

    async def _once(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """The answer to a request that is sent once, or with changes that the engine's refusals ask for."""
        # Each time: an engine that was loading before may tell its control tokens now.
        said = await self._markers.break_up({"messages": request.messages, "tools": request.tools})
        try:
            response, asked = await self._open(replace(request, **said))
        except TimeoutError:
            raise faults.too_slow() from None
        async with contextlib.aclosing(Answer(response, asked + self._first_token_seconds, self._stall_seconds).deltas()) as deltas:
            async for delta in deltas:
                yield delta

    async def context_tokens(self, model: str) -> int | None:
        """See `interface.Engine.context_tokens`."""
        served = self._models.served(model)
        return (
            await self._properties.context_tokens()
            or self._dialect.of(served).window
            or await self._models.context_tokens(served)
            or self._context_tokens
        )

    async def takes_tools(self, model: str) -> bool:
        """Whether `tools` may be sent. An engine that does not say is believed to take them, until it refuses them for this model."""
        if not self._dialect.of(self._models.served(model)).takes_tools:
            return False
        return await self._properties.supports_tools() is not False

    async def count_tokens(self, text: str) -> int:
        """See `interface.Engine.count_tokens`."""
        return await self._tokens.count_tokens(await self._markers.break_up(text))

    async def close(self) -> None:
        """Hang up everything."""
        await self._http.close()

    async def _open(self, request: ChatRequest) -> tuple[aiohttp.ClientResponse, float]:
        """The engine's answer once it began, and when it was asked for: in the words and with the model that this engine knows."""
        model = self._models.served(request.model)
        dialect = self._dialect.of(model)
        for tries_left in reversed(range(_MAX_TRIES)):
            body = dialect.said(_body(request, model))
            try:
                answer, asked = await self._post(body)
            except EngineResponseError as error:
                heard = error.without_echo(body)
                adapted = dialect.after(heard, body) if tries_left else None
                if adapted is not None:
                    dialect = adapted
                elif request.tools and refusals.takes_no_tools(heard):
                    self._dialect.remember(model, replace(dialect, takes_tools=False))
                    raise ToolsNotTaken(_NO_TOOLS) from None
                elif tries_left and faults.is_model_missing(heard):
                    model = await self._models.instead(request.model, model)
                    dialect = self._dialect.of(model)
                else:
                    self._note_window(model, heard.limits.window)
                    raise
            else:
                self._dialect.remember(model, dialect)
                return answer, asked
        raise AssertionError("the last try returns or raises")

    def _note_window(self, model: str, window: int | None) -> None:
        if window is not None:
            self._dialect.remember(model, replace(self._dialect.of(model), window=window))

    async def _post(self, body: dict[str, Any]) -> tuple[aiohttp.ClientResponse, float]:
        asked = time.monotonic()
        return await self._http.begin("/chat/completions", body, seconds=self._first_token_seconds), asked

    async def _question(self, method: str, path: str, body: dict[str, object] | None, base: str | None = None) -> object:
        """A short question besides completions; any failure is an EngineError."""

        try:
            return await self._once_loaded(
                lambda: self._http.ask(method, (base or self._endpoint.base_url) + path, body, seconds=_QUESTION_SECONDS)
            )
        except TimeoutError:
            raise faults.too_slow() from None
        except EngineResponseError as error:
            status = error.status or 500
            if status == 501 or (400 <= status < 500 and status not in (408, 429)):
                raise EngineRefused("The model engine does not answer this question.") from None
            raise faults.named(error, secrets=self._endpoint.secrets) from None

    async def _ask_root(self, method: str, path: str, body: dict[str, object] | None) -> object:
        return await self._question(method, path, body, self._endpoint.root)

    async def _once_loaded(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        give_up = time.monotonic() + self._wait_seconds
        while True:
            try:
                return await ask()
            except (EngineResponseError, EngineError) as error:
                if time.monotonic() >= give_up or not faults.is_loading(error):
                    raise
            await asyncio.sleep(_LOADING_POLL_SECONDS)


def _body(request: ChatRequest, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {
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
