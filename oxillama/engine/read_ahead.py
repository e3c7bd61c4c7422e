"""Reading ahead: taking what the engine sends as soon as it comes, whatever its reader is busy with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

#: No engine is that much faster than its hearer; one that floods it waits.
_MOST_PIECES = 1000


async def read_ahead(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same pieces, and at last the same exception.

    When a connection breaks, aiohttp drops what has come and was not taken yet. Close this generator: until then it goes on reading.

    Args:
        pieces: the body of an answer; none of them is empty.
    """
    taken: asyncio.Queue[bytes | Exception] = asyncio.Queue(_MOST_PIECES)

    async def take() -> None:
        try:
            async for piece in pieces:
                await taken.put(piece)
            await taken.put(b"")
        except Exception as error:
            await taken.put(error)

    taking = asyncio.create_task(take())
    try:
        while piece := await taken.get():
            if isinstance(piece, Exception):
                raise piece
            yield piece
    finally:
        taking.cancel()
        await asyncio.wait({taking})
