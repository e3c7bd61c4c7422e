"""Settings: what an empty environment means, what is allowed, and what is said about the rest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from oxillama import settings
from oxillama.errors import SettingsInvalid

SECRET = "sk-a-very-secret-key"


def read(**environ: str) -> settings.Settings:
    return settings.read({f"OXILLAMA_{name}": value for name, value in environ.items()})


def test_every_default():
    assert asdict(read()) == {
        "bind": "127.0.0.1:8000",
        "data_dir": Path("data"),
        "engine_url": None,
        "engine_api_key": None,
        "engine_tools": "auto",
        "model_path": None,
        "api_keys": None,
        "cors_origins": frozenset(),
        "workers": 2,
        "threads": 8,
        "max_streams": 512,
        "run_concurrency": 4,
        "durability": "full",
        "model_map": {},
        "busy_wait_seconds": 0,
        "run_expiry_seconds": 600,
        "first_token_seconds": 120,
        "stall_seconds": 60,
        "context_tokens": None,
        "max_body_bytes": 8 * 1024 * 1024,
        "max_messages_per_thread": 100_000,
        "max_queued_runs": 1000,
        "embedded_port": None,
    }


def test_every_setting_is_told_of_once_with_a_meaning():
    names = [setting.name for setting in settings.SETTINGS]
    assert sorted(name.removeprefix("OXILLAMA_").lower() for name in names) == sorted(asdict(read()))
    assert all(setting.meaning for setting in settings.SETTINGS)


@pytest.mark.parametrize("name", [setting.name for setting in settings.SETTINGS])
def test_an_empty_variable_counts_as_unset(name):
    assert settings.read({name: ""}) == read()


def test_other_variables_are_none_of_ours():
    assert settings.read({"PATH": "/bin", "OPENAI_API_KEY": SECRET}) == read()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("BIND", "localhost:1", "localhost:1"),
        ("BIND", "[::1]:65535", "[::1]:65535"),
        ("BIND", "127.3.2.1:8000", "127.3.2.1:8000"),
        ("DATA_DIR", "/srv/data", Path("/srv/data")),
        ("ENGINE_URL", "http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
        ("ENGINE_URL", "https://api.example.com/v1///", "https://api.example.com/v1"),
        ("ENGINE_API_KEY", SECRET, SECRET),
        ("MODEL_PATH", "/models/m.gguf", Path("/models/m.gguf")),
        ("DURABILITY", "relaxed", "relaxed"),
        ("WORKERS", "1", 1),
        ("CONTEXT_TOKENS", "256", 256),
        ("MAX_BODY_BYTES", "1024", 1024),
        ("EMBEDDED_PORT", "8080", 8080),
    ],
)
def test_allowed_values(name, text, value):
    assert asdict(read(**{name: text}))[name.lower()] == value


def test_origins_of_pages():
    text = "http://localhost:3000, https://app.example.com,,chrome-extension://abc,http://[::1]:5173"
    origins = {"http://localhost:3000", "https://app.example.com", "chrome-extension://abc", "http://[::1]:5173"}
    assert read(CORS_ORIGINS=text, API_KEYS=SECRET).cors_origins == origins


def test_origins_of_pages_need_keys():
    with pytest.raises(SettingsInvalid) as refused:
        read(CORS_ORIGINS="http://localhost:3000")
    said = "without keys, every visitor of such a page could use the server"
    assert str(refused.value) == f"OXILLAMA_CORS_ORIGINS needs OXILLAMA_API_KEYS: {said}"


WHOLE = "a whole number, at least"
ADDRESS = "an address and a port, for instance 127.0.0.1:8000"
URL = "an http or https address, for instance http://127.0.0.1:11434/v1"
KEYS = "project:key,project:key; a project's name has 1 to 64 letters, digits, - and _, and a key visible ASCII characters"
MAP = "name=engine's name,name=engine's name; for instance gpt-4o=qwen3-8b"
ORIGINS = (
    "origins as browsers send them, comma-separated, for instance https://app.example.com,http://localhost:3000: "
    "in lower case, without a path, a usual port or *"
)
COUNTS = (
    "WORKERS",
    "THREADS",
    "MAX_STREAMS",
    "RUN_CONCURRENCY",
    "RUN_EXPIRY_SECONDS",
    "FIRST_TOKEN_SECONDS",
    "STALL_SECONDS",
    "MAX_MESSAGES_PER_THREAD",
    "MAX_QUEUED_RUNS",
)


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        *[(name, text, f"{WHOLE} 1") for name in COUNTS for text in ("0", "-1", "1.5", "two", "1e3", "1_0", " ")],
        ("CONTEXT_TOKENS", "255", f"{WHOLE} 256"),
        ("MAX_BODY_BYTES", "1023", f"{WHOLE} 1024"),
        ("EMBEDDED_PORT", "0", f"{WHOLE} 1"),
        *[
            ("BIND", text, ADDRESS)
            for text in ("8000", ":8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "localhost:http")
        ],
        *[("ENGINE_URL", text, URL) for text in ("localhost:11434", "ftp://x/v1", "http://", "http://a b/v1", "unix:/run/engine")],
        *[("DURABILITY", text, "full or relaxed") for text in ("none", "FULL", "relaxed ")],
        *[
            ("API_KEYS", text, KEYS)
            for text in (
                "team:",
                ":key",
                "a/b:key",
                "..:key",
                "a b:key",
                "p" * 65 + ":key",
                "ä:key",
                "a:kéy",
                "a:k y",
                "a:k\ty",
                "a:" + "k" * 4097,
            )
        ],
        *[
            ("CORS_ORIGINS", text, ORIGINS)
            for text in (
                *(
                    "*",
                    "null",
                    "app.example.com",
                    "https://",
                    "https://app.example.com/",
                    "https://app.example.com/a",
                    "https://*.example.com",
                ),
                *(
                    "https://App.example.com",
                    "https://app.example.com:443",
                    "http://localhost:80",
                    "https://a:x",
                    "http://a http://b",
                    "https://me@a",
                ),
            )
        ],
        *[("MODEL_MAP", text, MAP) for text in ("gpt-4o", "gpt-4o=", "=qwen3-8b", "a=b,c")],
    ],
)
def test_anything_else_is_refused_with_the_name_and_what_is_allowed(name, text, allowed):
    with pytest.raises(SettingsInvalid) as refused:
        read(**{name: text})
    assert str(refused.value) == f"OXILLAMA_{name} must be {allowed}"


@pytest.mark.parametrize(
    "text", [f"a/b:{SECRET}", f"red:{SECRET},blue:{SECRET}", f"red:{SECRET} x", f"good:{SECRET},bad:", f"{SECRET} with:{SECRET}"]
)
def test_a_refusal_never_repeats_a_key(text):
    for environ in ({"API_KEYS": text}, {"API_KEYS": text, "BIND": "0.0.0.0:80"}):
        with pytest.raises(SettingsInvalid) as refused:
            read(**environ)
        assert SECRET not in str(refused.value)
        assert refused.value.__cause__ is None and refused.value.__suppress_context__, "a traceback would show it"


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:8000", "[::]:8000", "192.168.1.5:8000", "example.com:80", "[::ffff:10.0.0.1]:80", "localhost.example.com:80"]
)
def test_being_open_to_the_network_needs_keys(bind):
    with pytest.raises(SettingsInvalid) as refused:
        read(BIND=bind)
    said = "is reachable from other machines, so OXILLAMA_API_KEYS must be set; or bind to 127.0.0.1"
    assert str(refused.value) == f"{bind.rpartition(':')[0]} {said}"
    assert read(BIND=bind, API_KEYS=SECRET).bind == bind


def test_keys_belong_to_projects():
    keys = read(API_KEYS=f" team-a:k1 ,team_B:k2,, team-a:k3,{SECRET},").api_keys
    assert keys == {"k1": "team-a", "k2": "team_B", "k3": "team-a", SECRET: "default"}


def test_the_first_colon_divides_project_and_key():
    assert read(API_KEYS="team:k:e:y,team::").api_keys == {"k:e:y": "team", ":": "team"}


def test_a_key_belongs_to_one_project():
    with pytest.raises(SettingsInvalid, match=r"OXILLAMA_API_KEYS must be a list in which no key is given to two projects$"):
        read(API_KEYS=f"red:{SECRET},blue:other,{SECRET}")
    assert read(API_KEYS=f"red:{SECRET},red:{SECRET}").api_keys == {SECRET: "red"}, "said twice, but nothing else"


@pytest.mark.parametrize("nothing", [",", " ", ",,"])
def test_keys_that_are_set_but_hold_none_do_not_open_the_server(nothing):
    assert read(API_KEYS=nothing).api_keys == {}, "not None: that would mean open to all"


def test_the_model_map():
    assert read(MODEL_MAP="gpt-4o=qwen3-8b, gpt-4o-mini = llama ,").model_map == {"gpt-4o": "qwen3-8b", "gpt-4o-mini": "llama"}
    assert read(MODEL_MAP="a=b=c").model_map == {"a": "b=c"}


def test_where_the_engine_listens():
    assert read().embedded and not read(ENGINE_URL="http://e/v1").embedded
    assert read(ENGINE_URL="http://e/v1/", EMBEDDED_PORT="9").engine_base_url == "http://e/v1"
    assert read(EMBEDDED_PORT="9000").engine_base_url == "http://127.0.0.1:9000/v1"
    with pytest.raises(SettingsInvalid, match=r"OXILLAMA_ENGINE_URL.*OXILLAMA_EMBEDDED_PORT"):
        _ = read().engine_base_url
