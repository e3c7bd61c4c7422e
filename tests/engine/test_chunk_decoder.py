"""Chunks come out of a stream's bytes in the same way wherever the network cut those."""

from __future__ import annotations

import pytest

from oxillama.engine.chunk_decoder import ChunkDecoder
from oxillama.engine.faults import EngineResponseError

ANSWER = ': hello\nevent: chunk\nid: 1\ndata: {"a": "ü"}\n\nevent: ping\n\ndata:{"b":\ndata: [1]}\n\n\n\ndata: [DONE]\n\ndata: {"c": 2}\n\n'
CHUNKS = [{"a": "ü"}, {"b": [1]}]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_cuts_between_pieces_do_not_matter(line_end, size):
    answer, decoder = ANSWER.replace("\n", line_end).encode(), ChunkDecoder()
    found: list[object] = []
    for start in range(0, len(answer), size):
        if not decoder.done:
            found += decoder.read(answer[start : start + size])
    assert found == CHUNKS
    assert decoder.done


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_chunk_is_told_as_soon_as_it_is_whole(line_end):
    decoder = ChunkDecoder()
    assert list(decoder.read(f'data: {{"a": 1}}{line_end}'.encode())) == []
    assert list(decoder.read(line_end.encode())) == [{"a": 1}]


def test_half_of_a_character_is_passed_on():
    assert list(ChunkDecoder().read(b'data: "\\ud83d"\n\n')) == ["\ud83d"]


@pytest.mark.parametrize("data", [b"{", b'{"a": "\xff"}', b"DONE"])
def test_what_was_whole_before_something_else_is_not_lost(data):
    chunks = ChunkDecoder().read(b'data: {"a": 1}\n\ndata: ' + data + b"\n\n")
    assert next(chunks) == {"a": 1}
    with pytest.raises(ValueError):
        next(chunks)


def test_an_error_in_the_stream_is_the_engines_own():
    with pytest.raises(EngineResponseError) as raised:
        list(ChunkDecoder().read(b'data: {"error": {"code": 500, "message": "broke"}}\n\n'))
    assert raised.value.body == {"code": 500, "message": "broke"}
