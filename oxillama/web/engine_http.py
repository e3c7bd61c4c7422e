"""HTTP to the engine from the web: one request and its answer, whole or piece by piece, with every failure named as the domain names it.

Each exchange has a connection of its own. So another thread can break it off at any time by shutting that connection down, and no request
is ever sent into a kept-alive connection that the engine is just closing. Nothing is repeated here: the SDKs do that.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import math
import socket
import time
from collections.abc import Iterator
from typing import Self

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineAnswerUnusable, EngineTimedOut, EngineUnavailable, EngineUnreachable
from oxillama.settings import Settings

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 5
_PIECE_BYTES = 65536
#: urllib3 names failures of its own pools; a bare connection also lets those of the layers below through.
_FAILURES = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_TIMEOUTS = (urllib3.exceptions.TimeoutError, TimeoutError)
_TOO_SLOW = "The model engine took too long to answer."


class Exchange:
    """One request to the engine, sent when this is made; then `receive`, then `read` or `pieces`. Leaving its block closes the connection.

    Args:
        settings: where the engine is, and the key for it. No key of a caller is ever sent there.
        method: of HTTP.
        path: below the engine's base URL.
        content: the body of the request; None for none.
        content_type: of that body.
        answer_seconds: how long the engine may take to take the request and to begin its answer.

    Raises:
        EngineUnreachable: nobody listens there.
        EngineUnavailable: nobody takes the request.
    """

    def __init__(
        self,
        settings: Settings,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        content_type: str = "application/json",
        answer_seconds: float,
    ) -> None:
        endpoint = EngineEndpoint.of(settings)
        url = urllib3.util.parse_url(endpoint.base_url)
        headers = dict(endpoint.headers)
        if content is not None:
            headers["Content-Type"] = content_type
        connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
        self._connection = connect((url.host or "").strip("[]"), url.port, timeout=_CONNECT_SECONDS)
        self._broken_off = self._connected = False
        try:
            self._connection.connect()
            self._connected = True
            self._socket: socket.socket = self._connection.sock
            # From here on the time-out is that of the answer, also for sending: an engine that is busy takes a long request slowly.
            self._connection.timeout = answer_seconds
            self._socket.settimeout(answer_seconds)
            # An engine that refuses a request early does not read it to its end; its answer is there nevertheless.
            with contextlib.suppress(BrokenPipeError):
                self._connection.request(method, f"{url.path or ''}{path}", content, headers, preload_content=False)
        except _FAILURES as error:
            self._connection.close()
            # For the operator: a certificate that is not trusted looks to callers like an engine that is not there. Our own is waited for.
            log.log(logging.DEBUG if settings.embedded else logging.WARNING, "the engine cannot be reached: %s", error)
            kind = EngineUnavailable if self._connected else EngineUnreachable
            raise kind("The model engine cannot be reached.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        # The connection may have given its socket to the answer.
        with contextlib.suppress(OSError):
            self._socket.close()

    def break_off(self) -> None:
        """Close the connection, from any thread: whoever waits for the engine stops waiting at once. Only before the block was left."""
        self._broken_off = True
        with contextlib.suppress(OSError):
            # Not the method of a TLS socket, which would change state that its reader uses.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    @property
    def broken_off(self) -> bool:
        """Whether we ended this, and not the engine."""
        return self._broken_off

    def receive(self) -> urllib3.HTTPResponse:
        """Wait for the answer's status and headers; its body comes by `read` or `pieces`.

        Raises:
            EngineTimedOut: nothing came in time.
            EngineUnavailable: the engine hung up instead.
            EngineAnswerUnusable: it redirects, which is never followed: the request would go to somebody whom the operator did not name.
        """
        try:
            self._response = self._connection.getresponse()
        except _TIMEOUTS:
            raise EngineTimedOut(_TOO_SLOW) from None
        except _FAILURES:
            raise EngineUnavailable("The model engine closed the connection without an answer.") from None
        if 300 <= self._response.status < 400:
            log.warning("the engine redirects with %d; OXILLAMA_ENGINE_URL must name where it leads", self._response.status)
            raise EngineAnswerUnusable("The model engine redirects to another address, which is not followed.")
        return self._response

    def read(self, max_bytes: int, *, seconds: float = math.inf) -> bytes | None:
        """The whole body, decoded; None when it is longer than that.

        Args:
            max_bytes: that anybody needs.
            seconds: that it may take to come.

        Raises:
            EngineTimedOut: it did not come in time.
            EngineAnswerUnusable: it broke off.
        """
        content, deadline = bytearray(), time.monotonic() + seconds
        for piece in self.pieces():
            content += piece
            if len(content) > max_bytes:
                return None
            if time.monotonic() > deadline:
                raise EngineTimedOut(_TOO_SLOW)
        return bytes(content)

    def pieces(self, stall_seconds: float | None = None) -> Iterator[bytes]:
        """The body as it comes, never held back.

        Args:
            stall_seconds: how long the engine may pause behind the first piece; None for as long as it may take to answer.

        Raises:
            EngineTimedOut: a piece did not come in time.
            EngineAnswerUnusable: the body broke off.
        """
        try:
            while piece := self._response.read1(_PIECE_BYTES):
                yield piece
                if stall_seconds is not None:
                    self._socket.settimeout(stall_seconds)
        except _TIMEOUTS:
            raise EngineTimedOut(_TOO_SLOW) from None
        except _FAILURES:
            raise EngineAnswerUnusable("The model engine broke off in the middle of its answer.") from None
