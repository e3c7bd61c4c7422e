"""Chat completions, completions and embeddings: the engine's own answers, through the official clients and over bare sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from oxillama import settings
from oxillama.factory import create_app
from tests.process_control import Server, free_port, wait_until
from tests.scripted_engine import (
    Cut,
    Hang,
    Raw,
    Reply,
    ScriptedEngine,
    context_exceeded,
    html_page,
    http_error,
    loading,
    model_not_found,
    rate_limited,
    redirect,
    server_error,
)

HELLO: Any = [{"role": "user", "content": "Hello"}]
ENGINE_KEY = "sk-of-the-engine"
PATIENCE_SECONDS = 30
LITTLE_PATIENCE_SECONDS = 2
PLACES = 3
RESTARTING = "The server is being restarted. Please try again."


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture(autouse=True)
def nothing_left_behind(engine: ScriptedEngine) -> Iterator[None]:
    yield
    engine.release()
    engine.wait_until_idle()


@pytest.fixture(scope="module")
def server(engine: ScriptedEngine) -> Iterator[Server]:
    environ = {
        "OXILLAMA_ENGINE_API_KEY": ENGINE_KEY,
        "OXILLAMA_MODEL_MAP": "gpt-4o=scripted-chat",
        "OXILLAMA_MAX_STREAMS": str(PLACES),
        "OXILLAMA_FIRST_TOKEN_SECONDS": str(PATIENCE_SECONDS),
        "OXILLAMA_STALL_SECONDS": str(PATIENCE_SECONDS),
        "OXILLAMA_MAX_BODY_BYTES": "100000",
    }
    with Server(engine_url=engine.url, workers=1, environ=environ) as server:
        yield server.wait_ready()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="sk-of-the-caller", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def impatient(engine: ScriptedEngine) -> Iterator[Server]:
    """Gives its engine little time."""
    environ = {name: str(LITTLE_PATIENCE_SECONDS) for name in ("OXILLAMA_FIRST_TOKEN_SECONDS", "OXILLAMA_STALL_SECONDS")}
    with Server(engine_url=engine.url, workers=1, environ=environ) as server:
        yield server.wait_ready()


@contextlib.contextmanager
def sent(server: Server, path: str, body: Any, content_type: str = "application/json") -> Iterator[http.client.HTTPResponse]:
    """An answer whose body is not read yet; leaving the block hangs up."""
    connection = begun(server, path, body, content_type)
    try:
        response = connection.getresponse()
        try:
            yield response
        finally:
            response.close()
    finally:
        connection.close()


def begun(server: Server, path: str, body: Any, content_type: str = "application/json") -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), {"Content-Type": content_type})
    return connection


def refused(server: Server, body: Any, **options: Any) -> tuple[int, dict[str, Any], Any]:
    """Status, error and headers of a refused chat completion; all four keys of the envelope are there."""
    with sent(server, "/v1/chat/completions", body, **options) as response:
        envelope = json.loads(response.read())
        assert set(envelope) == {"error"}
        assert set(envelope["error"]) == {"message", "type", "param", "code"}
        return response.status, envelope["error"], response.headers


def asked(stream: bool = False) -> dict[str, Any]:
    return {"model": "scripted-chat", "messages": HELLO, "stream": stream}


# Answers


def test_a_completion_is_the_engines_with_the_model_that_the_map_names(client: openai.OpenAI, engine: ScriptedEngine):
    engine.script(Reply(["Hi", " there"]))
    completion = client.chat.completions.create(model="gpt-4o", messages=HELLO, temperature=0.25)
    assert completion.choices[0].message.content == "Hi there"
    assert completion.usage is not None and completion.usage.total_tokens == 18
    assert engine.requests[-1] == {"model": "scripted-chat", "messages": HELLO, "temperature": 0.25}


def test_the_engine_gets_its_own_key_and_nothing_of_the_caller(client: openai.OpenAI, engine: ScriptedEngine):
    client.chat.completions.create(model="scripted-chat", messages=HELLO)
    headers = engine.headers[-1]
    assert headers["authorization"] == f"Bearer {ENGINE_KEY}"
    assert "sk-of-the-caller" not in str(headers)
    assert not [name for name in headers if name.startswith("x-stainless")]


@pytest.mark.parametrize(("login", "sent"), [("me:p%40ss", "bWU6cEBzcw=="), ("me:%C3%A9%E2%82%AC", "bWU6w6nigqw="), ("me", "bWU6")])
def test_a_name_and_a_password_in_the_engines_address_count_more_than_a_key(engine: ScriptedEngine, login: str, sent: str):
    url = engine.url.replace("://", f"://{login}@")
    with Server(engine_url=url, workers=1, environ={"OXILLAMA_ENGINE_API_KEY": ENGINE_KEY}) as server:
        client = openai.OpenAI(base_url=server.wait_ready().base_url, api_key="x", max_retries=0)
        client.chat.completions.create(model="scripted-chat", messages=HELLO)
        assert engine.headers[-1]["authorization"] == f"Basic {sent}"
        engine.script(http_error(400, "not with p@ss", "invalid_request_error"))
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="scripted-chat", messages=HELLO)
    assert ("p@ss" in refused.value.message) == ("p%40ss" not in login)


@pytest.mark.parametrize("model", ["gpt-4o", "scripted-chat"])
def test_the_rest_of_the_body_keeps_its_meaning(server: Server, engine: ScriptedEngine, model: str):
    body = b'{"model":"%b","messages":[],"seed":123456789012345678901234567890,"top_p":0.1,"x":"\\u00e9\xc3\xa9\\u0000","own":{"a":[null]}}'
    body %= model.encode()
    with sent(server, "/v1/chat/completions", body) as response:
        assert response.status == 200
    assert engine.requests[-1] == {**json.loads(body), "model": "scripted-chat"}


def test_each_chunk_is_there_before_the_next_exists(client: openai.OpenAI, engine: ScriptedEngine):
    gates = {number: threading.Event() for number in range(1, 4)}
    engine.script(Reply(["one", "two", "three"], gates=gates))
    heard = []
    with client.chat.completions.create(model="scripted-chat", messages=HELLO, stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                heard.append(chunk.choices[0].delta.content)
                gates[len(heard)].set()
    assert heard == ["one", "two", "three"]


def test_a_stream_is_the_engines_bytes_and_no_proxy_holds_it_back(server: Server, engine: ScriptedEngine):
    engine.script(Reply(["a"]))
    with sent(server, "/v1/chat/completions", asked(stream=True)) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["x-request-id"]
        body = response.read()
    assert body.endswith(b"data: [DONE]\n\n")
    assert all(frame.startswith(b"data: ") for frame in body.split(b"\n\n")[:-1])


def test_headers_come_before_the_first_token(server: Server, engine: ScriptedEngine):
    gate = threading.Event()
    engine.script(Reply(["late"], gates={0: gate}))
    with sent(server, "/v1/chat/completions", asked(stream=True)) as response:
        assert response.status == 200
        gate.set()
        assert b"late" in response.read()


@pytest.mark.anyio
async def test_the_asynchronous_client(server: Server, engine: ScriptedEngine):
    engine.script(Reply(["As", "ync"]), Reply(["whole"]))
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client:
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        assert [chunk.choices[0].delta.content async for chunk in stream if chunk.choices[0].delta.content] == ["As", "ync"]
        completion = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert completion.choices[0].message.content == "whole"


def test_completions_and_embeddings(client: openai.OpenAI, engine: ScriptedEngine):
    text = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "text": "!", "finish_reason": "stop"}],
    }
    vectors = {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.25]}]}
    engine.other_endpoints["/completions"] = Raw(200, json.dumps(text).encode())
    engine.other_endpoints["/embeddings"] = Raw(200, json.dumps(vectors).encode())
    assert client.completions.create(model="gpt-4o", prompt="Hello").choices[0].text == "!"
    assert engine.requests[-1] == {"model": "scripted-chat", "prompt": "Hello"}
    assert client.embeddings.create(model="gpt-4o", input="Hello", encoding_format="float").data[0].embedding == [0.5, -1.25]
    assert engine.requests[-1]["model"] == "scripted-chat"


def test_a_stream_that_the_engine_does_not_stream(server: Server, engine: ScriptedEngine):
    engine.script(Raw(200, b'{"object":"chat.completion"}'))
    with sent(server, "/v1/chat/completions", asked(stream=True)) as response:
        assert (response.status, response.read()) == (200, b'{"object":"chat.completion"}')


# Refusals and failures


def test_a_refusal_keeps_its_status_and_its_words(client: openai.OpenAI, engine: ScriptedEngine):
    engine.script(context_exceeded(), model_not_found("nobody"), http_error(422, "no such option", "invalid_request_error"))
    with pytest.raises(openai.BadRequestError, match="exceeds the available context size") as bad:
        client.chat.completions.create(model="scripted-chat", messages=HELLO)
    assert bad.value.type == "exceed_context_size_error"
    with pytest.raises(openai.NotFoundError, match="`nobody` does not exist") as missing:
        client.chat.completions.create(model="nobody", messages=HELLO, stream=True)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.UnprocessableEntityError, match="no such option"):
        client.chat.completions.create(model="scripted-chat", messages=HELLO)


def test_only_the_map_chooses_another_model(server: Server, engine: ScriptedEngine):
    engine.strict_models = True
    try:
        assert refused(server, {**asked(), "model": "unknown"})[0] == 404
    finally:
        engine.strict_models = False


def test_too_many_requests_keep_their_pause(client: openai.OpenAI, engine: ScriptedEngine):
    engine.script(rate_limited(retry_after=7))
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model="scripted-chat", messages=HELLO)
    assert limited.value.response.headers["Retry-After"] == "7"
    assert limited.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize(("stream", "failures"), [(False, [server_error(), loading()]), (True, [Cut(), server_error()])])
def test_what_the_engine_cannot_do_now_is_tried_again(server: Server, engine: ScriptedEngine, stream: bool, failures: list[Any]):
    engine.script(*failures, Reply(["third"]))
    with openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=2) as client:
        answer: Any = client.chat.completions.create(model="scripted-chat", messages=HELLO, stream=stream)
        if stream:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in answer) == "third"
        else:
            assert answer.choices[0].message.content == "third"


def test_an_engines_server_error_tells_nothing_of_the_engine(server: Server, engine: ScriptedEngine):
    engine.script(server_error())
    status, error, _ = refused(server, asked())
    assert (status, error["type"]) == (503, "server_error")
    assert error["message"] == "The model engine answered with a server error."


def test_an_engine_that_is_still_loading(server: Server, engine: ScriptedEngine):
    engine.script(loading())
    status, error, headers = refused(server, asked())
    assert (status, error["message"], headers["Retry-After"]) == (503, "The model engine is not ready.", "2")


def test_a_refused_key_of_ours_is_not_the_callers_fault(server: Server, engine: ScriptedEngine):
    engine.script(http_error(401, f"Incorrect API key provided: {ENGINE_KEY}", "invalid_request_error", "invalid_api_key"))
    status, error, headers = refused(server, asked())
    assert (status, error["message"]) == (503, "The model engine refused the server's credentials.")
    assert headers["x-should-retry"] == "false"


def test_what_the_engine_was_not_started_for(server: Server, engine: ScriptedEngine):
    engine.script(http_error(501, "This server does not support embeddings.", "not_supported_error"))
    status, error, headers = refused(server, asked())
    assert (status, error["message"], headers["x-should-retry"]) == (501, "This server does not support embeddings.", "false")


def test_words_of_the_engine_name_no_address_and_no_key(server: Server, engine: ScriptedEngine):
    engine.script(http_error(400, f"upstream http://10.1.2.3:99/v1 refused {ENGINE_KEY} at 127.0.0.1:{engine.port}", "x"))
    message = refused(server, asked())[1]["message"]
    assert message == "upstream … refused … at …"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (html_page(), "The model engine answered with something that is not JSON."),
        *[(redirect(status), "The model engine redirects to another address, which is not followed.") for status in (302, 307, 308)],
    ],
    ids=["html", "302", "307", "308"],
)
def test_an_answer_that_cannot_be_one(server: Server, engine: ScriptedEngine, answer: Raw, message: str, stream: bool):
    engine.script(answer)
    status, error, _ = refused(server, asked(stream))
    assert (status, error["message"]) == (502, message)


def test_an_engine_that_does_not_begin(impatient: Server, engine: ScriptedEngine):
    gone = engine.hung_up
    engine.script(Hang())
    status, error, headers = refused(impatient, asked(stream=True))
    assert (status, error["message"]) == (504, "The model engine took too long to answer.")
    assert headers["x-should-retry"] == "false"
    engine.wait_until_hung_up(count=gone + 1)


def test_an_engine_that_is_not_there(tmp_path: Path):
    port = free_port()
    app = create_app(settings.read({"OXILLAMA_DATA_DIR": str(tmp_path), "OXILLAMA_ENGINE_URL": f"http://127.0.0.1:{port}/v1"}))
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
        answer = app.test_client().post(path, json=asked())
        assert answer.status_code == 503
        error = {"message": "The model engine cannot be reached.", "type": "server_error", "param": None, "code": None}
        assert answer.json == {"error": error}
    assert app.test_client().get("/v1/models").status_code == 503


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(["a", "b"], cut_after=1), "The model engine broke off in the middle of its answer."),
        (Reply(["a", "b"], hang_after=1), "The model engine took too long to answer."),
    ],
    ids=["cut", "stalled"],
)
def test_a_stream_that_breaks_off_ends_in_an_error(impatient: Server, engine: ScriptedEngine, reply: Reply, message: str):
    engine.script(reply)
    heard = []
    with openai.OpenAI(base_url=impatient.base_url, api_key="any", max_retries=0) as client, pytest.raises(openai.APIError, match=message):
        for chunk in client.chat.completions.create(model="scripted-chat", messages=HELLO, stream=True):
            heard.append(chunk.choices[0].delta.content)
    assert heard == ["", "a"]


def test_an_answer_that_breaks_off_is_no_answer(server: Server, engine: ScriptedEngine):
    engine.script(Raw(200, b'3\r\n{"o\r\nnot a size\r\n', headers={"Transfer-Encoding": "chunked"}))
    status, error, _ = refused(server, asked())
    assert (status, error["message"]) == (502, "The model engine broke off in the middle of its answer.")


def test_requests_that_never_reach_the_engine(server: Server, engine: ScriptedEngine):
    before = len(engine.requests)
    assert refused(server, b'{"model":')[0] == 400
    status, error, _ = refused(server, b"[1]")
    assert (status, error["message"]) == (400, "Invalid type for 'body': expected an object, but got an array instead.")
    assert refused(server, b"{}", content_type="text/plain")[1]["code"] == "unsupported_content_type"
    assert refused(server, b"[" * 900 + b"]" * 900)[0] == 400
    assert refused(server, b'{"model":"gpt-4o","x":' + b"[" * 1000 + b"]" * 1000 + b"}")[0] == 400
    assert refused(server, {"messages": "x" * 100_000})[0] == 413
    assert len(engine.requests) == before


def test_an_empty_body_is_the_engines_to_refuse(server: Server, engine: ScriptedEngine):
    for empty in (b"", b"[]"):
        engine.script(http_error(400, "messages is required", "invalid_request_error"))
        assert refused(server, empty)[1]["message"] == "messages is required"
        assert engine.requests[-1] == {}


# Clients that go, places, and the end of a worker


@pytest.mark.parametrize(
    ("reply", "stream"),
    [(Reply(["a", "b"], hang_after=1), True), (Hang(), True), (Hang(), False)],
    ids=["silent stream", "nothing streamed yet", "not a stream"],
)
def test_a_client_that_hangs_up_frees_the_engine(server: Server, engine: ScriptedEngine, reply: Any, stream: bool):
    before, gone = len(engine.requests), engine.hung_up
    engine.script(reply)
    connection = begun(server, "/v1/chat/completions", asked(stream))
    engine.wait_for_requests(before + 1)
    connection.close()
    # Well before the engine's own time is over.
    engine.wait_until_hung_up(timeout=PATIENCE_SECONDS / 2, count=gone + 1)


def test_places_are_limited_and_come_back(server: Server, client: openai.OpenAI, engine: ScriptedEngine):
    before = len(engine.requests)
    engine.script(*[Reply(["a", "b"], hang_after=1)] * (PLACES - 1), Hang())
    with contextlib.ExitStack() as open_now:
        for number in range(PLACES):
            open_now.callback(begun(server, "/v1/chat/completions", asked(stream=number < PLACES - 1)).close)
        engine.wait_for_requests(before + PLACES)
        status, error, headers = refused(server, asked())
        assert (status, error["code"], headers["Retry-After"]) == (429, "rate_limit_exceeded", "1")
        # Everything else goes on.
        assert client.beta.threads.create().id
    wait_until(lambda: _answered(server), 20, "a place is free again")


def _answered(server: Server) -> bool:
    with sent(server, "/v1/chat/completions", asked()) as response:
        return response.status == 200


def test_a_response_that_was_never_begun_gives_its_place_back(tmp_path: Path, engine: ScriptedEngine):
    environ = {"OXILLAMA_DATA_DIR": str(tmp_path), "OXILLAMA_ENGINE_URL": engine.url, "OXILLAMA_MAX_STREAMS": "1"}
    app = create_app(settings.read(environ))
    gone = engine.hung_up
    for number in range(3):
        engine.script(Reply(["a", "b"], hang_after=1))
        with app.test_request_context("/v1/chat/completions", method="POST", json=asked(stream=True)):
            response = app.full_dispatch_request()
            assert response.status_code == 200
            response.close()
        engine.wait_until_hung_up(count=gone + number + 1)


def test_a_worker_that_stops_ends_its_streams_with_an_error(server: Server, engine: ScriptedEngine):
    workers = server.find("web-worker")
    engine.script(Reply(["a", "b"], hang_after=1), Hang())
    before = len(engine.requests)
    with sent(server, "/v1/chat/completions", asked(stream=True)) as response:
        while b'"a"' not in response.readline():
            pass
        waiting = begun(server, "/v1/chat/completions", asked())
        engine.wait_for_requests(before + 2)
        stopped = time.monotonic()
        server.kill("web-worker", signal.SIGTERM)
        rest = response.read()
        whole = waiting.getresponse()
    assert rest == b'\ndata: {"error":{"message":"%b","type":"server_error","param":null,"code":null}}\n\n' % RESTARTING.encode()
    assert (whole.status, json.loads(whole.read())["error"]["message"]) == (503, RESTARTING)
    assert time.monotonic() - stopped < PATIENCE_SECONDS / 2
    waiting.close()
    server.wait_for("web-worker", other_than=workers)
    server.wait_ready()
