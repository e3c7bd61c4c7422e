"""Reading ahead: taking what the engine sends as soon as it comes, whatever its reader is busy with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

#: No engine is that much faster than its hearer; one that floods it waits.
MAX_AHEAD_BYTES = 1024 * 1024
#: What a piece takes besides its bytes.
_PIECE_BYTES = 64


async def read_ahead(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same pieces, and at last the same exception.

    When a connection breaks, aiohttp drops what has come and was not taken yet. Close this generator: until then it goes on reading.

    Args:
        pieces: the body of an answer; none of them is empty.
    """
    taken: asyncio.Queue[bytes | Exception] = asyncio.Queue()
    room = asyncio.Event()
    ahead = 0

    async def take() -> None:
        nonlocal ahead
        try:
            async for piece in pieces:
                taken.put_nowait(piece)
                ahead += len(piece) + _PIECE_BYTES
                if ahead > MAX_AHEAD_BYTES:
                    room.clear()
                    await room.wait()
            taken.put_nowait(b"")
        except Exception as error:
            taken.put_nowait(error)

    taking = asyncio.create_task(take())
    try:
        while piece := await taken.get():
            if isinstance(piece, Exception):
                raise piece
            ahead -= len(piece) + _PIECE_BYTES
            if ahead <= MAX_AHEAD_BYTES:
                room.set()
            yield piece
    finally:
        taking.cancel()
        await asyncio.wait({taking})
