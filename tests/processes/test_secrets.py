"""API keys: who may see what; and what must never be seen anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from tests.process_control import Server, wait_until
from tests.processes.talk import Question, ask, client_of, ended, start_run
from tests.raw_http import Answer, Http
from tests.scripted_engine import Call, Reply, ScriptedEngine, broken_chunks, http_error, server_error

RED, RED_TOO, BLUE, WRONG = "sk-red-0123456789", "sk-red-abcdefghij", "sk-blue-0123456789", "sk-wrong-0123456789"
ENGINE_KEY = "sk-engine-0123456789"
TEXT, INSTRUCTIONS, ANSWER = "my-private-question", "my-private-instructions", "my-private-answer"


@pytest.fixture
def server(engine: ScriptedEngine) -> Iterator[Server]:
    keys = f"red:{RED},red:{RED_TOO},blue:{BLUE}"
    with Server(engine_url=engine.url, environ={"OXILLAMA_API_KEYS": keys, "OXILLAMA_ENGINE_API_KEY": ENGINE_KEY}) as server:
        yield server.wait_ready()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_keys_open_their_own_project_and_no_other(server: Server):
    http = Http(server.port)
    assert http.get("/v1/assistants").error[0] == 401
    status, message, kind, param, code = http.get("/v1/assistants", bearer(WRONG)).error
    assert (status, kind, param, code) == (401, "invalid_request_error", None, "invalid_api_key")
    assert message.startswith("Incorrect API key provided: ")
    assert WRONG not in message and WRONG[4:-4] not in message
    assert http.get("/health").status == 200
    with client_of(server, api_key=RED) as red, client_of(server, api_key=RED_TOO) as red_too, client_of(server, api_key=BLUE) as blue:
        question = ask(red)
        run = ended(red, start_run(red, question))
        paths = every_path(question, run.id)
        for path in paths:
            assert http.get(path, bearer(RED)).status == 200, path
            assert http.get(path, bearer(RED_TOO)).status == 200, path
            assert http.get(path, bearer(BLUE)).error[0] == 404, path
            assert http.get(path).error[0] == 401, path
            assert http.get(path, bearer(WRONG)).error[0] == 401, path
        assert [one.id for one in red_too.beta.assistants.list()] == [question.assistant_id]
        assert blue.beta.assistants.list().data == []
        own = ask(blue)
        with pytest.raises(openai.NotFoundError):
            blue.beta.threads.runs.create(own.thread_id, assistant_id=question.assistant_id)
        with pytest.raises(openai.NotFoundError):
            blue.beta.threads.messages.create(question.thread_id, role="user", content="Let me in.")


def every_path(question: Question, run_id: str) -> list[str]:
    thread = f"/v1/threads/{question.thread_id}"
    run = f"{thread}/runs/{run_id}"
    return [
        *(f"/v1/assistants/{question.assistant_id}", thread, f"{thread}/messages", f"{thread}/messages/{question.message_id}"),
        *(f"{thread}/runs", run, f"{run}/steps", f"{run}/events"),
    ]


def test_no_key_and_no_text_is_seen_where_it_does_not_belong(server: Server, engine: ScriptedEngine):
    engine.script(
        Reply([ANSWER]),
        server_error(),
        http_error(401, f"Bad key {ENGINE_KEY}", "invalid_request_error"),
        http_error(400, f"What is {ENGINE_KEY}?", "invalid_request_error"),
        broken_chunks(),
        Reply([ANSWER], cut_after=1),
    )
    with client_of(server, api_key=RED) as client:
        assistant = client.beta.assistants.create(model="gpt-4o", instructions=INSTRUCTIONS)
        statuses = []
        for _ in range(6):
            thread = client.beta.threads.create(messages=[{"role": "user", "content": TEXT}])
            run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
            statuses.append(ended(client, run, 30).status)
        # The engine is asked again after a server error, so one more reply of the script may be used up by the second run.
        assert statuses[0] == "completed" and "failed" in statuses
    for key in (WRONG, RED):
        Http(server.port).post(f"/v1/threads?key={key}", b'{"messages": [{"role": "user", "content": "' + TEXT.encode(), bearer(key))
    told = [refused_by_the_engine(server, engine, status) for status in (400, 401, 404, 429, 500)]
    told += [Http(server.port).get(path, headers) for path in ("/health", "/nowhere") for headers in ({}, bearer(RED), bearer(WRONG))]
    for role in ("web-worker", "runner"):
        server.wait_for(role, other_than=server.kill(role))
    assert f"Bearer {ENGINE_KEY}" in engine.headers[0]["authorization"]
    secrets = [key.encode() for key in (RED, RED_TOO, BLUE, WRONG, ENGINE_KEY)]
    log = server.log().encode()
    assert log
    for answer in told:
        assert not any(secret in answer.body + str(answer.headers).encode() for secret in secrets), answer
    for secret in (*secrets, TEXT.encode(), INSTRUCTIONS.encode(), ANSWER.encode()):
        assert secret not in log
    files = {path: path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file()}
    assert any(TEXT.encode() in content for content in files.values())
    arguments = b"".join(command_lines(server))
    assert b"oxillama.runner" in arguments
    for secret in secrets:
        assert secret not in arguments
        assert [path for path, content in files.items() if secret in content or secret in os.fsencode(path)] == []


def test_the_embedded_engines_key_is_new_at_each_start_and_known_to_our_parts_alone():
    keys = []
    for _ in range(2):
        with Server(environ={"OXILLAMA_API_KEYS": f"red:{RED}"}) as server:
            environ = psutil.Process(server.wait_ready().wait_for("runner")[0]).environ()
            key, port = environ["OXILLAMA_ENGINE_API_KEY"], int(environ["OXILLAMA_EMBEDDED_PORT"])
            keys.append(key)
            with client_of(server, api_key=RED) as client:
                run = ended(client, start_run(client, ask(client), max_completion_tokens=256), 60)
                assert run.status in ("completed", "incomplete"), run.last_error
            # Where the engine tells nobody else; a caller's key is none.
            for headers in ({}, bearer(RED), bearer(key[:-1])):
                for path in ("/props", "/slots"):
                    assert Http(port).get(path, headers).status == 401
            assert Http(port).get("/props", bearer(key)).status == 200
            places = [server.log().encode(), *command_lines(server)]
            places += [path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file()]
            assert not any(key.encode() in content for content in places)
    assert len({*keys}) == 2 and min(map(len, keys)) > 40


@pytest.mark.parametrize("umask", [0, 0o777], ids=oct)
def test_others_on_this_machine_cannot_read_the_data(engine: ScriptedEngine, umask: int):
    engine.script(Reply(calls=[Call("look")]))
    with Server(engine_url=engine.url, umask=umask) as server:
        with client_of(server.wait_ready()) as client:
            question = ask(client)
            client.beta.threads.messages.update(question.message_id, thread_id=question.thread_id, metadata={"a": "b"})
            tool: Any = {"type": "function", "function": {"name": "look"}}
            messages: Any = [{"role": "user", "content": "And now?"}]
            run = start_run(client, question, tools=[tool], additional_messages=messages)
            wait_until(
                lambda: client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id).required_action, 20, "a call is asked for"
            )
            client.beta.threads.delete(ask(client).thread_id)
        found = [server.data_dir, *server.data_dir.rglob("*")]
        modes = {str(path.relative_to(server.data_dir)): oct(path.stat().st_mode & 0o7777) for path in found}
        private = {str(path.relative_to(server.data_dir)): oct(0o700 if path.is_dir() else 0o600) for path in found}
        assert modes == private
        assert {"supervisord.pid", "format.json", f"queue/active/{run.id}"} < set(modes) and len(modes) > 25
        server.stop()


def refused_by_the_engine(server: Server, engine: ScriptedEngine, status: int) -> Answer:
    engine.script(http_error(status, f"Bad key {ENGINE_KEY}", "invalid_request_error", headers={"X-Key": ENGINE_KEY}))
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": TEXT}]}
    answer = Http(server.port).post("/v1/chat/completions", body, bearer(RED))
    assert answer.status >= 400
    return answer


def command_lines(server: Server) -> list[bytes]:
    found = []
    for process in server.alive():
        try:
            found.append(Path(f"/proc/{process.pid}/cmdline").read_bytes())
        except OSError:
            continue
    return found
