"""The endpoints of models: what the engine serves, and the names that `OXILLAMA_MODEL_MAP` adds."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
from flask import Blueprint, Response

from oxillama.errors import EngineAnswerUnusable, EngineUnavailable, NotFound
from oxillama.settings import Settings
from oxillama.web.answers import json_value
from oxillama.web.context import context
from oxillama.web.engine_http import Exchange
from oxillama.web.hang_up import client_socket
from oxillama.web.loading import check_loaded, once_loaded

bp = Blueprint("models", __name__, url_prefix="/models")

_ANSWER_SECONDS = 10
#: Of a list, decoded. The longest that anybody serves has some hundred models.
_MAX_BYTES = 8 * 1024 * 1024


@bp.get("")
def list_models() -> Response:
    """All models."""
    return json_value({"object": "list", "data": _models(context().settings)})


@bp.get("/<path:model>")
def get_model(model: str) -> Response:
    """One model. A name may hold slashes."""
    for known in _models(context().settings):
        if known["id"] == model:
            return json_value(known)
    raise NotFound("model", model[:256])


def _models(settings: Settings) -> list[dict[str, Any]]:
    content = once_loaded(lambda: _list(settings))
    try:
        served = [_model(one) for one in orjson.loads(content)["data"]]
    except (ValueError, KeyError, TypeError):
        raise EngineAnswerUnusable("The model engine answered with something that is not a list of models.") from None
    by_id = {model["id"]: model for model in served}
    aliases = [{**by_id[name], "id": alias} for alias, name in settings.model_map.items() if name in by_id and alias not in by_id]
    return served + aliases


def _list(settings: Settings) -> bytes:
    with contextlib.ExitStack() as held:
        exchange = held.enter_context(Exchange(settings, "GET", "/models", answer_seconds=_ANSWER_SECONDS))
        held.enter_context(context().hang_ups.watching(client_socket(), exchange.break_off))
        status = exchange.receive().status
        check_loaded(status)
        if status != 200:
            raise EngineUnavailable("The model engine does not list its models.")
        content = exchange.read(_MAX_BYTES, seconds=_ANSWER_SECONDS)
    if content is None:
        raise EngineAnswerUnusable(f"The model engine's list of models is longer than {_MAX_BYTES >> 20} MB.")
    return content


def _model(told: dict[str, Any]) -> dict[str, Any]:
    """A model in the API's form; engines leave fields out."""
    return {
        "id": str(told["id"]),
        "object": "model",
        "created": int(told.get("created") or 0),
        "owned_by": str(told.get("owned_by") or "engine"),
    }
