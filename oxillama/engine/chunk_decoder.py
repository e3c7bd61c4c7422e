"""Decoding an answer: bytes of server-sent events to the chunks in them. An engine that does not stream sends one JSON document."""

from __future__ import annotations

from collections.abc import Iterator

from oxillama.engine import bounded_json
from oxillama.engine.faults import EngineResponseError
from oxillama.errors import EngineAnswerUnusable

MAX_LINE_BYTES = 8 * 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ChunkDecoder:
    """Takes bytes as they come.

    Attributes:
        done: whether the engine said that nothing follows.
    """

    def __init__(self) -> None:
        self._line, self._data = bytearray(), list[bytes]()
        self._event = b""
        self._data_bytes = self._answer_bytes = 0
        self._is_cr_last = False
        self._is_first_line = True
        self._is_document = False
        self.done = False

    def read(self, piece: bytes) -> Iterator[object]:
        """The chunks that are whole now: JSON, whatever its shape.

        Raises:
            EngineResponseError: the engine tells an error in passing.
            EngineAnswerUnusable: a line, the answer or the depth of its JSON is over its bound.
            ValueError: neither UTF-8 nor JSON.
        """
        self._answer_bytes += len(piece)
        if self._answer_bytes > MAX_ANSWER_BYTES:
            raise EngineAnswerUnusable(f"The model engine's answer is longer than {MAX_ANSWER_BYTES >> 20} MB.")
        if self._is_cr_last and piece.startswith(b"\n"):
            piece = piece[1:]
        self._is_cr_last = piece.endswith(b"\r")
        for line in piece.splitlines(keepends=True):
            is_whole = line.endswith((b"\n", b"\r"))
            if self._line or not is_whole:
                self._line += line
                self._check_line(len(self._line))
                if not is_whole:
                    return
                line = bytes(self._line)
                self._line.clear()
            line = line.rstrip(b"\r\n")
            if not line and not self._is_document:
                yield from self._take_event()
                if self.done:
                    return
            else:
                self._take_line(line)

    def end(self) -> Iterator[object]:
        """The last chunk, once no more bytes come: an engine may leave out the empty line behind it. Raises as `read` does."""
        if not self.done:
            self._take_line(bytes(self._line))
            yield from self._take_event()

    def _take_line(self, line: bytes) -> None:
        if self._is_first_line:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._is_first_line = not line
            self._is_document = line.lstrip().startswith(b"{")
        if self._is_document:
            self._hold(line)
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._hold(value)
        elif field == b"event":
            self._event = value
        elif field == b"error":
            # llama.cpp's server, before it said so in a field `data`.
            self._event = field
            self._hold(value)

    def _hold(self, data: bytes) -> None:
        self._data.append(data)
        # An empty one takes memory too.
        self._data_bytes += len(data) + 1
        self._check_line(self._data_bytes)

    @staticmethod
    def _check_line(size: int) -> None:
        if size > MAX_LINE_BYTES:
            raise EngineAnswerUnusable(f"The model engine's answer has a line of more than {MAX_LINE_BYTES >> 20} MB.")

    def _take_event(self) -> Iterator[object]:
        if not self._data:
            self._event = b""
            return
        data, event = b"\n".join(self._data), self._event
        self._data.clear()
        self._data_bytes, self._event = 0, b""
        if data.startswith(b"[DONE]"):
            self.done = True
        elif data:
            chunk = _parsed(data, is_error=event == b"error")
            self.done = self._is_document
            yield chunk


def _parsed(data: bytes, *, is_error: bool) -> object:
    """The chunk, unless it tells an error: in one of the ways of OpenAI, vLLM, FastAPI, or as an event of that name."""
    try:
        chunk = bounded_json.parse(data)
    except ValueError:
        if not is_error:
            raise
        chunk = data.decode(errors="replace")
    if isinstance(chunk, dict):
        if chunk.get("error"):
            raise EngineResponseError(None, chunk["error"])
        if is_error or chunk.get("object") == "error" or ("detail" in chunk and "choices" not in chunk):
            raise EngineResponseError(None, chunk)
    elif is_error:
        raise EngineResponseError(None, chunk)
    return chunk
