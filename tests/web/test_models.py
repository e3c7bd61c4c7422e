"""Models: what the engine serves."""

from __future__ import annotations

import openai
import pytest


def test_list_and_retrieve(client, engine):
    assert [model.to_dict() for model in client.models.list()] == engine.models
    assert client.models.retrieve("scripted-chat").to_dict() == engine.models[0]


def test_a_name_with_slashes(client, http, engine):
    engine.models = [{"id": "meta/llama 3.1:8b/q4", "object": "model", "created": 1790000000, "owned_by": "tests"}]
    assert client.models.retrieve("meta/llama 3.1:8b/q4").id == "meta/llama 3.1:8b/q4"
    assert http.get("/v1/models/meta/llama%203.1:8b/q4").json["id"] == "meta/llama 3.1:8b/q4"


def test_what_an_engine_leaves_out_is_filled_in(client, engine):
    engine.models = [{"id": "bare"}, {"id": "more", "object": "model", "created": None, "meta": {"n_ctx": 5}}]
    assert [model.to_dict() for model in client.models.list()] == [
        {"id": "bare", "object": "model", "created": 0, "owned_by": "engine"},
        {"id": "more", "object": "model", "created": 0, "owned_by": "engine"},
    ]


def test_an_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-nothing")
    error = {
        "message": "The model 'gpt-nothing' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert caught.value.body == error


def test_no_models_at_all(client, engine):
    engine.models = []
    assert client.models.list().data == []
