"""HTTP to the engine from the web: one request and its answer, whole or piece by piece, with every failure named as the domain names it.

Each exchange has a connection of its own. So another thread can break it off at any time by shutting that connection down, and no request
is ever sent into a kept-alive connection that the engine is just closing. Nothing is repeated here: the SDKs do that.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
from collections.abc import Iterator
from typing import Self

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineAnswerUnusable, EngineTimedOut, EngineUnavailable
from oxillama.settings import Settings

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 5
_PIECE_BYTES = 65536
#: urllib3 names failures of its own pools; a bare connection also lets those of the layers below through.
_FAILURES = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
_TIMEOUTS = (urllib3.exceptions.TimeoutError, TimeoutError)


class Exchange:
    """One request to the engine, sent when this is made; then `receive`, then `read` or `pieces`. Leaving its block closes the connection.

    Args:
        settings: where the engine is, and the key for it. No key of a caller is ever sent there.
        method: of HTTP.
        path: below the engine's base URL.
        content: the JSON of the request; None for none.
        answer_seconds: how long the engine may take to take the request and to begin its answer.

    Raises:
        EngineUnavailable: nobody takes the request.
    """

    def __init__(self, settings: Settings, method: str, path: str, content: bytes | None = None, *, answer_seconds: float) -> None:
        endpoint = EngineEndpoint.of(settings)
        url = urllib3.util.parse_url(endpoint.base_url)
        headers = dict(endpoint.headers)
        if content is not None:
            headers["Content-Type"] = "application/json"
        connect = HTTPSConnection if url.scheme == "https" else HTTPConnection
        self._connection = connect((url.host or "").strip("[]"), url.port, timeout=_CONNECT_SECONDS)
        self._broken_off = False
        try:
            self._connection.connect()
            self._socket: socket.socket = self._connection.sock
            # From here on the time-out is that of the answer, also for sending: an engine that is busy takes a long request slowly.
            self._connection.timeout = answer_seconds
            self._socket.settimeout(answer_seconds)
            # An engine that refuses a request early does not read it to its end; its answer is there nevertheless.
            with contextlib.suppress(BrokenPipeError):
                self._connection.request(method, f"{url.path or ''}{path}", content, headers, preload_content=False)
        except _FAILURES as error:
            self._connection.close()
            # For the operator: a certificate that is not trusted looks to the caller like an engine that is not there.
            log.warning("the engine cannot be reached: %s", error)
            raise EngineUnavailable("The model engine cannot be reached.") from None

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
        """
        try:
            self._response = self._connection.getresponse()
        except _TIMEOUTS:
            raise EngineTimedOut("The model engine took too long to answer.") from None
        except _FAILURES:
            raise EngineUnavailable("The model engine closed the connection without an answer.") from None
        return self._response

    def read(self) -> bytes:
        """The whole body.

        Raises:
            EngineTimedOut: its next bytes did not come in time.
            EngineAnswerUnusable: it broke off.
        """
        return b"".join(self.pieces())

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
            raise EngineTimedOut("The model engine took too long to answer.") from None
        except _FAILURES:
            raise EngineAnswerUnusable("The model engine broke off in the middle of its answer.") from None
