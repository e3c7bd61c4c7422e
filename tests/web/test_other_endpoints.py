"""Moderations, images and audio: what the engine has of them is passed on, in forms with files and in answers of sound too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email import message_from_bytes
from typing import Any

import openai
import pytest

from tests.process_control import Server
from tests.raw_http import Http
from tests.scripted_engine import Raw, ScriptedEngine

SOUND = bytes(range(256)) * 5000
IMAGE = b"\x89PNG\r\n\x1a\n--\r\n--x\r\n\r\n"
FILES = ("/audio/transcriptions", "/audio/translations", "/images/edits", "/images/variations")
EVERY = (*FILES, "/moderations", "/audio/speech", "/images/generations")
LARGEST_BODY = 300_000


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture(scope="module")
def server(engine: ScriptedEngine) -> Iterator[Server]:
    environ = {"OXILLAMA_MODEL_MAP": "whisper-1=faster-whisper,dall-e-2=sd", "OXILLAMA_MAX_BODY_BYTES": str(LARGEST_BODY)}
    with Server(engine_url=engine.url, workers=1, environ=environ) as server:
        yield server.wait_ready()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def azure(server: Server) -> Iterator[openai.AzureOpenAI]:
    with openai.AzureOpenAI(azure_endpoint=server.url, api_key="any", api_version="2025-04-01-preview", max_retries=0) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_scripted(engine: ScriptedEngine) -> Iterator[None]:
    yield
    engine.other_endpoints.clear()


def as_json(value: Any) -> Raw:
    return Raw(200, json.dumps(value).encode())


def form(engine: ScriptedEngine) -> list[tuple[str, bytes]]:
    """The fields of the last request that the engine got, in order, read by somebody else than the server."""
    head = f"Content-Type: {engine.headers[-1]['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + engine.requests[-1])
    assert message.is_multipart() and not message.defects
    return [(str(part.get_param("name", header="content-disposition")), part.get_payload(decode=True)) for part in message.get_payload()]  # type: ignore[union-attr,misc]


def test_moderations_and_images(client: openai.OpenAI, engine: ScriptedEngine):
    engine.other_endpoints["/moderations"] = as_json({"id": "modr-1", "model": "m", "results": []})
    assert client.moderations.create(input="x", model="m").id == "modr-1"
    assert engine.requests[-1] == {"input": "x", "model": "m"}
    engine.other_endpoints["/images/generations"] = as_json({"created": 1, "data": [{"b64_json": "x" * 3_000_000}]})
    images = client.images.generate(prompt="A cat", model="dall-e-2")
    assert images.data is not None and len(images.data[0].b64_json or "") == 3_000_000
    assert engine.requests[-1] == {"prompt": "A cat", "model": "sd"}


def test_speech_is_sound(client: openai.OpenAI, engine: ScriptedEngine):
    engine.other_endpoints["/audio/speech"] = Raw(200, SOUND, "audio/mpeg")
    answer = client.audio.speech.with_raw_response.create(input="Hello", model="tts", voice="alloy")
    assert (answer.headers["Content-Type"], answer.content) == ("audio/mpeg", SOUND)
    assert answer.headers["x-request-id"]


def test_speech_as_events(client: openai.OpenAI, engine: ScriptedEngine):
    engine.other_endpoints["/audio/speech"] = Raw(200, b'data: {"type":"speech.audio.done"}\n\n', "text/event-stream")
    answer = client.audio.speech.with_raw_response.create(input="Hello", model="tts", voice="alloy", stream_format="sse")
    assert answer.content == b'data: {"type":"speech.audio.done"}\n\n'
    with pytest.raises(openai.InternalServerError, match="not JSON, sound or text"):
        client.audio.speech.create(input="Hello", model="tts", voice="alloy")


@pytest.mark.parametrize("kind", ["transcriptions", "translations"])
def test_a_file_of_sound(client: openai.OpenAI, engine: ScriptedEngine, kind: str):
    engine.other_endpoints[f"/audio/{kind}"] = as_json({"text": "Hello"})
    endpoint: Any = getattr(client.audio, kind)
    sound = SOUND[:200_000]
    assert endpoint.create(file=('a"b.mp3', sound), model="whisper-1", temperature=0).text == "Hello"
    assert sorted(form(engine)) == sorted([("model", b"faster-whisper"), ("temperature", b"0"), ("file", sound)])
    assert endpoint.create(file=("a.mp3", sound), model="own").text == "Hello"
    assert ("model", b"own") in form(engine)


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "text/vtt", "application/x-subrip"])
def test_a_transcript_as_text(server: Server, engine: ScriptedEngine, content_type: str):
    engine.other_endpoints["/audio/transcriptions"] = Raw(200, "Grüße".encode(), content_type)
    answer = Http(server.port).post("/v1/audio/transcriptions", b"--b--", {"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status, answer.headers["content-type"], answer.body.decode()) == (200, content_type, "Grüße")


def test_a_transcript_as_a_stream(client: openai.OpenAI, engine: ScriptedEngine):
    events = b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\ndata: [DONE]\n\n'
    engine.other_endpoints["/audio/transcriptions"] = Raw(200, events, "text/event-stream")
    with client.audio.transcriptions.create(file=("a.mp3", b"x"), model="whisper-1", stream=True) as stream:
        assert [event.type for event in stream] == ["transcript.text.delta"]


def test_images_as_files(client: openai.OpenAI, engine: ScriptedEngine):
    for path in ("/images/edits", "/images/variations"):
        engine.other_endpoints[path] = as_json({"created": 1, "data": []})
    client.images.edit(image=("a.png", IMAGE), prompt="x", model="dall-e-2")
    assert sorted(form(engine)) == sorted([("image", IMAGE), ("prompt", b"x"), ("model", b"sd")])
    client.images.create_variation(image=("a.png", IMAGE))
    assert form(engine) == [("image", IMAGE)]


def test_azures_clients_name_the_model_in_the_path(azure: openai.AzureOpenAI, engine: ScriptedEngine):
    engine.other_endpoints["/audio/transcriptions"] = as_json({"text": "Hello"})
    engine.other_endpoints["/images/generations"] = as_json({"created": 1, "data": []})
    assert azure.audio.transcriptions.create(file=("a.mp3", IMAGE), model="whisper-1").text == "Hello"
    assert ("model", b"faster-whisper") in form(engine)
    assert len(form(engine)) == 2
    azure.images.generate(prompt="A cat", model="dall-e-2")
    assert engine.requests[-1] == {"prompt": "A cat", "model": "sd"}


def test_a_deployment_and_a_form_without_a_model(server: Server, engine: ScriptedEngine):
    engine.other_endpoints["/audio/transcriptions"] = as_json({"text": "Hello"})
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\r\n--c\r\n\r\n--b--\r\n'
    path = "/openai/deployments/whisper-1/audio/transcriptions"
    assert Http(server.port).post(path, body, {"Content-Type": "multipart/form-data; boundary=b"}).status == 200
    assert form(engine) == [("model", b"faster-whisper"), ("file", b"\x00\r\n--c\r\n")]


def test_a_form_goes_through_byte_for_byte(server: Server, engine: ScriptedEngine):
    """Whatever it is, where its model keeps its name."""
    engine.other_endpoints["/images/variations"] = as_json({"created": 1, "data": []})
    for body in (
        b"",
        b"no form at all",
        b"--b\r\n\r\n--b",
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\xff\r\n--b--',
        b"\r\n--b--",
    ):
        for content_type in ("multipart/form-data; boundary=b", "multipart/form-data"):
            assert Http(server.port).post("/v1/images/variations", body, {"Content-Type": content_type}).status == 200
            assert (engine.requests[-1], engine.headers[-1]["content-type"]) == (body, content_type)


def test_a_form_of_many_parts(server: Server, engine: ScriptedEngine):
    engine.other_endpoints["/audio/transcriptions"] = as_json({"text": "Hello"})
    before, kind = len(engine.requests), {"Content-Type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'
    for count, status in ((1000, 200), (1001, 400)):
        assert Http(server.port).post("/v1/audio/transcriptions", part * count + b"--b--\r\n", kind).status == status
    assert Http(server.port).post("/v1/audio/transcriptions", b"\r\n--b" * 40_000, kind).error[0] == 400
    assert len(engine.requests) == before + 1


@pytest.mark.parametrize("path", EVERY)
def test_what_the_engine_does_not_have_is_its_404(server: Server, path: str):
    assert Http(server.port).post(f"/v1{path}", {"input": "x"}).error == (404, "File Not Found", "not_found_error", None, None)
    assert Http(server.port).post(f"/openai/deployments/m{path}", {"input": "x"}).error[0] == 404


def test_bodies_have_the_same_bounds(server: Server, engine: ScriptedEngine):
    before = len(engine.requests)
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    http = Http(server.port)
    assert http.post("/v1/audio/transcriptions", b"x" * (LARGEST_BODY + 1), kind).error[0] == 413
    assert http.post("/v1/audio/speech", b"x", kind).error[4] == "unsupported_content_type"
    assert http.post("/v1/audio/transcriptions", b"x", {"Content-Type": "text/plain"}).error[4] == "unsupported_content_type"
    assert len(engine.requests) == before


@pytest.mark.parametrize("path", ["/moderations", "/images/generations"])
def test_sound_is_no_answer_elsewhere(server: Server, engine: ScriptedEngine, path: str):
    engine.other_endpoints[path] = Raw(200, SOUND[:100], "audio/mpeg")
    assert Http(server.port).post(f"/v1{path}", {}).error[:2] == (502, "The model engine answered with something that is not JSON.")


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", ""])
def test_a_page_is_no_sound(server: Server, engine: ScriptedEngine, content_type: str):
    engine.other_endpoints["/audio/speech"] = Raw(200, b"<script>", content_type)
    assert Http(server.port).post("/v1/audio/speech", {}).error[0] == 502
