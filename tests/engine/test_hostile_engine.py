"""What an engine sends is bounded: in the length of a line, of an answer and of a document, in depth, and in what it costs the runner."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import Callable
from contextlib import aclosing, suppress

import pytest
from asking import TOOL, fault, heard
from raw_engine import Connection, Script, raw_engine

from oxillama import errors
from oxillama.engine.chat_completions import ChatCompletionsEngine
from oxillama.engine.interface import CallDelta, ChatRequest, Finished, TextDelta
from oxillama.engine_endpoint import EngineEndpoint

MEBIBYTE = 1024 * 1024
MAX_GROWTH_BYTES = 300 * MEBIBYTE

#: Asks what its arguments say, and tells the error and by how many bytes the process grew.
ASKING = """
import asyncio, resource, sys
from contextlib import aclosing
from oxillama.engine.chat_completions import ChatCompletionsEngine
from oxillama.engine.interface import ChatRequest
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineError

async def main(url, question):
    engine = ChatCompletionsEngine(EngineEndpoint.at(url))
    try:
        if question == "chat":
            async with aclosing(engine.stream(ChatRequest("m", [{"role": "user", "content": "hi"}]))) as deltas:
                async for _ in deltas:
                    pass
        elif question == "props":
            await engine.context_tokens("m")
        elif question == "tokens":
            await engine.count_tokens("some text")
        return "no error"
    except EngineError as error:
        return error.message
    finally:
        await engine.close()

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
print(asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 100)))
print(peak() - before)
"""


def told(script: Script, question: str = "chat") -> str:
    """What a process that asks such an engine says; it may not grow beyond the bound."""

    def patient(connection: Connection) -> None:
        with suppress(OSError):
            script(connection)

    with raw_engine(patient) as server:
        command = [sys.executable, "-c", ASKING, server.url, question]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    message, growth = done.stdout.splitlines()
    assert int(growth) < MAX_GROWTH_BYTES, f"{int(growth) // MEBIBYTE} MiB"
    return message


def streaming(pieces: Callable[[], object], times: int, before: bytes = b"", after: bytes = b"") -> Script:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        connection.send(before)
        piece = pieces()
        assert isinstance(piece, bytes)
        for _ in range(times):
            connection.send(piece)
        connection.send(after)

    return script


DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 1000 + b'"}}]}\n\n'


@pytest.mark.parametrize(
    ("script", "part"),
    [
        (streaming(lambda: b"x" * MEBIBYTE, 1024, before=b"data: "), "a line of more than 8 MB"),
        (streaming(lambda: b"data: x\n" * 100_000, 100), "a line of more than 8 MB"),
        (streaming(lambda: b"data:\n" * 100_000, 100), "a line of more than 8 MB"),
        (streaming(lambda: b": ping\n\n" * 100_000, 1000), "longer than 64 MB"),
        (streaming(lambda: DELTA * 1000, 1000), "longer than 64 MB"),
        (streaming(lambda: b"{" + b" " * MEBIBYTE, 1024), "a line of more than 8 MB"),
        (streaming(lambda: b'{"":0},' * 100_000, 11, b'data: {"choices":[', b"0]}\n\n"), "lists and objects"),
        (streaming(lambda: b"[]," * 100_000, 26, b'data: {"choices":[', b"0]}\n\n"), "lists and objects"),
        (streaming(lambda: b'"",' * 100_000, 26, b'data: {"x":[', b"0]}\n\n"), "broke off"),
        (streaming(lambda: b'{"error":' * 100_000, 2, b"data: "), "levels deep"),
    ],
    ids=["line", "event", "empty lines", "comments", "answer", "document", "objects", "lists", "strings", "errors"],
)
def test_a_flood(script: Script, part: str) -> None:
    assert part in told(script)


def compressed(size: int) -> Script:
    def script(connection: Connection) -> None:
        bomb = gzip.compress(b"data: " + bytes(size), 9)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        connection.send(head)
        connection.send(bomb)

    return script


def whole(status: int, piece: bytes, times: int) -> Script:
    def script(connection: Connection) -> None:
        connection.send(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(piece) * times}\r\n\r\n")
        for _ in range(times):
            connection.send(piece)

    return script


def missing_model_and_long_list(connection: Connection) -> None:
    if connection.request.path.endswith("/models"):
        entry = b'{"id":"a-model","object":"model","created":0,"owned_by":"engine"},'
        whole(200, b'{"data":[' + entry * 1000, 1600)(connection)
    else:
        connection.answer(404, {"error": {"message": "no such model", "code": "model_not_found"}})


@pytest.mark.parametrize(
    ("script", "question", "part"),
    [
        (compressed(256 * MEBIBYTE), "chat", "a line of more than 8 MB"),
        (compressed(256 * MEBIBYTE), "props", "no error"),
        (whole(200, b"[" * MEBIBYTE, 100), "props", "no error"),
        (whole(200, b"[" * 200_000, 1), "tokens", "no error"),
        (whole(200, b'{"a":0},' * 100_000, 100), "tokens", "no error"),
        (whole(400, b'{"a":0},' * 100_000, 100), "chat", "refused the request."),
        (whole(400, b"[" * 200_000, 1), "chat", "refused the request"),
        (missing_model_and_long_list, "chat", "no model that can chat"),
    ],
    ids=["gzip", "gzip props", "props", "depth", "tokens", "refusal", "deep refusal", "models"],
)
def test_a_flood_where_an_answer_is_read_whole(script: Script, question: str, part: str) -> None:
    assert part in told(script, question)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":['])
@pytest.mark.parametrize("levels", [101, 900, 1100, 200_000])
def test_depth_is_bounded_whatever_the_parser_would_take(opening: bytes, levels: int) -> None:
    found = fault(lambda connection: connection.answer(200, b"data: " + opening * levels + b"\n\n", "text/event-stream"))
    assert type(found) is errors.EngineAnswerUnusable
    assert "levels deep" in found.message


def test_brackets_in_a_text_are_no_depth() -> None:

    text = '[{"' * 1000 + "\\" * 3

    def script(connection: Connection) -> None:
        connection.begin_stream()
        connection.delta("stop", content=text)
        connection.done()

    assert heard(script) == [TextDelta(text), Finished("stop", None)]


def test_a_flood_leaves_others_their_turn() -> None:
    delta = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def run(url: str) -> int:
        engine, found = ChatCompletionsEngine(EngineEndpoint.at(url)), 0
        other = asyncio.create_task(take_turns())
        async with aclosing(engine.stream(ChatRequest("m", [{"role": "user", "content": "hi"}]))) as deltas:
            async for one in deltas:
                found += isinstance(one, TextDelta)
                if found == 1:
                    # So that there is always something ready.
                    await asyncio.sleep(0.5)
                    before = turns
                if found == 15_000:
                    break
        other.cancel()
        await engine.close()
        return turns - before

    with raw_engine(streaming(lambda: delta * 1000, 100, delta)) as server:
        assert asyncio.run(asyncio.wait_for(run(server.url), 60)) >= 5


def test_calls_are_bounded_in_number() -> None:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        for number in range(200):
            connection.delta(tool_calls=[{"index": number, "id": f"call_{number}", "function": {"name": "f", "arguments": "{}"}}])
        connection.delta("tool_calls")
        connection.done()

    assert "more than 128 function calls" in fault(script, tools=[TOOL]).message


def test_the_name_of_a_call_is_bounded() -> None:
    def script(connection: Connection) -> None:
        connection.begin_stream()
        connection.delta("tool_calls", tool_calls=[{"index": 0, "function": {"name": "f" * 1_000_000, "arguments": "{}"}}])
        connection.done()

    assert [len(delta.name or "") for delta in heard(script, tools=[TOOL]) if isinstance(delta, CallDelta)] == [256]
