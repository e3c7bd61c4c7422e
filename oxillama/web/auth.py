"""Who is asking: the key of a request to a project, and the beta header that the Assistants API wants."""

from __future__ import annotations

import hmac
import re
from wsgiref.types import WSGIEnvironment

from oxillama.errors import AuthenticationFailed, InvalidRequest
from oxillama.settings import Settings

_BETA = "assistants=v2"


def project_of(environ: WSGIEnvironment, settings: Settings) -> str:
    """The project that the request's key belongs to; `default` where no keys are configured.

    Raises:
        AuthenticationFailed: keys are configured and this is none of them.
    """
    if settings.api_keys is None:
        return "default"
    key = _key(environ)
    if not key:
        raise AuthenticationFailed(None)
    # All keys are compared, each in constant time, so that the time taken tells nothing of any of them.
    given = key.encode()
    matching = [project for known, project in settings.api_keys.items() if hmac.compare_digest(known.encode(), given)]
    if not matching:
        raise AuthenticationFailed(key)
    return matching[0]


def _key(environ: WSGIEnvironment) -> str:
    """The bearer token, else what Azure's clients send as `api-key`; empty for none."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else ""
    return key or environ.get("HTTP_API_KEY", "").strip()


def check_beta_header(environ: WSGIEnvironment) -> None:
    """Refuse a client that asks for another version of the Assistants API (behaviour.md, section 1).

    A missing header is accepted: whoever writes a request by hand means the only version there is. So are other betas beside ours.

    Raises:
        InvalidRequest: the header names betas, and not this one.
    """
    # ruby-openai puts a semicolon between several, others a comma.
    asked = [name.strip() for name in re.split("[,;]", environ.get("HTTP_OPENAI_BETA", "")) if name.strip()]
    if not asked or _BETA in asked:
        return
    if any(name.startswith("assistants=") for name in asked):
        message = (
            "You must provide the 'OpenAI-Beta' header to access the Assistants API. "
            "Please try again by setting the header 'OpenAI-Beta: assistants=v2'."
        )
        raise InvalidRequest(message, None, "invalid_beta")
    raise InvalidRequest(f"Unknown beta requested: '{asked[0][:64]}'.", None, "invalid_beta")
