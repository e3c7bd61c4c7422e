"""An engine that costs next to nothing: a process that answers Chat Completions with bytes made beforehand, at once or at a steady pace.

The name of the model says what comes: `instant-50` is 50 tokens in one write, `paced-100-50` is 100 tokens 50 ms apart. Every token
carries the moment at which it was sent, of the clock that all processes of the machine share, as `@12.345678@`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time

_CHUNK = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"m","choices":[%b]%b}\n\n'
_CHOICE = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}'
_ASKED = re.compile(rb'"model":\s*"(instant|paced)-(\d+)-?(\d*)"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_UNKNOWN = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def _sent(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _chunk(delta: bytes, finish: bytes = b"null", more: bytes = b"") -> bytes:
    return _sent(_CHUNK % (_CHOICE % (delta, finish), more))


def token(at: float) -> bytes:
    """A token that is sent now."""
    return _chunk(b'{"content":" @%.6f@"}' % at)


_FIRST = _HEAD + _chunk(b'{"role":"assistant","content":""}')


def last(tokens: int) -> bytes:
    """What follows the last token."""
    usage = b'"usage":{"prompt_tokens":11,"completion_tokens":%d,"total_tokens":%d}' % (tokens, tokens + 11)
    return _chunk(b"{}", b'"stop"') + _sent(_CHUNK % (b"", b"," + usage)) + _sent(b"data: [DONE]\n\n") + _sent(b"")


class _Answering(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not separator or len(body) < (int(length[1]) if length else 0):
            return
        self._buffer = b""
        asked = _ASKED.search(body)
        if head.startswith(b"GET /health"):
            self._transport.write(_HEALTHY)
        elif asked is None or b"/chat/completions" not in head.partition(b"\r\n")[0]:
            self._transport.write(_UNKNOWN)
        elif asked[1] == b"instant":
            self._transport.write(_FIRST + token(time.monotonic()) * int(asked[2]) + last(int(asked[2])))
        else:
            self._transport.write(_FIRST)
            self._pace(int(asked[2]), int(asked[3]) / 1000, time.monotonic(), 1)

    def _pace(self, tokens: int, gap: float, began: float, number: int) -> None:
        if self._transport.is_closing():
            return
        if number > tokens:
            self._transport.write(last(tokens))
            return
        now = time.monotonic()
        self._transport.write(token(now))
        # From the beginning on, so that a late one does not make all that follow late.
        asyncio.get_running_loop().call_later(max(0.0, began + gap * number - now), self._pace, tokens, gap, began, number + 1)


async def serve(host: str, port: int) -> None:
    """Until SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(_Answering, host, port, backlog=1024)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _host, _, _port = os.environ["OXILLAMA_BIND"].rpartition(":")
        asyncio.run(serve(_host, int(_port)))
