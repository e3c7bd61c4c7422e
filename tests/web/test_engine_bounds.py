"""An engine that answers with too much, too slowly or with a redirect costs the web a bounded amount of memory and of time."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from oxillama import settings
from oxillama.errors import EngineTimedOut
from oxillama.factory import create_app
from oxillama.web import engine_state
from oxillama.web.engine_http import Exchange
from tests.engine.raw_engine import Connection, raw_engine
from tests.process_control import Server, free_port, wait_until
from tests.raw_http import Http
from tests.scripted_engine import Raw, Reply, ScriptedEngine, http_error, loading, redirect

MIB = 1024 * 1024
CHAT: Any = {"model": "scripted-chat", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture(scope="module")
def server(engine: ScriptedEngine) -> Iterator[Server]:
    with Server(engine_url=engine.url, workers=1) as server:
        yield server.wait_ready()


def peak_memory(server: Server) -> int:
    """Bytes that the web worker has had in memory at most."""
    (worker,) = server.find("web-worker")
    status = Path(f"/proc/{worker}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) * 1024


def bomb(of: bytes) -> Raw:
    return Raw(200, gzip.compress(of), headers={"Content-Encoding": "gzip"})


SPACES = b'{"data":[' + b" " * 100 * MIB + b"]}"


@pytest.mark.parametrize("answer", [Raw(200, SPACES), bomb(SPACES)], ids=["plain", "compressed"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/scripted-chat"])
def test_a_list_of_models_of_100_mb(server: Server, engine: ScriptedEngine, path: str, answer: Raw):
    before = peak_memory(server)
    engine.instead_of_models.append(answer)
    assert Http(server.port).get(path).error[:2] == (502, "The model engine's list of models is longer than 8 MB.")
    assert peak_memory(server) - before < 40 * MIB


def test_a_compressed_list_of_models(server: Server, engine: ScriptedEngine):
    engine.instead_of_models.append(bomb(b'{"data":[{"id":"m"}]}'))
    assert [model["id"] for model in Http(server.port).get("/v1/models").json["data"]] == ["m"]


@pytest.mark.parametrize(
    "content", [b"[" * 200_000 + b"]" * 200_000, b'{"data":[' + b'{"a":' * 200_000, b"\xff", b'{"data":[{"id":1,"created":"x"}]}']
)
def test_a_list_of_models_that_is_none(server: Server, engine: ScriptedEngine, content: bytes):
    engine.instead_of_models.append(Raw(200, content))
    said = "The model engine answered with something that is not a list of models."
    assert Http(server.port).get("/v1/models").error[:2] == (502, said)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(server: Server, engine: ScriptedEngine, status: int):
    said = "The model engine redirects to another address, which is not followed."
    with ScriptedEngine() as elsewhere:
        engine.instead_of_models.append(redirect(status, f"{elsewhere.url}/models"))
        engine.script(redirect(status, f"{elsewhere.url}/chat/completions"))
        assert Http(server.port).get("/v1/models").error[:2] == (502, said)
        assert Http(server.port).post("/v1/chat/completions", CHAT).error[:2] == (502, said)
        assert elsewhere.paths == []


@pytest.mark.parametrize("compressed", [False, True])
def test_a_long_answer_leaves_in_pieces(server: Server, engine: ScriptedEngine, compressed: bool):
    content = b'{"object":"list","data":"' + b"x" * 100 * MIB + b'"}'
    engine.other_endpoints["/embeddings"] = bomb(content) if compressed else Raw(200, content)
    before = peak_memory(server)
    with httpx2.stream("POST", f"{server.base_url}/embeddings", json={"input": "x"}, timeout=60) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert sum(map(len, answer.iter_bytes())) == len(content)
    assert peak_memory(server) - before < 40 * MIB


def test_a_stream_of_one_line(server: Server, engine: ScriptedEngine):
    engine.script(Raw(200, b"data: " + b"x" * 100 * MIB, "text/event-stream"))
    before = peak_memory(server)
    with httpx2.stream("POST", f"{server.base_url}/chat/completions", json={**CHAT, "stream": True}, timeout=60) as answer:
        assert sum(map(len, answer.iter_bytes())) >= 100 * MIB
    assert peak_memory(server) - before < 40 * MIB


@pytest.mark.parametrize(
    "head", [b"X: " + b"x" * 200_000, b"X: x\r\n" * 1000, b"x" * 200_000], ids=["a long line", "many lines", "no header"]
)
def test_an_answer_with_an_endless_head(tmp_path: Path, head: bytes):
    with raw_engine(lambda connection: connection.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n{}")) as raw:
        client = create_app(settings.read({"OXILLAMA_DATA_DIR": str(tmp_path), "OXILLAMA_ENGINE_URL": raw.url})).test_client()
        for answer in (client.get("/v1/models"), client.post("/v1/chat/completions", json=CHAT)):
            said = "The model engine closed the connection without an answer."
            assert (answer.status_code, answer.json["error"]["message"]) == (503, said)


@pytest.mark.parametrize("length", [10, 3 * MIB])
def test_half_of_an_answer_is_no_answer(server: Server, engine: ScriptedEngine, length: int):
    """Told as an error while that is possible; else the connection breaks, and the SDKs try again."""
    broken = b"%x\r\n%b\r\nnot a size\r\n" % (length, b" " * length)
    engine.script(*[Raw(200, broken, headers={"Transfer-Encoding": "chunked"})] * 2)
    with openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client, pytest.raises(openai.APIError) as failed:
        client.chat.completions.create(**CHAT)
    assert isinstance(failed.value, openai.InternalServerError if length == 10 else openai.APIConnectionError)
    with openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=2) as client:
        assert client.chat.completions.create(**CHAT).choices[0].message.content
    assert "Traceback" not in server.log()


def test_a_refusal_that_quotes_everything_keeps_its_status(server: Server, engine: ScriptedEngine):
    engine.script(http_error(422, "x" * 20 * MIB, "invalid_request_error"))
    before = peak_memory(server)
    said = "The model engine refused the request with status 422."
    assert Http(server.port).post("/v1/chat/completions", CHAT).error[:2] == (422, said)
    assert peak_memory(server) - before < 20 * MIB


def test_who_hangs_up_on_a_list_of_models_frees_the_engine():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        with Server(engine_url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1", workers=1) as server:
            client = socket.create_connection(("127.0.0.1", server.wait_ready().port))
            client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
            asked, _ = silent.accept()
            with asked:
                client.close()
                # Well before the engine's own time is over.
                asked.settimeout(5)
                while asked.recv(65536):
                    pass


def test_an_answer_that_drips(engine: ScriptedEngine):
    """Each piece comes in time, and the whole does not."""
    engine.script(Reply(["a"] * 1000, delay=0.05))
    chosen = settings.read({"OXILLAMA_ENGINE_URL": engine.url})
    began = time.monotonic()
    with Exchange(chosen, "POST", "/chat/completions", b'{"stream":true}', answer_seconds=5) as exchange:
        exchange.receive()
        with pytest.raises(EngineTimedOut):
            exchange.read(MIB, seconds=0.3)
    assert time.monotonic() - began < 10


# The embedded engine while it is loading; see `loading()`, and llama.cpp listens only some time after it was started.


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[tuple[Any, int]]:
    """The application with an embedded engine on a port where nobody listens yet."""
    port = free_port()
    environ = {"OXILLAMA_DATA_DIR": str(tmp_path), "OXILLAMA_EMBEDDED_PORT": str(port), "OXILLAMA_MAX_STREAMS": "1"}
    yield create_app(settings.read(environ)), port


ASKED = [
    pytest.param(lambda client: client.get("/v1/models"), id="models"),
    pytest.param(lambda client: client.get("/v1/models/scripted-chat"), id="model"),
    pytest.param(lambda client: client.post("/v1/chat/completions", json=CHAT), id="completion"),
    pytest.param(lambda client: client.post("/v1/chat/completions", json={**CHAT, "stream": True}), id="stream"),
]


@pytest.mark.parametrize("ask", ASKED)
def test_an_embedded_engine_that_is_loading_is_waited_for(embedded: tuple[Any, int], ask: Any):
    app, port = embedded
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(ask(app.test_client())))
    asking.start()
    places = app.extensions["oxillama"].streams
    wait_until(lambda: not _is_place_free(places), 20, "it waits in the place of a stream")
    engine = ScriptedEngine(port)
    engine.instead_of_models.append(loading())
    engine.script(loading())
    with engine:
        asking.join(20)
        assert answers[0].status_code == 200, answers[0].data
        answers[0].close()
        assert len(engine.paths) == 2
    wait_until(lambda: _is_place_free(places), 20, "the place is free again")


def _is_place_free(places: Any) -> bool:
    # Only looked at: to take the place would be to refuse it to the request.
    return bool(places._slots._value)


@pytest.mark.parametrize("ask", ASKED[:2])
def test_without_a_place_nobody_waits(embedded: tuple[Any, int], ask: Any):
    app, _ = embedded
    with app.extensions["oxillama"].streams.reserve():
        assert ask(app.test_client()).status_code == 503


@pytest.mark.parametrize("ask", ASKED)
def test_nobody_waits_when_the_server_is_to_stop(embedded: tuple[Any, int], ask: Any):
    app, _ = embedded
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(ask(app.test_client())))
    asking.start()
    wait_until(lambda: not _is_place_free(app.extensions["oxillama"].streams), 20, "it waits in the place of a stream")
    app.extensions["oxillama"].streams.stop()
    asking.join(20)
    assert answers[0].status_code == 503


def test_health_says_that_the_engine_is_loading(embedded: tuple[Any, int], monkeypatch: pytest.MonkeyPatch):
    app, port = embedded
    client = app.test_client()
    assert client.get("/health").json["engine"] == "loading"
    with ScriptedEngine(port) as engine:
        assert client.get("/health").json["engine"] == "loading", "it was asked a moment ago"
        assert engine.paths == []
        monkeypatch.setattr(engine_state, "_REMEMBERED_SECONDS", 0.0)
        assert client.get("/health").json["engine"] == "ready"
        assert engine.paths == ["GET /v1/health"]


def test_health_asks_nothing_of_an_engine_of_ones_own(server: Server, engine: ScriptedEngine):
    before = len(engine.paths)
    assert "engine" not in Http(server.port).get("/health").json
    assert len(engine.paths) == before


def test_an_engine_of_ones_own_is_not_waited_for(tmp_path: Path):
    environ = {"OXILLAMA_DATA_DIR": str(tmp_path), "OXILLAMA_ENGINE_URL": f"http://127.0.0.1:{free_port()}/v1"}
    client = create_app(settings.read(environ)).test_client()
    began = time.monotonic()
    assert client.get("/v1/models").status_code == 503
    assert client.post("/v1/chat/completions", json=CHAT).status_code == 503
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("name", ["type", "param", "code"])
def test_names_in_a_refusal_are_short_and_name_no_address(server: Server, engine: ScriptedEngine, name: str):
    for value in ("a" * 900_000, f"{engine.url}/secret", f"no route to 127.0.0.1:{engine.port}"):
        engine.script(Raw(400, json.dumps({"error": {"message": "no", name: value}}).encode()))
        told = Http(server.port).post("/v1/chat/completions", CHAT).json["error"][name]
        assert told == ("invalid_request_error" if name == "type" else None)
    engine.script(Raw(400, json.dumps({"error": {"message": "no", name: "messages[0].content"}}).encode()))
    assert Http(server.port).post("/v1/chat/completions", CHAT).json["error"][name] == "messages[0].content"


@pytest.mark.parametrize("pause", ["1\x1b[31m", "1\xe9", "9" * 5000])
def test_headers_that_are_none_are_not_the_callers_fault(pause: str):
    def answer(connection: Connection) -> None:
        connection.send(f"HTTP/1.1 429 X\r\nRetry-After: {pause}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode("latin-1"))

    with raw_engine(answer) as odd, Server(engine_url=odd.url, workers=1) as other:
        refused = Http(other.wait_ready().port).post("/v1/chat/completions", CHAT)
        assert refused.status == 429
        assert pause not in refused.headers.values()
