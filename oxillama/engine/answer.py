"""Reading one answer of the engine: its bytes as they come, its deadlines, and whether it is whole at its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import aiohttp

from oxillama.engine import faults
from oxillama.engine.chunk_decoder import ChunkDecoder
from oxillama.engine.chunks import ChunkReader
from oxillama.engine.faults import EngineResponseError
from oxillama.engine.http_client import BROKEN
from oxillama.engine.interface import Delta, Finished
from oxillama.engine.read_ahead import read_ahead
from oxillama.errors import EngineAnswerUnusable

#: After the answer's end only the token count is still to come.
_USAGE_SECONDS = 5
_DRAIN_SECONDS = 0.1
#: No engine says so much between two looks at what it said.
_MUCH_AT_ONCE_BYTES = 16_384


class Answer:
    """One streamed completion.

    Args:
        response: the engine's; closed when the answer ends or is not read any more.
        first_token_at: until when the first token must come, on the clock `time.monotonic`.
        stall_seconds: how long the engine may be silent after it.
    """

    def __init__(self, response: aiohttp.ClientResponse, first_token_at: float, stall_seconds: float) -> None:
        self._response = response
        self._first_token_at, self._stall_seconds = first_token_at, stall_seconds
        self._decoder, self._reader = ChunkDecoder(), ChunkReader()
        self._heard = self._has_choices = self._ended = False

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """The answer, piece by piece, ending with `Finished`.

        Raises:
            EngineResponseError: the engine tells an error in passing.
            EngineBrokenOff: the connection ended before the answer did.
            EngineError: nothing came in time, or what came is no completion.
        """
        try:
            until = self._first_token_at
            async with contextlib.aclosing(read_ahead(self._response.content.iter_any())) as pieces:
                while not self._decoder.done and (piece := await self._next(pieces, until)):
                    if len(piece) > _MUCH_AT_ONCE_BYTES:
                        # Whoever floods us always has something ready, and other runs want their turn.
                        await asyncio.sleep(0)
                    for chunk in self._sound(self._decoder.read(piece)):
                        for delta in self._read(chunk):
                            yield delta
                    if self._heard:
                        until = self._deadline()
                await _drain(pieces)
            self._ended = True
            for chunk in self._sound(self._decoder.end()):
                for delta in self._read(chunk):
                    yield delta
            for delta in self._reader.rest():
                yield delta
        finally:
            self._response.close()
        yield Finished(self._reason(), self._reader.usage)

    def _read(self, chunk: object) -> Iterator[Delta]:
        self._heard = True
        self._has_choices = self._has_choices or (isinstance(chunk, dict) and bool(chunk.get("choices")))
        return self._reader.read(chunk)

    def _reason(self) -> str:
        """Why the answer ended. Engines that end it in due form may leave the reason out."""
        if self._reader.reason is not None:
            return self._reader.reason
        if self._decoder.done and self._has_choices:
            return "stop"
        raise faults.broken_off() if self._heard and not self._decoder.done else faults.unusable()

    async def _next(self, pieces: AsyncIterator[bytes], until: float) -> bytes:
        """The next bytes; none when nothing more comes, or nothing more is needed."""
        try:
            async with asyncio.timeout(until - time.monotonic()):
                return await anext(pieces, b"")
        except (TimeoutError, *BROKEN) as error:
            if self._reader.reason is not None:
                return b""
            raise (faults.too_slow() if isinstance(error, TimeoutError) else faults.broken_off()) from None

    def _sound(self, chunks: Iterator[object]) -> Iterator[object]:
        """The chunks, without what is wrong behind the end of an answer."""
        try:
            yield from chunks
        except (EngineResponseError, EngineAnswerUnusable, ValueError) as error:
            self._decoder.done = True
            if self._reader.reason is not None:
                return
            if isinstance(error, ValueError):
                raise (faults.broken_off() if self._ended and self._heard else faults.unusable()) from None
            raise

    def _deadline(self) -> float:
        """Until when the next chunk must come; a comment is none."""
        now = time.monotonic()
        if self._reader.reason is not None:
            return now + min(self._stall_seconds, _USAGE_SECONDS)
        if self._reader.spoke:
            return now + self._stall_seconds
        # Some send an empty first chunk at once and then think for long.
        return max(self._first_token_at, now + self._stall_seconds)


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read to the end of the answer: only then its connection can be used again."""
    with contextlib.suppress(TimeoutError, *BROKEN):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in pieces:
                pass
