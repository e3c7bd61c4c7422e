"""Clients that say nothing, or stop in the middle, or send what is not HTTP: their own affair, and nobody else's."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.validation import check_error
from tests.process_control import ROOT, ProcessTree, Server, wait_until
from tests.processes.talk import ask, client_of, ended, start_run
from tests.raw_http import Http
from tests.scripted_engine import ScriptedEngine

HALF_A_HEAD = b"GET /v1/assistants HTTP/1.1\r\nHost: loc"
HALF_A_BODY = b'POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"messages"'


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD, HALF_A_BODY], ids=["nothing", "half a head", "half a body"])
def test_a_hundred_clients_that_stall_do_not_keep_others_waiting(server: Server, sent: bytes):
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port))).sendall(sent)
        with client_of(server) as client:
            begun = time.monotonic()
            assert ended(client, start_run(client, ask(client)), 5).status == "completed"
            assert time.monotonic() - begun < 5
        assert server.health()


def test_what_gunicorn_cannot_read_is_answered_in_the_envelope_of_the_api(server: Server):
    http = Http(server.port)
    many = b"".join(b"X-Number-%d: 1\r\n" % number for number in range(150))
    for sent, status in [
        (b"GET /v1/assistants?after=" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /v1/assistants HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /v1/assistants HTTP/1.1\r\n" + many + b"\r\n", 431),
        (b"this is not HTTP\r\n\r\n", 400),
    ]:
        answer = http.exchange(sent)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/json"), sent[:60]
        check_error(answer.json)
        assert b"aaaa" not in answer.body
    assert "Traceback" not in server.log()


class ImpatientWeb(ProcessTree):
    """Web with a second of patience rather than thirty, on one thread.

    Args:
        config: where to write its configuration.
        options: as for ProcessTree.
    """

    def __init__(self, config: Path, **options: object) -> None:
        super().__init__(**options, environ={"OXILLAMA_THREADS": "1", "OXILLAMA_MAX_STREAMS": "1"}, workers=1)  # type: ignore[arg-type]
        patch = "import struct\nfrom oxillama.web import worker\nworker._TIMEOUT, worker.SOCKET_SECONDS = struct.pack('ll', 1, 0), 1\n"
        config.write_text(patch + (ROOT / "gunicorn.conf.py").read_text())
        self.arguments = ("-m", "gunicorn", "-c", str(config), "wsgi:application")  # type: ignore[misc]


@pytest.fixture
def impatient(engine: ScriptedEngine, tmp_path: Path) -> Iterator[ImpatientWeb]:
    with ImpatientWeb(tmp_path / "impatient.conf.py", engine_url=engine.url) as web:
        yield web


@pytest.mark.parametrize("sent", [HALF_A_HEAD, HALF_A_BODY], ids=["half a head", "half a body"])
def test_who_stalls_in_the_middle_of_a_request_loses_the_connection(impatient: ImpatientWeb, sent: bytes):
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", impatient.port), timeout=10)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    with connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    # At most an error; and it is no reason to be alarmed.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert Http(impatient.port).get("/v1/assistants").status == 200
    assert "Traceback" not in impatient.log()


@pytest.mark.parametrize("framing", [b"Content-Length: 500000", b"Transfer-Encoding: chunked"], ids=["of known length", "chunked"])
def test_a_body_that_drips_loses_the_connection_and_one_that_flows_does_not(impatient: ImpatientWeb, framing: bytes):
    """Each byte comes in time, but there are too few of them."""

    def answers() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            return Http(impatient.port).get("/v1/assistants").status == 200
        return False

    wait_until(answers, 30, "it answers")
    head = b"POST /v1/threads HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + framing + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as connection:
        connection.sendall(head)
        with pytest.raises(OSError):
            for _ in range(100):
                connection.sendall(b"1\r\n \r\n" if b"chunked" in framing else b" ")
                time.sleep(0.2)
    size = 100_000
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as connection:
        connection.sendall(head.replace(b"500000", str(20 * size).encode()))
        for _ in range(20):
            piece = b" " * size
            connection.sendall(b"%x\r\n%b\r\n" % (size, piece) if b"chunked" in framing else piece)
            time.sleep(0.2)
        connection.sendall(b"0\r\n\r\n" if b"chunked" in framing else b"")
        # Only white space, which is no JSON.
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
    assert "Traceback" not in impatient.log()
