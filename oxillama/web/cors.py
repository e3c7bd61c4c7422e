"""What browsers are told, so that programs in web pages of the origins that the operator names can use the server with a key (CORS).

The answers say so, and preflights ask: an OPTIONS request, without a key, before each request that a form could not have sent.
See the Fetch standard, section "CORS protocol".
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from wsgiref.types import WSGIEnvironment

_METHODS = "GET, POST, DELETE"
#: Headers of requests: what the API reads, and what SDKs and their fetch add (openai-node, Azure's, event source libraries).
_REQUEST_HEADERS = frozenset({"accept", "api-key", "authorization", "cache-control", "content-type", "last-event-id", "user-agent"})
_REQUEST_FAMILIES = ("openai-", "x-ms-", "x-stainless-")
_HEADER_NAME = re.compile(r"[a-z0-9-]+", re.ASCII)
#: Headers of answers that a program may read besides those that it always may.
_EXPOSED = ", ".join(
    (
        *("openai-organization", "openai-poll-after-ms", "openai-processing-ms", "openai-project", "openai-version"),
        *("retry-after", "retry-after-ms", "x-request-id", "x-should-retry"),
    )
)
#: How long a browser may remember the answer to a preflight. Chromium's own limit.
_MAX_AGE_SECONDS = 7200


class CorsPolicy:
    """Which pages may read answers.

    Args:
        origins: exact origins, as browsers send them.
    """

    def __init__(self, origins: AbstractSet[str]) -> None:
        self._origins = frozenset(origins)

    def headers(self, environ: WSGIEnvironment) -> list[tuple[str, str]]:
        """The headers that every answer to this request has, whatever its status."""
        # Caches must not give one origin's answer to another.
        vary = ("vary", "Origin")
        origin = environ.get("HTTP_ORIGIN", "")
        if origin not in self._origins:
            return [vary]
        return [vary, ("access-control-allow-origin", origin), ("access-control-expose-headers", _EXPOSED)]

    def preflight(self, environ: WSGIEnvironment) -> list[tuple[str, str]] | None:
        """What the answer to a preflight grants besides; None for a request that is none, or that comes from another origin."""
        if environ["REQUEST_METHOD"] != "OPTIONS" or "HTTP_ACCESS_CONTROL_REQUEST_METHOD" not in environ:
            return None
        if environ.get("HTTP_ORIGIN", "") not in self._origins:
            return None
        granted = [("access-control-allow-methods", _METHODS), ("access-control-max-age", str(_MAX_AGE_SECONDS))]
        asked = [name.strip().lower() for name in environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "").split(",")]
        allowed = [name for name in asked if _is_allowed(name)]
        return [*granted, ("access-control-allow-headers", ", ".join(allowed))] if allowed else granted


def _is_allowed(name: str) -> bool:
    return name in _REQUEST_HEADERS or (name.startswith(_REQUEST_FAMILIES) and _HEADER_NAME.fullmatch(name) is not None)
