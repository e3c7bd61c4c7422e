"""Programs written with AzureOpenAI, whose base URL, key header and way to name a model are others; and calls with a wrong base URL."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.process_control import Server
from tests.scripted_engine import Call, Reply, ScriptedEngine

VERSION = "2024-05-01-preview"
KEY = "key-of-the-first-project"
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture(scope="module")
def server(engine: ScriptedEngine) -> Iterator[Server]:
    environ = {"OXILLAMA_API_KEYS": f"first:{KEY},second:key-of-the-second", "OXILLAMA_MODEL_MAP": "my-gpt4=scripted-chat"}
    with Server(engine_url=engine.url, workers=1, environ=environ) as server:
        yield server.wait_ready()


@pytest.fixture
def azure(server: Server) -> Iterator[openai.AzureOpenAI]:
    with openai.AzureOpenAI(azure_endpoint=server.url, api_key=KEY, api_version=VERSION, max_retries=0) as client:
        yield client


def answer(server: Server, method: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, b"{}" if method == "POST" else None, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_a_conversation(azure: openai.AzureOpenAI, engine: ScriptedEngine):
    engine.script(Reply(calls=[Call("get_weather", '{"city":"Porto"}')]), Reply(["Sun", "ny."]), Reply(["And ", "warm."]))
    assistant = azure.beta.assistants.create(model="my-gpt4", tools=[{"type": "function", "function": {"name": "get_weather"}}])
    assert [one.id for one in azure.beta.assistants.list(limit=1).data] == [assistant.id]
    thread = azure.beta.threads.create(messages=[{"role": "user", "content": "How is the weather?"}])
    run = azure.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.required_action is not None
    outputs: Any = [{"tool_call_id": call.id, "output": "22 degrees"} for call in run.required_action.submit_tool_outputs.tool_calls]
    run = azure.beta.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=thread.id, tool_outputs=outputs)
    assert (run.status, run.model) == ("completed", "my-gpt4")
    azure.beta.threads.messages.create(thread.id, role="user", content="And tomorrow?")
    with azure.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        assert "".join(stream.text_deltas) == "And warm."
    steps = azure.beta.threads.runs.steps.list(run.id, thread_id=thread.id)
    assert [step.type for step in steps] == ["message_creation", "tool_calls"]
    assert azure.beta.assistants.delete(assistant.id).deleted
    assert "scripted-chat" in [model.id for model in azure.models.list()]


@pytest.mark.anyio
async def test_the_asynchronous_client(server: Server, engine: ScriptedEngine):
    engine.script(Reply(["Hi"]), Reply(["A", "B"]))
    async with openai.AsyncAzureOpenAI(azure_endpoint=server.url, api_key=KEY, api_version=VERSION, max_retries=0) as client:
        assistant = await client.beta.assistants.create(model="my-gpt4", instructions="Be brief.")
        run = await client.beta.threads.create_and_run_poll(assistant_id=assistant.id, thread={"messages": HELLO})
        assert run.status == "completed"
        stream = await client.chat.completions.create(model="my-gpt4", messages=HELLO, stream=True)
        assert [chunk.choices[0].delta.content async for chunk in stream if chunk.choices[0].delta.content] == ["A", "B"]


def test_the_deployment_is_the_model(azure: openai.AzureOpenAI, engine: ScriptedEngine):
    azure.chat.completions.create(model="my-gpt4", messages=HELLO)
    assert engine.requests[-1] == {"model": "scripted-chat", "messages": HELLO}
    azure.chat.completions.create(model="org/other model", messages=HELLO)
    assert engine.requests[-1]["model"] == "org/other model"


def test_the_deployment_of_the_client_wins_over_the_body(server: Server, engine: ScriptedEngine):
    options: Any = {"azure_endpoint": server.url, "azure_deployment": "my-gpt4", "api_key": KEY, "api_version": VERSION}
    with openai.AzureOpenAI(**options, max_retries=0) as client:
        client.chat.completions.create(model="whatever", messages=HELLO)
        assert engine.requests[-1]["model"] == "scripted-chat"
        assert client.beta.threads.create().id


def test_a_body_without_a_model(server: Server, engine: ScriptedEngine):
    path = f"/openai/deployments/my-gpt4/chat/completions?api-version={VERSION}"
    assert answer(server, "POST", path, {"api-key": KEY})[0] == 200
    assert engine.requests[-1] == {"model": "scripted-chat"}


def test_both_base_urls_show_the_same_things(server: Server, azure: openai.AzureOpenAI):
    thread = azure.beta.threads.create()
    with openai.OpenAI(base_url=server.base_url, api_key=KEY, max_retries=0) as client:
        assert client.beta.threads.retrieve(thread.id) == thread
    with openai.OpenAI(base_url=server.base_url, api_key="key-of-the-second", max_retries=0) as client, pytest.raises(openai.NotFoundError):
        client.beta.threads.retrieve(thread.id)


def test_an_api_key_is_as_good_as_a_bearer(server: Server):
    for path in ("/v1/assistants", "/openai/assistants"):
        for headers in ({"api-key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": "Basic abc", "api-key": KEY}):
            assert answer(server, "GET", path, headers)[0] == 200
        for headers in ({"api-key": "wrong"}, {"Authorization": "Bearer wrong", "api-key": KEY}):
            status, body = answer(server, "GET", path, headers)
            assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        assert answer(server, "GET", path, {})[0] == 401


def test_a_wrong_beta_is_refused_below_both(server: Server):
    for path in ("/v1/threads", "/openai/threads"):
        status, body = answer(server, "POST", path, {"api-key": KEY, "OpenAI-Beta": "assistants=v1"})
        assert (status, body["error"]["code"]) == (400, "invalid_beta")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/threads"),
        ("GET", "/assistants/asst_x"),
        ("POST", "/chat/completions"),
        ("GET", "/models"),
        ("POST", "/v1/v1/threads"),
        ("POST", "/v1/v1/threads/runs"),
        ("POST", "/api/v1/threads"),
        ("POST", "/openai/v1/threads"),
    ],
)
def test_a_wrong_base_url_is_told_the_right_one(server: Server, method: str, path: str):
    status, body = answer(server, method, path, {"api-key": KEY})
    message = f"Invalid URL ({method} {path}). Set the base URL to {server.base_url}"
    assert (status, body["error"]) == (404, {"message": message, "type": "invalid_request_error", "param": None, "code": None})


@pytest.mark.parametrize("path", ["/threads", "/v1/deployments/m/chat/completions", "/openai/openai/threads"])
def test_azures_clients_are_told_theirs(server: Server, path: str):
    status, body = answer(server, "POST", f"{path}?api-version={VERSION}", {"api-key": KEY})
    assert (status, body["error"]["message"]) == (404, f"Invalid URL (POST {path}). Set the base URL to {server.url}/openai")


def test_the_advice_names_the_host_that_was_asked(server: Server):
    headers = {"api-key": KEY, "Host": "models.example.org", "X-Forwarded-Proto": "https"}
    assert answer(server, "POST", "/threads", headers)[1]["error"]["message"].endswith("base URL to https://models.example.org/v1")


@pytest.mark.parametrize("path", ["/", "/v1", "/nowhere", "/v1/threads/thread_x/assistants", "/openai/nowhere", "/v1/responses"])
def test_where_no_base_url_would_help_there_is_no_advice(server: Server, path: str):
    status, body = answer(server, "POST", path, {"api-key": KEY})
    assert (status, body["error"]["message"]) == (404, f"Invalid URL (POST {path})")


def test_the_sdk_shows_the_advice(server: Server):
    advice = f"Set the base URL to {server.base_url}"
    with openai.OpenAI(base_url=server.url, api_key=KEY, max_retries=0) as client, pytest.raises(openai.NotFoundError, match=advice):
        client.beta.threads.create()
