"""Where the engine is and how to show that we may ask it: said once, for the runner's client and for the web's."""

from __future__ import annotations

import base64
import urllib.request
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit, urlunsplit

from oxillama import engine_words
from oxillama.settings import Settings, is_loopback


@dataclass(frozen=True)
class EngineEndpoint:
    """An engine's address and credentials. It holds no connection.

    Attributes:
        base_url: up to and with `/v1`, without name and password and without a slash at its end.
        headers: those that authenticate us; empty for an engine that asks for nothing.
        secrets: texts of address and key that nobody may be told.
    """

    base_url: str
    headers: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def at(cls, base_url: str, api_key: str | None = None) -> Self:
        """The engine at an address.

        Args:
            base_url: up to and with `/v1`. A name and a password in it are sent instead of the key.
            api_key: None for an engine that asks for none.
        """
        url = urlsplit(base_url)
        userinfo, _, host = url.netloc.rpartition("@")
        headers = {}
        if userinfo:
            name, _, password = userinfo.partition(":")
            login = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode())
            headers["Authorization"] = f"Basic {login.decode()}"
        elif api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        bare = urlunsplit(url._replace(netloc=host)).rstrip("/")
        return cls(bare, headers, engine_words.secrets(base_url, api_key))

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The engine that the settings name.

        Raises:
            SettingsInvalid: they name none.
        """
        return cls.at(settings.engine_base_url, settings.engine_api_key)

    @property
    def root(self) -> str:
        """What `/v1` lies below: llama.cpp's server has questions of its own there."""
        return self.base_url.removesuffix("/v1")

    @property
    def is_encrypted(self) -> bool:
        """Whether a connection begins with a handshake that costs enough to keep it."""
        return self.base_url.startswith("https:")

    @property
    def proxy(self) -> str | None:
        """The proxy that the environment names for this engine; None when it is asked directly.

        A proxy cannot reach this machine's loopback.
        """
        url = urlsplit(self.base_url)
        host = url.hostname or ""
        if is_loopback(host) or urllib.request.proxy_bypass(host):
            return None
        proxies = urllib.request.getproxies()
        return proxies.get(url.scheme) or proxies.get("all")
