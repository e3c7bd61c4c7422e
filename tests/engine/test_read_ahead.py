"""What is read ahead stays in order and in bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from oxillama.engine.read_ahead import read_ahead


class Source:
    """Pieces that are always there; counts those taken."""

    def __init__(self, last: int) -> None:
        self.last, self.taken = last, 0

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        while self.taken < self.last:
            self.taken += 1
            yield b"%d" % self.taken
            await asyncio.sleep(0)
        raise OSError("broken")


@pytest.mark.parametrize("last", [0, 1, 5000])
def test_the_same_pieces_and_the_same_exception(last: int) -> None:
    async def run() -> list[bytes]:
        found = []
        with pytest.raises(OSError, match="broken"):
            async with aclosing(read_ahead(Source(last).pieces())) as pieces:
                async for piece in pieces:
                    found.append(piece)
        return found

    assert asyncio.run(asyncio.wait_for(run(), 30)) == [b"%d" % number for number in range(1, last + 1)]


def test_whoever_floods_a_busy_reader_waits() -> None:
    async def run() -> None:
        source, before = Source(50_000), asyncio.all_tasks()
        async with aclosing(read_ahead(source.pieces())) as pieces:
            await anext(pieces)
            for _ in range(source.last):
                await asyncio.sleep(0)
            assert 100 < source.taken < 20_000
        assert asyncio.all_tasks() == before

    asyncio.run(asyncio.wait_for(run(), 30))
