"""Where the API lies: below `/v1` for OpenAI's clients, below `/openai` for Azure's; and what to tell a client that looks elsewhere."""

from __future__ import annotations

from flask import Request
from werkzeug.routing import Map

#: What clients of OpenAI's have as `base_url`, behind the host.
OPENAI = "/v1"
#: What AzureOpenAI puts behind its `azure_endpoint`.
AZURE = "/openai"

#: What people put before the path of an endpoint, once, twice or not at all.
_PREFIX_WORDS = frozenset({"api", "v1", "v2", "openai"})


def right_base_url(request: Request, routes: Map) -> str | None:
    """The base URL with which a request for an unknown URL would have found its endpoint; None when no base URL would help.

    Args:
        request: whose path leads nowhere.
        routes: of the application.
    """
    # Azure's clients always send their version.
    prefix = AZURE if "api-version" in request.args else OPENAI
    segments = [segment for segment in request.path.split("/") if segment]
    while segments and segments[0] in _PREFIX_WORDS:
        del segments[0]
    path = "/".join((prefix, *segments))
    if path == request.path or not routes.bind("").allowed_methods(path):
        return None
    return request.host_url.rstrip("/") + prefix
