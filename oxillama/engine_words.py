"""What an engine said when it refused, in a form that callers may read: its own words, without addresses and keys."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote, urlsplit

_LONGEST_QUOTE = 500

_ADDRESS = re.compile(
    r"\b[a-z][a-z0-9+.-]*://\S+"  # any URL
    r"|\[[0-9a-f:.]+\](?::\d+)?"  # [::1]:8080
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?"
    r"|\b[a-z0-9_.-]*[a-z][a-z0-9_.-]*:\d{2,5}\b"  # host:port
    r"|\blocalhost\b",
    re.IGNORECASE,
)
_KEY = re.compile(r"\bsk-\S+|\bBearer\s+\S+", re.IGNORECASE)


def told(body: object) -> str:
    """The text of an error, in the shapes that OpenAI, Ollama and FastAPI give it; empty when there is none.

    Args:
        body: the error answer's JSON, parsed or not.
    """
    if isinstance(body, str):
        try:
            inner = json.loads(body)
        except (ValueError, RecursionError):
            return "" if "<html" in body.lower() else body
        return "" if isinstance(inner, str) else told(inner)
    if isinstance(body, list):
        return "; ".join(filter(None, map(told, body)))
    if isinstance(body, dict):
        return next((told(body[name]) for name in ("message", "error", "detail", "msg") if body.get(name)), "")
    return ""


def sound(text: str) -> str:
    """The text without halves of characters, which JSON can say and nobody can store."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def secrets(base_url: str, api_key: str | None) -> tuple[str, ...]:
    """What of an engine's address and key nobody may be told."""
    url = urlsplit(base_url)
    return tuple(filter(None, (base_url, api_key, url.hostname, url.password, unquote(url.password or ""))))


def quotable(text: str, secrets: tuple[str, ...]) -> str:
    """A text of the engine in one line of bounded length, without addresses and keys.

    Args:
        text: as it came.
        secrets: more that must not be told, as the function `secrets` gives it.
    """
    text = sound(text)
    for secret in secrets:
        text = re.sub(re.escape(secret) + r"(?::\d+)?", "…", text)
    text = _ADDRESS.sub("…", _KEY.sub("…", text))
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
