"""Clients that bend HTTP, send without end, or never read what they get: refused or waited for with a limit, and nobody else notices."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psutil
import pytest

from tests.contract.validation import check_error
from tests.memory_of import peak_of, taken
from tests.process_control import Server, Web, wait_until
from tests.raw_http import Http
from tests.scripted_engine import Hang, ScriptedEngine
from tests.web.test_refusals import THREADS, filled

POST = b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def replies(port: int, sent: bytes) -> bytes:
    """All that comes back for these bytes, until the server closes or has nothing more to say."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
        connection.sendall(sent)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


def answers_at_all(web: Web) -> bool:
    try:
        return Http(web.port).get("/v1/assistants").status == 200
    except ConnectionRefusedError:
        return False


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Content-Length: 2, 2",
        b"Content-Length: +2",
        b"Content-Length: 0x2",
        b"Content-Length: 2\r\n Content-Length: 40",
        b"Content-Length: " + b"9" * 5000,
    ],
)
def test_two_ways_to_tell_where_a_body_ends_are_one_too_many(bare, unchanged, headers):
    """Else what follows is a request to the one that reads it so, and a body to the proxy before it."""
    smuggled = b"0\r\n\r\nDELETE /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = replies(bare.port, POST + headers + b"\r\n\r\n" + smuggled)
    assert answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5")
    assert answer.count(b"HTTP/1.1 ") == 1 and b"smuggled" not in answer
    assert not answer.startswith(b"HTTP/1.1 500")


@pytest.mark.parametrize("length", [b"10", b"8388608"])
def test_a_body_shorter_than_announced_is_none(bare, unchanged, length):
    with socket.create_connection(("127.0.0.1", bare.port), timeout=10) as connection:
        connection.sendall(POST + b"Content-Length: " + length + b"\r\n\r\n{}")
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_pipelined_requests_are_answered_each_in_its_turn(bare, objects):
    one = f"GET {filled(THREADS + '/{thread}', objects)} HTTP/1.1\r\nHost: localhost\r\n".encode()
    answer = replies(bare.port, (one + b"\r\n") * 20 + one + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 21


def test_who_waits_to_be_told_to_continue_is_told(bare):
    with socket.create_connection(("127.0.0.1", bare.port), timeout=10) as connection:
        connection.sendall(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_an_unknown_expectation_is_a_refusal(bare, unchanged):
    answer = bare.exchange(POST + b"Content-Length: 2\r\nExpect: miracles\r\n\r\n{}")
    assert 200 <= answer.status < 500


def test_clients_that_never_read_their_answers_keep_nobody_waiting(bare, objects):
    """Each is sent more than the sockets between hold."""
    path = filled(THREADS + "/{other}/messages", objects)
    made = [bare.post(path, {"role": "user", "content": "x" * 250_000}).json["id"] for _ in range(8)]
    with ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", bare.port))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 2)
        assert all(bare.get(path + "?limit=1").status == 200 for _ in range(20))
    for message_id in made:
        bare.delete(f"{path}/{message_id}")


def test_a_thousand_idle_connections_keep_nobody_waiting(server: Server, bare: Http):
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert all(bare.get("/v1/assistants").status == 200 for _ in range(20))


class NarrowWeb(Web):
    """One worker with two threads and few connections."""

    arguments = (*Web.arguments, "--worker-connections", "110")

    def __init__(self) -> None:
        super().__init__(engine_url="http://127.0.0.1:9/v1", workers=1, environ={"OXILLAMA_THREADS": "1", "OXILLAMA_MAX_STREAMS": "1"})


def test_clients_that_say_nothing_hold_neither_a_thread_nor_the_last_place():
    with NarrowWeb() as web, ExitStack() as stack:
        wait_until(lambda: answers_at_all(web), 30, "it answers")
        for _ in range(3):
            for _ in range(90):
                stack.enter_context(socket.create_connection(("127.0.0.1", web.port)))
            assert all(Http(web.port).get("/v1/assistants").status == 200 for _ in range(20))


def test_idle_streams_beyond_the_places_are_refused_and_keep_nobody_waiting(engine: ScriptedEngine):
    engine.default = Hang()
    with Server(engine_url=engine.url, workers=1, environ={"OXILLAMA_MAX_STREAMS": "100"}) as server, ExitStack() as stack:
        http = Http(server.wait_ready().port)
        (worker,) = server.find("web-worker")
        assistant = http.post("/v1/assistants", {"model": "m"}).json["id"]
        thread = http.post("/v1/threads", {"messages": [{"role": "user", "content": "Hi"}]}).json["id"]
        run = http.post(f"/v1/threads/{thread}/runs", {"assistant_id": assistant}).json["id"]
        before = psutil.Process(worker).memory_info().rss
        streams = [stack.enter_context(http.stream("GET", f"/v1/threads/{thread}/runs/{run}/events")) for _ in range(300)]
        assert [stream.status for stream in streams] == [200] * 100 + [429] * 200
        assert {stream.headers.get("retry-after") for stream in streams[100:]} == {"1"}
        assert all(http.get(f"/v1/threads/{thread}/runs/{run}").status == 200 for _ in range(20))
        assert psutil.Process(worker).memory_info().rss - before < 64 << 20
        engine.release()


def test_memory_is_bounded_however_many_send_the_worst_of_bodies(engine: ScriptedEngine):
    """One thread and no room for streams beside it would hide what is tested; so there are many threads, and room for two bodies."""
    # As many values as are made at all, and text up to the limit.
    body = b'{"assistant_id":"x","additional_messages":[' + b"[1]," * 159_000 + b'"' + b"x" * 7_700_000 + b'"]}'
    environ = {"OXILLAMA_THREADS": "4", "OXILLAMA_MAX_STREAMS": "60"}
    with Web(engine_url=engine.url, environ=environ) as web:
        wait_until(lambda: answers_at_all(web), 30, "it answers")
        assert Http(web.port).post("/v1/threads/runs", body).status == 400
        alone = taken(web)
        with ThreadPoolExecutor(24) as pool, peak_of(web, 0.005) as peak_so_far:
            answers = [pool.submit(Http(web.port).post, "/v1/threads/runs", body) for _ in range(24)]
            while not all(answer.done() for answer in answers):
                time.sleep(0.05)
            peak = peak_so_far()
            statuses = sorted(answer.result().status for answer in answers if answer.exception() is None)
        assert set(statuses) <= {400, 429}
        with ExitStack() as stack:
            for _ in range(10):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=20))
                connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body[:-1])
            # Who comes when all of that is there finds no room for what others never finish.
            wait_until(lambda: Http(web.port).post("/v1/threads", body).error[0] == 429, 25, "there is no room")
        for answer in answers:
            if answer.exception() is None:
                check_error(answer.result().json)
        assert Http(web.port).get("/v1/assistants").status == 200
    print(json.dumps({"alone": alone >> 20, "peak": peak >> 20, "statuses": statuses}))
    # One that is parsed, in two workers together, what arrives, and what their allocators keep; else it is 24 of them.
    assert peak < 900 << 20
