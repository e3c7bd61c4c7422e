"""An engine that cannot answer just now is waited for, as long as nothing of its answer was streamed."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from asking import MESSAGES, STOP, ask, collect, streaming
from raw_engine import Connection, RawEngine, Script, raw_engine

from oxillama import errors
from oxillama.engine.chat_completions import ChatCompletionsEngine
from oxillama.engine.interface import Activity, ChatRequest, ReasoningDelta, TextDelta
from oxillama.engine.patience import asked_to_wait
from oxillama.engine_endpoint import EngineEndpoint

ANSWER = streaming({"content": "x"})


def then(*scripts: Script) -> Script:
    """The first request meets the first script, and so on; the last stays."""
    return lambda connection: scripts[min(len(connection.engine.requests), len(scripts)) - 1](connection)


def not_ready(status: int, *headers: str, **error: Any) -> Script:
    def script(connection: Connection) -> None:
        lines = "".join(f"{header}\r\n" for header in (*headers, "Connection: close", "Content-Type: application/json"))
        connection.send(f"HTTP/1.1 {status} X\r\n{lines}\r\n")
        if error:
            connection.send(json.dumps({"error": error}))

    return script


def hang_up(_: Connection) -> None:
    """No answer."""


def break_off(connection: Connection) -> None:
    connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n")
    connection.delta(role="assistant")


@pytest.mark.parametrize(
    "failure",
    [
        not_ready(503, message="Loading model", code=503),
        not_ready(503, "Retry-After: 0.2"),
        not_ready(429, "retry-after-ms: 200", "Retry-After: 3600", message="slow down"),
        lambda connection: (connection.begin_stream(), connection.chunk(error={"code": 429, "message": "slow down"})),
        lambda connection: connection.answer(200, {"error": {"code": 503, "message": "warming up"}}),
    ],
    ids=["503", "503 in seconds", "429 in milliseconds", "429 in the stream", "503 in a 200"],
)
def test_one_that_is_loading_or_limits_its_rate_is_asked_again(failure: Script) -> None:
    with raw_engine(then(failure, failure, ANSWER)) as server:
        assert ask(server)[-1] == STOP
        assert len(server.requests) == 3


def test_it_is_not_asked_again_before_it_wants_to_be() -> None:
    arrived: list[float] = []

    def script(connection: Connection) -> None:
        arrived.append(time.monotonic())
        then(not_ready(429, "Retry-After: 1"), ANSWER)(connection)

    with raw_engine(script) as server:
        ask(server)
    assert arrived[1] - arrived[0] >= 1


@pytest.mark.parametrize(
    ("failure", "kind", "code"),
    [
        (not_ready(503, message="Loading model"), errors.EngineUnavailable, "server_error"),
        (not_ready(429), errors.EngineRateLimited, "rate_limit_exceeded"),
    ],
)
def test_waiting_ends_with_the_time_for_the_first_token(failure: Script, kind: type[errors.EngineError], code: str) -> None:
    with raw_engine(failure) as server:
        began = time.monotonic()
        with pytest.raises(kind) as raised:
            ask(server, options={"first_token_seconds": 1.5})
        assert time.monotonic() - began < 15
        assert raised.value.code == code
        assert len(server.requests) > 1


@pytest.mark.parametrize(
    "failure",
    [not_ready(429, "Retry-After: 3600"), not_ready(429, code="insufficient_quota", message="You exceeded your current quota")],
    ids=["longer than there is time", "no money"],
)
def test_what_waiting_cannot_mend_is_not_waited_for(failure: Script) -> None:
    with raw_engine(failure) as server:
        with pytest.raises(errors.EngineRateLimited):
            ask(server)
        assert len(server.requests) == 1


@pytest.mark.parametrize("failure", [hang_up, break_off])
def test_a_connection_that_breaks_before_anything_was_said_is_made_once_more(failure: Script) -> None:
    with raw_engine(then(failure, ANSWER)) as server:
        assert ask(server)[-1] == STOP
        assert len(server.requests) == 2


def test_thoughts_of_a_try_that_came_to_nothing_are_forgotten() -> None:
    def think(connection: Connection) -> None:
        break_off(connection)
        connection.delta(reasoning_content="first")

    thoughtful = streaming({"reasoning_content": "second"}, {"content": "x"})
    with raw_engine(then(think, thoughtful)) as server:
        heard = ask(server)
    assert [delta.thoughts for delta in heard if isinstance(delta, ReasoningDelta)] == ["second"]
    assert heard[-1] == STOP


@pytest.mark.parametrize("failure", [hang_up, break_off])
def test_a_request_that_the_engine_may_have_died_of_is_not_sent_for_ever(failure: Script) -> None:
    with raw_engine(failure) as server:
        with pytest.raises(errors.EngineError) as raised:
            ask(server)
        assert isinstance(raised.value, errors.EngineHungUp | errors.EngineBrokenOff)
        assert len(server.requests) == 2


def test_what_was_streamed_is_not_asked_for_again() -> None:
    def script(connection: Connection) -> None:
        break_off(connection)
        connection.delta(content="x")

    with raw_engine(script) as server:
        with pytest.raises(errors.EngineBrokenOff):
            ask(server)
        assert len(server.requests) == 1


def come_up_later(server: RawEngine) -> None:
    def come_up() -> None:
        server.listener.listen()
        server.serve()

    timer = threading.Timer(0.4, come_up)
    timer.daemon = True
    timer.start()


def test_one_that_nobody_can_connect_to_is_waited_for() -> None:
    loading = not_ready(503, message="Loading model", type="unavailable_error", code=503)
    with raw_engine(then(loading, ANSWER), listening=False) as server:
        come_up_later(server)
        assert ask(server, options={"restart_seconds": 20})[-1] == STOP
        assert len(server.requests) == 2


def test_one_that_dies_of_a_request_is_asked_again_when_it_is_back() -> None:
    def die(connection: Connection) -> None:
        # Closing alone would let the accept that is under way take one more connection.
        dying.listener.shutdown(socket.SHUT_RDWR)
        dying.listener.close()

    with raw_engine(ANSWER, listening=False) as back, raw_engine(die) as dying:
        port = dying.port

        async def run() -> list[Any]:
            engine = ChatCompletionsEngine(EngineEndpoint.at(f"http://127.0.0.1:{port}/v1"), restart_seconds=20)
            asking = asyncio.create_task(collect(engine, ChatRequest("m", MESSAGES)))
            await asyncio.to_thread(dying.arrived.wait, 10)
            await asyncio.sleep(0.6)
            back.listener.close()
            back.listener = socket.create_server(("127.0.0.1", port))
            threading.Thread(target=back.serve, daemon=True).start()
            try:
                return await asking
            finally:
                await engine.close()

        assert asyncio.run(asyncio.wait_for(run(), 30)) == [TextDelta("x"), Activity(), STOP]


def test_waiting_for_a_connection_ends() -> None:
    with raw_engine(ANSWER, listening=False) as server, pytest.raises(errors.EngineUnreachable):
        ask(server, options={"restart_seconds": 0.5})


@pytest.mark.parametrize("failure", [not_ready(429, "Retry-After: 60"), not_ready(503, "Retry-After: 60")])
def test_a_wait_is_cut_by_cancelling(failure: Script) -> None:
    async def run(server: RawEngine) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        asking = asyncio.create_task(collect(engine, ChatRequest("m", MESSAGES)))
        assert await asyncio.to_thread(server.arrived.wait, 10)
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait({asking}, timeout=5)
        assert asking.cancelled()
        await engine.close()

    with raw_engine(failure) as server:
        asyncio.run(asyncio.wait_for(run(server), 30))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"retry-after-ms": "1500", "Retry-After": "7"}, 1.5),
        ({"retry-after-ms": "x", "Retry-After": "7"}, 7),
        ({"Retry-After": "Fri, 99 Foo 2030 00:00:00 GMT"}, None),
    ],
)
def test_what_an_engine_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_to_wait(headers) == seconds


def test_a_date_to_come_back_at() -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    assert 90 < (asked_to_wait({"Retry-After": format_datetime(later, usegmt=True)}) or 0) <= 100
