"""The endpoints of models: what the engine serves, and the names that `OXILLAMA_MODEL_MAP` adds."""

from __future__ import annotations

from typing import Any

import orjson
import urllib3
from flask import Blueprint, Response

from oxillama.errors import EngineUnavailable, NotFound
from oxillama.settings import Settings
from oxillama.web.answers import json_value
from oxillama.web.context import context

bp = Blueprint("models", __name__, url_prefix="/v1/models")

_TIMEOUT = urllib3.Timeout(connect=3, read=10)
_engine = urllib3.PoolManager(retries=False, timeout=_TIMEOUT)


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
    key = settings.engine_api_key
    try:
        answer = _engine.request("GET", f"{settings.engine_base_url}/models", headers={"Authorization": f"Bearer {key}"} if key else {})
        served = [_model(one) for one in orjson.loads(answer.data)["data"]] if answer.status == 200 else None
    except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError):
        served = None
    if served is None:
        raise EngineUnavailable("The model engine cannot be reached.")
    by_id = {model["id"]: model for model in served}
    aliases = [{**by_id[name], "id": alias} for alias, name in settings.model_map.items() if name in by_id and alias not in by_id]
    return served + aliases


def _model(told: dict[str, Any]) -> dict[str, Any]:
    """A model in the API's form; engines leave fields out."""
    return {
        "id": str(told["id"]),
        "object": "model",
        "created": int(told.get("created") or 0),
        "owned_by": str(told.get("owned_by") or "engine"),
    }
