"""HTTP to the engine from the runner: one request, and its answer whole or as it comes, with every failure an `EngineResponseError`,
an `EngineError` or a `TimeoutError`. Nothing is tried again here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator

import aiohttp
import orjson

from oxillama import __version__
from oxillama.engine import bounded_json, faults
from oxillama.engine.faults import EngineResponseError
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineAnswerUnusable, EngineUnavailable

_CONNECT_SECONDS = 5
#: Servers commonly drop an idle connection after 5 s; to be first is to never send a request into a closing one.
_IDLE_SECONDS = 2
#: Of an answer that is read whole, decoded: a list of models, control tokens, a refusal. Parsed, it takes twenty times that at worst.
MAX_ANSWER_BYTES = 8 * 1024 * 1024


#: What comes of a connection that breaks.
BROKEN = (aiohttp.ClientError, ConnectionError)


class EngineHttp:
    """The connections to one engine. To be made and used on one event loop.

    Args:
        endpoint: where it is.
    """

    def __init__(self, endpoint: EngineEndpoint) -> None:
        # llama.cpp closes connections between two requests whenever it likes (measured: one request in ten on a busy machine found its
        # connection closed). Only a handshake for TLS costs enough to be worth keeping one.
        kept = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS) if endpoint.is_encrypted else None
        self._endpoint = endpoint
        self._session = aiohttp.ClientSession(
            connector=kept or aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": f"oxillama/{__version__}", **endpoint.headers},
            # aiohttp would also take credentials out of ~/.netrc, and then refuse to send ours.
            proxy=endpoint.proxy,
            trust_env=False,
            # The limits on silence are the caller's: those of aiohttp count bytes.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        )

    async def begin(self, path: str, body: dict[str, object], *, seconds: float) -> aiohttp.ClientResponse:
        """Post a request, and wait until its answer begins. Close the response, which hangs up if it has not ended.

        Args:
            path: below the base URL.
            body: to be sent as JSON.
            seconds: that the engine may take to take the request and to begin its answer.

        Raises:
            EngineResponseError: the engine answered with another status than 200.
            EngineUnreachable: nobody takes the request.
            EngineHungUp: somebody took it and closed the connection.
            EngineError: what came is no answer.
            TimeoutError: it took longer.
        """
        async with _translated(), asyncio.timeout(seconds):
            response = await self._send("POST", self._endpoint.base_url + path, body)
            try:
                if response.status != 200:
                    raise await _refusal(response)
            except BaseException:
                response.close()
                raise
            return response

    async def ask(self, method: str, url: str, body: dict[str, object] | None = None, *, seconds: float) -> object:
        """The JSON of a short answer; raises as `begin` does.

        Besides, EngineUnavailable when the answer is too long, and EngineAnswerUnusable when it is no JSON.

        Args:
            method: of HTTP.
            url: the whole address.
            body: to be sent as JSON; None for none.
            seconds: that the whole answer may take.
        """
        async with _translated(), asyncio.timeout(seconds), await self._send(method, url, body) as response:
            if response.status != 200:
                raise await _refusal(response)
            content = await _read(response)
        if content is None:
            # It may answer the same question about another text.
            raise EngineUnavailable(f"The model engine's answer is longer than {MAX_ANSWER_BYTES >> 20} MB.")
        try:
            return bounded_json.parse(content)
        except ValueError:
            raise faults.unusable() from None

    async def close(self) -> None:
        """Hang up everything."""
        await self._session.close()

    async def _send(self, method: str, url: str, body: dict[str, object] | None) -> aiohttp.ClientResponse:
        headers = {"Content-Type": "application/json"} if body is not None else None
        content = None if body is None else _json(body)
        # A redirect would take the conversation to somebody whom the operator did not name.
        return await self._session.request(method, url, data=content, headers=headers, allow_redirects=False)


@contextlib.asynccontextmanager
async def _translated() -> AsyncGenerator[None, None]:
    """aiohttp's exceptions quote what came and name the engine's address; neither may come into a log."""
    try:
        yield
    except aiohttp.ClientConnectorError:
        raise faults.unreachable() from None
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError):
        raise faults.hung_up() from None
    except BROKEN:
        raise faults.no_answer() from None
    except ValueError:
        raise faults.unusable() from None


async def _refusal(response: aiohttp.ClientResponse) -> EngineResponseError:
    """What the engine said instead of answering, as far as it can be read."""
    content = await _read(response) or b""
    try:
        body = bounded_json.parse(content)
    except (EngineAnswerUnusable, ValueError):
        body = content.decode(errors="replace")
    if isinstance(body, list) and body:
        # Gemini's endpoint puts its error into a list.
        body = body[0]
    error = body.get("error", body) if isinstance(body, dict) else body
    return EngineResponseError(response.status, error, response.headers)


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The decoded body; None when there is more of it than anybody needs."""
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            return None
    return bytes(content)


def _json(body: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # Half a character, which JSON can say and UTF-8 cannot.
        return json.dumps(body).encode()
