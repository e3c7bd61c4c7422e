"""The program in the README against everything as it is shipped: two web workers, a runner, and the model that comes along."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.validation import ValidatingClient, validating_client
from tests.process_control import Server
from tests.processes.talk import Question, ask, ended, start_run
from tests.raw_http import Http

#: The model answers at length, and how fast depends on the machine. This is the least that the API allows.
SHORT: Any = {"max_completion_tokens": 256}
ANSWERED = ("completed", "incomplete")
ANSWER_SECONDS = 120

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole-program") / "data"


@pytest.fixture(scope="module")
def server(data_dir: Path) -> Iterator[Server]:
    with Server(data_dir=data_dir) as server:
        yield server.wait_ready()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[ValidatingClient]:
    with validating_client(server.base_url) as client:
        yield client


@pytest.fixture(scope="module")
def answered(client: ValidatingClient) -> Question:
    """A question with a finished run."""
    question = ask(client)
    run = client.beta.threads.runs.create_and_poll(thread_id=question.thread_id, assistant_id=question.assistant_id, **SHORT)
    assert run.status in ANSWERED, run.last_error
    return question


def test_the_readmes_program_streams_an_answer_which_the_thread_then_has(client: ValidatingClient):
    assistant = client.beta.assistants.create(model="gpt-4o", instructions="Answer in one sentence.")
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "What is the capital of France?"}])
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, **SHORT) as stream:
        deltas = list(stream.text_deltas)
    assert len(deltas) > 3
    newest = client.beta.threads.messages.list(thread.id).data[0]
    assert (newest.role, newest.content[0].text.value) == ("assistant", "".join(deltas))


def test_a_polled_run_shows_its_step_and_what_it_used(client: ValidatingClient, answered: Question):
    (run,) = client.beta.threads.runs.list(answered.thread_id)
    (step,) = client.beta.threads.runs.steps.list(run.id, thread_id=answered.thread_id)
    assert run.status in ANSWERED
    assert (run.model, step.status, step.type) == ("gpt-4o", run.status, "message_creation")
    assert run.usage.prompt_tokens > 0
    assert run.usage.completion_tokens > 0
    assert run.usage.total_tokens == run.usage.prompt_tokens + run.usage.completion_tokens
    assert step.usage.model_dump() == run.usage.model_dump()


def test_the_second_turn_of_a_thread_finds_the_first_in_the_engines_cache(client: ValidatingClient):
    question = ask(client)
    first = ended(client, start_run(client, question, **SHORT), timeout=ANSWER_SECONDS)
    client.beta.threads.messages.create(question.thread_id, role="user", content="And of Italy?")
    second = ended(client, start_run(client, question, **SHORT), timeout=ANSWER_SECONDS)
    assert second.usage.prompt_tokens > first.usage.prompt_tokens
    assert second.usage.to_dict()["prompt_token_details"]["cached_tokens"] > 0


def test_after_a_restart_every_object_reads_the_same_byte_by_byte(
    client: ValidatingClient, server: Server, data_dir: Path, answered: Question
):
    (run,) = client.beta.threads.runs.list(answered.thread_id)
    thread = f"/v1/threads/{answered.thread_id}"
    paths = [
        *(
            f"/v1/assistants/{answered.assistant_id}",
            "/v1/assistants",
            thread,
            f"{thread}/messages",
            f"{thread}/messages/{answered.message_id}",
        ),
        *(f"{thread}/runs", f"{thread}/runs/{run.id}", f"{thread}/runs/{run.id}/steps", f"{thread}/runs/{run.id}/events"),
    ]
    before = {path: Http(server.port).get(path) for path in paths}
    server.stop()
    with Server(data_dir=data_dir) as again:
        http = Http(again.wait_ready().port)
        for path in paths:
            assert before[path].status == 200, path
            assert http.get(path).body == before[path].body, path
