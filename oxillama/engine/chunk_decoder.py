"""Decoding a streamed completion: bytes of server-sent events to the chunks in them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from oxillama.engine.faults import EngineResponseError


class ChunkDecoder:
    """Takes bytes as they come.

    Attributes:
        done: whether the engine said that nothing follows.
    """

    def __init__(self) -> None:
        self._line, self._data = bytearray(), list[bytes]()
        self._is_cr_last = False
        self.done = False

    def read(self, piece: bytes) -> Iterator[object]:
        """The chunks that are whole now: JSON, whatever its shape.

        Raises:
            EngineResponseError: the engine tells an error in passing.
            ValueError: neither UTF-8 nor JSON.
        """
        if self._is_cr_last and piece.startswith(b"\n"):
            piece = piece[1:]
        self._is_cr_last = piece.endswith(b"\r")
        for part in piece.splitlines(keepends=True):
            self._line += part
            if not part.endswith((b"\n", b"\r")):
                return
            line = bytes(self._line).rstrip(b"\r\n")
            self._line.clear()
            if line:
                field, _, value = line.partition(b":")
                if field == b"data":
                    self._data.append(value.removeprefix(b" "))
            elif self._data:
                data = b"\n".join(self._data)
                self._data.clear()
                if data.startswith(b"[DONE]"):
                    self.done = True
                    return
                yield self._chunk(data)

    def _chunk(self, data: bytes) -> object:
        # Not orjson: an engine may cut a character into two escapes and send one half.
        chunk: object = json.loads(data.decode())
        error = chunk.get("error") if isinstance(chunk, dict) else None
        if error:
            raise EngineResponseError(None, error)
        return chunk
