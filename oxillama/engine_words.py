"""What an engine said when it refused, in a form that callers may read: its own words, without addresses and keys."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

_MAX_QUOTE = 500
#: Of a text, so much is looked at: what is behind it would not be quoted.
_MAX_LOOKED_AT = 4 * _MAX_QUOTE
#: Errors within errors; none is known with more than four.
_MAX_LEVELS = 20
#: Of an error that stands as a text within another. It is parsed without the bounds that an answer has.
_MAX_INNER = 64 * 1024

# Each alternative begins where only one scan of the same characters can begin: an engine may quote a caller who means harm.
_ADDRESS = re.compile(
    r"[a-z0-9+.-]{1,20}://\S+"  # any URL
    r"|\[[0-9a-f:.]{1,64}\](?::\d{1,5})?"  # [::1]:8080
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d{1,5})?"
    r"|(?<![a-z0-9_.-])(?=[0-9_.-]*[a-z])[a-z0-9_.-]++:\d{2,5}\b"  # host:port
    r"|\blocalhost\b",
    re.IGNORECASE,
)
_KEY = re.compile(r"\bsk-\S+|\bBearer \S+", re.IGNORECASE)


def told(body: object, levels: int = _MAX_LEVELS) -> str:
    """The text of an error, in the shapes that OpenAI, Ollama and FastAPI give it; empty when there is none.

    Args:
        body: the error answer's JSON, parsed or not.
        levels: how deep in it the text may lie.
    """
    if not levels:
        return ""
    if isinstance(body, str):
        inner = parsed(body)
        if inner is None:
            return "" if "<html" in body[:_MAX_LOOKED_AT].lower() else body
        return told(inner, levels - 1)
    if isinstance(body, list):
        return "; ".join(filter(None, (told(one, levels - 1) for one in body)))
    if isinstance(body, dict):
        # OpenRouter says only "Provider returned error" itself (charmbracelet/crush#279).
        metadata = body.get("metadata")
        told_to_it = told(metadata.get("raw"), levels - 1) if isinstance(metadata, dict) else ""
        return told_to_it or next((told(body[name], levels - 1) for name in ("message", "error", "detail", "msg") if body.get(name)), "")
    return ""


def parsed(text: str) -> dict[str, Any] | list[Any] | None:
    """The error that a text is the JSON of; None when it is none, or longer than errors are."""
    if len(text) > _MAX_INNER or text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


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
    # Cut first. A word that the cut may have cut in two could be half a key.
    head = text[:_MAX_LOOKED_AT]
    # Control characters are for terminals, and whoever reads this may show it in one.
    words = "".join(one if one.isprintable() else " " for one in sound(head)).split()
    text = " ".join(words[:-1] if len(head) < len(text) else words)
    for secret in secrets:
        text = re.sub(re.escape(secret) + r"(?::\d{1,5})?", "…", text)
    text = _ADDRESS.sub("…", _KEY.sub("…", text))
    return text if len(text) <= _MAX_QUOTE else text[: _MAX_QUOTE - 1] + "…"
