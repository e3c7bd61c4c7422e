"""Chunks come out of a stream's bytes in the same way wherever the network cut those."""

from __future__ import annotations

import httpx2
import openai
import pytest

from oxillama.engine.chunk_decoder import ChunkDecoder

ANSWER = ': hello\nevent: chunk\nid: 1\ndata: {"a": "ü"}\n\nevent: ping\n\ndata:{"b":\ndata: [1]}\n\n\n\ndata: [DONE]\n\ndata: {"c": 2}\n\n'
CHUNKS = [{"a": "ü"}, {"b": [1]}]


def new_decoder() -> ChunkDecoder:
    return ChunkDecoder(httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions"))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_cuts_between_pieces_do_not_matter(line_end, size):
    answer, decoder = ANSWER.replace("\n", line_end).encode(), new_decoder()
    found: list[object] = []
    for start in range(0, len(answer), size):
        if not decoder.done:
            found += decoder.read(answer[start : start + size])
    assert found == CHUNKS
    assert decoder.done


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_chunk_is_told_as_soon_as_it_is_whole(line_end):
    decoder = new_decoder()
    assert list(decoder.read(f'data: {{"a": 1}}{line_end}'.encode())) == []
    assert list(decoder.read(line_end.encode())) == [{"a": 1}]


def test_half_of_a_character_is_passed_on():
    assert list(new_decoder().read(b'data: "\\ud83d"\n\n')) == ["\ud83d"]


@pytest.mark.parametrize("data", [b"{", b'{"a": "\xff"}', b"DONE"])
def test_what_was_whole_before_something_else_is_not_lost(data):
    chunks = new_decoder().read(b'data: {"a": 1}\n\ndata: ' + data + b"\n\n")
    assert next(chunks) == {"a": 1}
    with pytest.raises(ValueError):
        next(chunks)


def test_an_error_in_the_stream_is_the_engines_own():
    with pytest.raises(openai.APIError) as raised:
        list(new_decoder().read(b'data: {"error": {"code": 500, "message": "broke"}}\n\n'))
    assert raised.value.body == {"code": 500, "message": "broke"}
