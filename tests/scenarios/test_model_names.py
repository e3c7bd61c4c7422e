"""Which model answers for the name that a caller asks for; the run keeps the caller's name."""

from __future__ import annotations

from tests.scenarios.conversation import QUESTION, ended

EMBEDDER = {"id": "nomic-embed-text", "object": "model", "created": 1790000000, "owned_by": "tests"}


def run_with(client, http, model):
    assistant = client.beta.assistants.create(model=model, instructions="Answer.")
    run = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": QUESTION}]})
    run = ended(client, http, run)
    assert run.model == model
    return run


def asked_for(engine):
    return [request["model"] for request in engine.requests]


def test_the_callers_name_is_passed_on(client, http, engine):
    assert run_with(client, http, "meta/llama-3.1:8b").status == "completed"
    assert asked_for(engine) == ["meta/llama-3.1:8b"]


def test_where_the_engine_does_not_have_it_the_first_chat_model_answers(client, http, engine):
    engine.strict_models = True
    engine.models = [EMBEDDER, *engine.models]
    assert run_with(client, http, "gpt-4o-2024-11-20").status == "completed"
    assert asked_for(engine) == ["gpt-4o-2024-11-20", "scripted-chat"]
    assert run_with(client, http, "gpt-4o-2024-11-20").status == "completed"
    assert asked_for(engine)[2:] == ["scripted-chat"], "it is looked up once"


def test_where_nothing_can_chat_the_run_fails(client, http, engine):
    engine.strict_models, engine.models = True, [EMBEDDER]
    run = run_with(client, http, "gpt-5-nowhere")
    assert (run.status, run.last_error.code) == ("failed", "server_error")


def test_the_map_decides_first(strict_client, strict_http, strict_engine):
    strict_engine.strict_models = True
    assert run_with(strict_client, strict_http, "gpt-4o").status == "completed"
    assert asked_for(strict_engine) == ["scripted-chat"]


def test_a_map_to_a_model_that_the_engine_does_not_have_is_not_overruled(strict_client, strict_http, strict_engine):
    strict_engine.strict_models = True
    run = run_with(strict_client, strict_http, "gpt-4")
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    assert "OXILLAMA_MODEL_MAP" in run.last_error.message
    assert asked_for(strict_engine) == ["not-served"]


def test_mapped_names_are_listed_when_the_engine_has_their_model(strict_client, strict_engine):
    assert [model.id for model in strict_client.models.list()] == ["scripted-chat", "gpt-4o"]
    assert strict_client.models.retrieve("gpt-4o").owned_by == "tests"
