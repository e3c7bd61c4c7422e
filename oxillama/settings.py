"""Settings: every environment variable, its default, its check and what it is for. The README's table is made from here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oxillama.errors import SettingsInvalid

#: Defaults of the limits that the lifecycle keeps.
MOST_MESSAGES = 100_000
MOST_RUNS = 1_000

_EMBEDDED_CONTEXT_TOKENS = 4096
#: How long whoever asks the embedded engine waits while it reads its model.
_LOADING_SECONDS = 60

_PROJECT = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# What every client can send in a header. Not so long that gunicorn would refuse the header.
_KEY = re.compile(r"[!-~]{1,4096}", re.ASCII)
# As browsers write them: in lower case, without a path, and without the port that belongs to the scheme.
_ORIGIN = re.compile(r"(?!http://[^/]+:80\Z|https://[^/]+:443\Z)[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.ASCII)


@dataclass(frozen=True)
class Setting:
    """One environment variable.

    Attributes:
        name: of the variable.
        default: its text when it is not set; None when unset has a meaning of its own.
        parse: text to value; raises ValueError with a text that says what is allowed.
        meaning: one line for the README.
    """

    name: str
    default: str | None
    parse: Callable[[str], Any]
    meaning: str


def _at_least(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < minimum:
            raise ValueError(f"a whole number, at least {minimum}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text.strip()):
        raise ValueError("a number of seconds, 0 or more, for instance 2.5")
    return float(text)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(" or ".join(allowed))
        return text

    return parse


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("an address and a port, for instance 127.0.0.1:8000")
    return text


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", text):
        raise ValueError("an http or https address, for instance http://127.0.0.1:11434/v1")
    return text.rstrip("/")


def _keys(text: str) -> dict[str, str]:
    projects: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        # At the first colon: a key may hold others.
        before, separator, behind = entry.partition(":")
        project, key = (before, behind) if separator else ("default", entry)
        if not _PROJECT.fullmatch(project) or not _KEY.fullmatch(key):
            raise ValueError(
                "project:key,project:key; a project's name has 1 to 64 letters, digits, - and _, and a key visible ASCII characters"
            )
        if projects.setdefault(key, project) != project:
            raise ValueError("a list in which no key is given to two projects")
    return projects


def _model_map(text: str) -> dict[str, str]:
    names = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        asked, separator, served = entry.partition("=")
        if not (separator and asked and served):
            raise ValueError("name=engine's name,name=engine's name; for instance gpt-4o=qwen3-8b")
        names[asked.strip()] = served.strip()
    return names


def _origins(text: str) -> frozenset[str]:
    origins = frozenset(filter(None, (part.strip() for part in text.split(","))))
    if not all(map(_ORIGIN.fullmatch, origins)):
        raise ValueError(
            "origins as browsers send them, comma-separated, for instance https://app.example.com,http://localhost:3000: "
            "in lower case, without a path, a usual port or *"
        )
    return origins


SETTINGS = (
    Setting("OXILLAMA_BIND", "127.0.0.1:8000", _address, "Address and port to serve on. Anything but loopback needs `OXILLAMA_API_KEYS`."),
    Setting("OXILLAMA_DATA_DIR", "./data", Path, "Where everything is kept. Local disks only."),
    Setting(
        "OXILLAMA_ENGINE_URL",
        None,
        _url,
        "Base URL of an OpenAI-compatible engine, up to and with `/v1`; a name and a password in it are sent instead of a key. "
        "Unset: the embedded engine.",
    ),
    Setting(
        "OXILLAMA_ENGINE_API_KEY",
        None,
        str,
        "Key for that engine. The embedded one asks for it too: `make serve` makes one where it is unset; set it to start the parts by hand.",
    ),
    Setting("OXILLAMA_ENGINE_TOOLS", "auto", _one_of("auto", "native", "prompted"), "How functions reach the model. `native`: as `tools`. `prompted`: in the prompt, the reply held to a JSON schema. `auto`: what the engine's `/props` says it can; `native` when it does not say, `prompted` with the embedded engine."),
    Setting("OXILLAMA_MODEL_PATH", None, Path, "GGUF file for the embedded engine. Unset: the small model that comes along."),
    Setting("OXILLAMA_API_KEYS", None, _keys, "`project:key`, comma-separated, divided at the first colon; a bare key belongs to project `default`. Unset: open to all, on loopback only."),
    Setting("OXILLAMA_CORS_ORIGINS", "", _origins, "Origins of web pages whose programs may use the server from a browser, comma-separated and exact, as `https://app.example.com`. Needs `OXILLAMA_API_KEYS`."),
    Setting("OXILLAMA_WORKERS", "2", _at_least(1), "Web worker processes."),
    Setting("OXILLAMA_THREADS", "8", _at_least(1), "Request threads of each web worker, besides those for open streams."),
    Setting("OXILLAMA_MAX_STREAMS", "512", _at_least(1), "Open streams of each web worker; beyond that 429."),
    Setting("OXILLAMA_RUN_CONCURRENCY", "4", _at_least(1), "Runs that a runner executes at once; slots of the embedded engine."),
    Setting("OXILLAMA_DURABILITY", "full", _one_of("full", "relaxed"), "`full`: what was acknowledged survives a power cut. `relaxed`: it survives the death of any process, but a power cut may take the last half minute; faster."),
    Setting("OXILLAMA_MODEL_MAP", "", _model_map, "`gpt-4o=qwen3-8b`, comma-separated: the engine's name for a name that programs use."),
    Setting("OXILLAMA_BUSY_WAIT_SECONDS", "0", _seconds, "How long a message or a run waits for the active run of its thread to end before it is refused. Each that waits takes the place of an open stream; without a free one it is refused at once."),
    Setting("OXILLAMA_RUN_EXPIRY_SECONDS", "600", _at_least(1), "Life of a run, waiting for tool outputs included."),
    Setting("OXILLAMA_FIRST_TOKEN_SECONDS", "120", _at_least(1), "How long the engine may take to its first token, and how long a run waits for one that is loading (503) or limits its rate (429). With a model of one's own it is also how long the embedded engine may not move before it is replaced."),
    Setting("OXILLAMA_STALL_SECONDS", "60", _at_least(1), "How long the engine may pause between tokens."),
    Setting("OXILLAMA_CONTEXT_TOKENS", None, _at_least(256), "Tokens that one conversation may hold: in the embedded engine (unset: 4096), or in another that does not say."),
    Setting("OXILLAMA_MAX_BODY_BYTES", str(8 * 1024 * 1024), _at_least(1024), "Largest request body; beyond that 413."),
    Setting("OXILLAMA_MAX_MESSAGES_PER_THREAD", str(MOST_MESSAGES), _at_least(1), "Messages that callers may bring a thread to, deleted ones included; beyond that 413. What a run writes is always stored."),
    Setting("OXILLAMA_MAX_QUEUED_RUNS", str(MOST_RUNS), _at_least(1), "Runs of a project that are not over; beyond that 429. Of requests that come at the same time a few more may pass."),
    Setting("OXILLAMA_EMBEDDED_PORT", None, _at_least(1), "Loopback port of the embedded engine. `make serve` chooses a free one; set it to start the parts by hand."),
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The checked environment. One attribute per setting, named as the variable without its prefix, in lower case."""

    bind: str
    data_dir: Path
    engine_url: str | None
    engine_api_key: str | None
    engine_tools: str
    model_path: Path | None
    api_keys: dict[str, str] | None
    cors_origins: frozenset[str]
    workers: int
    threads: int
    max_streams: int
    run_concurrency: int
    durability: str
    model_map: dict[str, str]
    busy_wait_seconds: float
    run_expiry_seconds: int
    first_token_seconds: int
    stall_seconds: int
    context_tokens: int | None
    max_body_bytes: int
    max_messages_per_thread: int
    max_queued_runs: int
    embedded_port: int | None

    @property
    def durable(self) -> bool:
        """Whether what was acknowledged survives a power cut."""
        return self.durability == "full"

    @property
    def embedded(self) -> bool:
        """Whether the embedded engine answers."""
        return self.engine_url is None

    @property
    def embedded_context_tokens(self) -> int:
        """Context of each slot of the embedded engine."""
        return self.context_tokens or _EMBEDDED_CONTEXT_TOKENS

    @property
    def loading_seconds(self) -> int:
        """How long the engine is waited for when nobody listens there yet, or it says that it is loading. An engine elsewhere is not."""
        return _LOADING_SECONDS if self.embedded else 0

    @property
    def engine_base_url(self) -> str:
        """Where the engine listens, up to and with `/v1`.

        Raises:
            SettingsInvalid: no engine is configured and nobody chose a port for the embedded one.
        """
        if self.engine_url is not None:
            return self.engine_url
        if self.embedded_port is None:
            raise SettingsInvalid("set OXILLAMA_ENGINE_URL, or OXILLAMA_EMBEDDED_PORT for the embedded engine")
        return f"http://127.0.0.1:{self.embedded_port}/v1"


def read(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`. An empty variable counts as unset.

    Raises:
        SettingsInvalid: a variable holds something that is not allowed, or the server would be open to the network without keys.
    """
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text = environ.get(setting.name) or setting.default
        try:
            values[setting.name.removeprefix("OXILLAMA_").lower()] = None if text is None else setting.parse(text)
        except ValueError as error:
            # Never the value itself: it may hold a key.
            raise SettingsInvalid(f"{setting.name} must be {error}") from None
    settings = Settings(**values)
    check_bind(settings, settings.bind.rpartition(":")[0])
    if settings.cors_origins and settings.api_keys is None:
        raise SettingsInvalid(
            "OXILLAMA_CORS_ORIGINS needs OXILLAMA_API_KEYS: without keys, every visitor of such a page could use the server"
        )
    return settings


def check_bind(settings: Settings, host: str) -> None:
    """Raise SettingsInvalid when serving on `host` would open the server to other machines and there are no keys."""
    if settings.api_keys is None and not is_loopback(host.strip("[]")):
        raise SettingsInvalid(f"{host} is reachable from other machines, so OXILLAMA_API_KEYS must be set; or bind to 127.0.0.1")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`, a name or an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
