"""Any request at all, to the whole application on a throw-away store: never an answer from 500 on, never an exception.

python -m tests.fuzz.fuzz_requests CORPUS -max_total_time=300
"""

# ruff: noqa: E501 - tables of words and routes

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["oxillama", "marshmallow"]):
    from oxillama import settings
    from oxillama.factory import create_app

from tests.builders import PROJECT, a_run, a_thread, an_assistant, answer, claimed

KEYS = [
    "model",
    "name",
    "description",
    "instructions",
    "tools",
    "tool_resources",
    "metadata",
    "temperature",
    "top_p",
    "response_format",
    "type",
    "function",
    "parameters",
    "strict",
    "code_interpreter",
    "file_search",
    "file_ids",
    "vector_store_ids",
    "ranking_options",
    "score_threshold",
    "ranker",
    "max_num_results",
    "json_schema",
    "schema",
    "messages",
    "role",
    "content",
    "attachments",
    "file_id",
    "text",
    "image_url",
    "url",
    "detail",
    "image_file",
    "assistant_id",
    "thread",
    "additional_instructions",
    "additional_messages",
    "stream",
    "max_prompt_tokens",
    "max_completion_tokens",
    "truncation_strategy",
    "last_messages",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "tool_outputs",
    "tool_call_id",
    "output",
    "properties",
    "items",
    "$ref",
    "limit",
    "order",
    "after",
    "before",
    "run_id",
]
TEXTS = [
    "auto",
    "none",
    "required",
    "user",
    "assistant",
    "function",
    "code_interpreter",
    "file_search",
    "text",
    "json_object",
    "json_schema",
    "last_messages",
    "image_url",
    "image_file",
    "low",
    "high",
    "gpt-4o",
    "asc",
    "desc",
    "default_2024_08_21",
    "data:image/png;base64,x",
    "http://x",
    "file-1",
    "vs_1",
]
ROUTES = [
    (method, base + path)
    for base in ("/v1", "/openai")
    for method, path in [
        ("POST", "/assistants"), ("GET", "/assistants"), ("POST", "/assistants/{assistant}"), ("GET", "/assistants/{any}"),
        ("POST", "/threads"), ("POST", "/threads/{thread}"), ("GET", "/threads/{any}"), ("POST", "/threads/{thread}/messages"),
        ("GET", "/threads/{thread}/messages"), ("POST", "/threads/{thread}/messages/{message}"), ("DELETE", "/threads/{thread}/messages/{any}"),
        ("POST", "/threads/{thread}/runs"), ("GET", "/threads/{thread}/runs"), ("POST", "/threads/runs"), ("POST", "/threads/{thread}/runs/{run}"),
        ("POST", "/threads/{thread}/runs/{run}/submit_tool_outputs"), ("POST", "/threads/{thread}/runs/{run}/cancel"),
        ("GET", "/threads/{thread}/runs/{run}/steps"), ("GET", "/threads/{thread}/runs/{run}/events"), ("GET", "/threads/{thread}/runs/{any}"),
        ("POST", "/chat/completions"), ("POST", "/deployments/{any}/embeddings"), ("GET", "/{any}"),
    ]
]  # fmt: skip
TYPES = ["application/json", "application/json; charset=utf-16", "text/plain", "", "multipart/form-data; boundary=x", "\u00ff"]
#: Fit to be answered with what they ask for, before anything is added or replaced.
BODIES: list[dict[str, Any]] = [
    {}, {"model": "m"}, {"role": "user", "content": "Hi"}, {"assistant_id": ""}, {"tool_outputs": []},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "http://x"}}]},
    {"assistant_id": "", "thread": {"messages": [{"role": "user", "content": "Hi"}]}},
    {"model": "m", "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}, {"type": "file_search", "file_search": {}}]},
    {"model": "m", "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
]  # fmt: skip
#: Asked of an engine that is not there, which is no fault of the application.
FROM_THE_ENGINE = ("/chat/completions", "/completions", "/embeddings", "/models")


class Application:
    """The application, made anew now and then so that its store stays small."""

    def __init__(self) -> None:
        self.count, self.folder = 0, ""

    def ready(self) -> None:
        if self.count % 500 == 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = tempfile.mkdtemp(prefix="oxillama-fuzz-")
            self._begin()
        self.count += 1

    def _begin(self) -> None:
        environ = {"OXILLAMA_DATA_DIR": self.folder, "OXILLAMA_ENGINE_URL": "http://127.0.0.1:9/v1", "OXILLAMA_DURABILITY": "relaxed"}
        self.app = create_app(settings.read(environ))
        self.app.testing = False
        store = self.app.extensions["oxillama"].store
        assistant = an_assistant()
        store.assistants.insert(PROJECT, assistant)
        folder = a_thread(store, "Hi")
        run = a_run(store, folder, assistant)
        answer(claimed(store, run), "Hello")
        self.ids = {"assistant": assistant["id"], "thread": folder.thread_id, "message": folder.messages.last_id(), "run": run["id"]}

    def ask(self, environ: dict[str, Any]) -> tuple[str, bytes]:
        """Status and beginning of the answer. A stream is not read."""
        said: list[str] = []
        pieces: Any = self.app.wsgi_app({**environ}, lambda status, headers, error=None: said.append(status))
        try:
            first = b"" if said[0].startswith("200") else b"".join(pieces)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        return said[0], first


application = Application()


def value(data: Any, depth: int = 0) -> Any:
    """Any JSON value that requests are made of, and some that they are not."""
    match data.ConsumeIntInRange(0, 9 if depth < 6 else 5):
        case 0:
            return None
        case 1:
            return data.ConsumeBool()
        case 2:
            return data.PickValueInList([0, 1, -1, 20, 100, 256, 2**53, 2**64, 10**400, -0.0, 1e308, 0.5, 2.0])
        case 3:
            return data.PickValueInList(TEXTS)
        case 4:
            return data.ConsumeUnicode(data.ConsumeIntInRange(0, 40))
        case 5:
            return application.ids.get(data.PickValueInList(["assistant", "thread", "run", "message"]))
        case 6 | 7:
            return [value(data, depth + 1) for _ in range(data.ConsumeIntInRange(0, 3))]
        case _:
            names = [
                data.PickValueInList(KEYS) if data.ConsumeIntInRange(0, 9) else data.ConsumeUnicode(8)
                for _ in range(data.ConsumeIntInRange(0, 4))
            ]
            return {name: value(data, depth + 1) for name in names}


def query_part(data: Any) -> str:
    name = data.PickValueInList(["limit=", "order=", "after=", "before=", "run_id=", ""])
    if data.ConsumeBool():
        return name + str(
            data.PickValueInList([*application.ids.values(), 1, 100, -1, "asc", "%00", "%ff", "%ED%A0%80", "msg_" + "0" * 24])
        )
    text: str = data.ConsumeBytes(data.ConsumeIntInRange(0, 30)).decode("latin-1")
    return name + text


def one(raw: bytes) -> None:
    """One request, made of these bytes."""
    application.ready()
    data = atheris.FuzzedDataProvider(raw)
    method, path = data.PickValueInList(ROUTES)
    kind = TYPES[max(0, data.ConsumeIntInRange(-8, len(TYPES) - 1))]
    for name, known in application.ids.items():
        path = path.replace(f"{{{name}}}", known)
    path = path.replace("{any}", data.ConsumeBytes(data.ConsumeIntInRange(0, 30)).decode("latin-1")) if "{any}" in path else path
    query = "&".join(query_part(data) for _ in range(data.ConsumeIntInRange(0, 3))) if method == "GET" else ""
    beta = data.ConsumeBytes(8).decode("latin-1") if data.ConsumeIntInRange(0, 50) == 50 else "assistants=v2"
    if data.ConsumeBool():
        names = [data.PickValueInList(KEYS) for _ in range(data.ConsumeIntInRange(0, 4))]
        asked = {**data.PickValueInList(BODIES), **{name: value(data) for name in names}}
        if "assistant_id" in asked and data.ConsumeIntInRange(0, 5):
            asked["assistant_id"] = application.ids["assistant"]
        body = json.dumps(asked, ensure_ascii=data.ConsumeBool()).encode("utf-8", "surrogatepass")
    else:
        body = data.ConsumeBytes(data.remaining_bytes())
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost", "SCRIPT_NAME": "",
        "HTTP_LAST_EVENT_ID": query[:20], "HTTP_OPENAI_BETA": beta,
        "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr, "wsgi.version": (1, 0),
        "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False, "wsgi.input_terminated": True,
    }  # fmt: skip
    status, content = application.ask(environ)
    engine = any(part in path for part in FROM_THE_ENGINE)
    if not (status < "500" or (engine and status.startswith("503"))):
        raise AssertionError(f"{method} {path}?{query} {kind} {body!r}: {status} {content!r}")
    if not status.startswith("200"):
        assert set(json.loads(content)["error"]) == {"message", "type", "param", "code"}
    elif method == "POST" and "/runs" in path:
        cancel_what_is_active()


def cancel_what_is_active() -> None:
    """So that the thread takes the next message."""
    for run_id in active():
        path = f"/v1/threads/{application.ids['thread']}/runs/{run_id}/cancel"
        application.ask({
            "REQUEST_METHOD": "POST", "PATH_INFO": path, "SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(b""), "SCRIPT_NAME": "", "QUERY_STRING": "", "CONTENT_LENGTH": "0", "SERVER_PROTOCOL": "HTTP/1.1",
        })  # fmt: skip


def active() -> Iterator[str]:
    yield from application.app.extensions["oxillama"].store.queue.active()


def main() -> None:
    corpus = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), tempfile.mkdtemp()))
    corpus.mkdir(parents=True, exist_ok=True)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
