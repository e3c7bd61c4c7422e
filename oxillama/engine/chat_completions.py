"""An engine that speaks Chat Completions over HTTP: vLLM, llama-server, Ollama, a hosted API, or the embedded one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from oxillama.engine import faults
from oxillama.engine.affordable import AffordableForms
from oxillama.engine.answer import Answer
from oxillama.engine.asking import Asking
from oxillama.engine.dialect import Dialect
from oxillama.engine.faults import EngineResponseError
from oxillama.engine.http_client import EngineHttp
from oxillama.engine.interface import Activity, ChatRequest, Delta, Engine, ReasoningDelta
from oxillama.engine.markers import MarkerKnowledge
from oxillama.engine.models import ModelChoice
from oxillama.engine.patience import Patience
from oxillama.engine.prompted_tools import PromptedTools
from oxillama.engine.properties import EngineProperties
from oxillama.engine.tokens import TokenKnowledge
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineError, EngineRefused
from oxillama.settings import Settings

#: For what is not a completion: the list of models, a token count.
_QUESTION_SECONDS = 10
#: Another's engine that is being restarted; one that is not there at all should not be waited for longer.
_RESTART_SECONDS = 5
#: Pieces of thoughts; a try that thought for longer is not made again.
_MAX_HELD = 10_000
_LOADING_POLL_SECONDS = 0.25

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
    if settings.embedded:
        affordable = AffordableForms(engine, settings.embedded_context_tokens)
        # Measured with xllamacpp 2026.10: even where the template takes tools, it does not hold the model to a tool choice.
        return affordable if settings.engine_tools == "native" else PromptedTools(affordable)
    if settings.engine_tools == "native":
        return engine
    if settings.engine_tools == "prompted":
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
        self._dialects, self._context_tokens = Dialect(), context_tokens
        self._models = ModelChoice(model_map or {}, lambda: self._question("GET", "/models", None))
        self._properties = EngineProperties(self._ask_root)
        self._tokens = TokenKnowledge(self._ask_root)
        self._markers = MarkerKnowledge(self._ask_root, self._properties.is_llama_cpp)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """See `interface.Engine.stream`. What fails before anything of the answer came is tried again, as `Patience` says."""
        patience = Patience(self._first_token_seconds, max(self._wait_seconds, self._restart_seconds))
        while True:
            # No caller sees thoughts, so they are held until something is said: those of a try that comes to nothing are forgotten.
            spoke, thoughts = False, list[ReasoningDelta]()
            try:
                async with contextlib.aclosing(self._once(request)) as deltas:
                    async for delta in deltas:
                        if not spoke and isinstance(delta, ReasoningDelta) and len(thoughts) < _MAX_HELD:
                            thoughts.append(delta)
                            yield Activity()
                            continue
                        if not spoke and not isinstance(delta, Activity):
                            spoke = True
                            for thought in thoughts:
                                yield thought
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
        asking = Asking(replace(request, **said), self._models, self._dialects, self._endpoint.secrets)
        while True:
            spoke = False
            try:
                async with contextlib.aclosing(self._answer(asking.body())) as deltas:
                    async for delta in deltas:
                        if not spoke and not isinstance(delta, Activity):
                            spoke = True
                            asking.answered()
                        yield delta
                return
            except EngineResponseError as error:
                # Some begin their answer before they look at what they were asked (LM Studio).
                if spoke:
                    raise
                await asking.refused(error)

    async def _answer(self, body: dict[str, Any]) -> AsyncGenerator[Delta, None]:
        asked = time.monotonic()
        try:
            response = await self._http.begin("/chat/completions", body, seconds=self._first_token_seconds)
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
            or self._dialects.of(served).window
            or await self._models.context_tokens(served)
            or self._context_tokens
        )

    async def takes_tools(self, model: str) -> bool:
        """Whether `tools` may be sent. An engine that does not say is believed to take them, until it refuses them for this model."""
        if not self._dialects.of(self._models.served(model)).takes_tools:
            return False
        return await self._properties.supports_tools() is not False

    async def count_tokens(self, text: str) -> int:
        """See `interface.Engine.count_tokens`."""
        return await self._tokens.count_tokens(await self._markers.break_up(text))

    async def close(self) -> None:
        """Hang up everything."""
        await self._http.close()

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
