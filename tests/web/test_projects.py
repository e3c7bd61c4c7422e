"""What one project keeps does not exist for another, on any route there is; keys of one project are as good as each other."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oxillama import settings
from oxillama.factory import create_app
from tests.builders import files_below
from tests.process_control import Server, wait_until
from tests.raw_http import Answer, Http
from tests.scripted_engine import Call, Reply, ScriptedEngine
from tests.web.test_refusals import filled

RED, RED_TOO, BLUE, WRONG = "sk-red-0123456789", "sk-red:with:colons", "sk-blue-0123456789", "sk-wrong-0123456789"
USER = {"role": "user", "content": "Hi"}
RUN_BODY = {"assistant_id": "{assistant}"}
OUTPUTS = {"tool_outputs": [{"tool_call_id": "{call}", "output": "x"}]}
NOTE = {"metadata": {"a": "b"}}
PROMPT = {"model": "scripted-chat", "messages": [USER]}

ASSISTANT, THREAD = "/assistants/{assistant}", "/threads/{thread}"
MESSAGE, RUN = THREAD + "/messages/{message}", THREAD + "/runs/{run}"
#: What the engine answers.
PASSED_ON = (
    *("/chat/completions", "/completions", "/embeddings", "/moderations"),
    *("/audio/speech", "/audio/transcriptions", "/audio/translations"),
    *("/images/generations", "/images/edits", "/images/variations"),
)
#: Every route below a base URL, and the body of a request that would be granted to its owner. A new route must come in here.
ROUTES: dict[tuple[str, str], Any] = {
    ("GET", "/assistants"): None,
    ("POST", "/assistants"): {"model": "scripted-chat"},
    ("GET", ASSISTANT): None,
    ("POST", ASSISTANT): NOTE,
    ("DELETE", ASSISTANT): None,
    ("POST", "/threads"): {"messages": [USER]},
    ("GET", THREAD): None,
    ("POST", THREAD): NOTE,
    ("DELETE", THREAD): None,
    ("GET", THREAD + "/messages"): None,
    ("POST", THREAD + "/messages"): USER,
    ("GET", MESSAGE): None,
    ("POST", MESSAGE): NOTE,
    ("DELETE", MESSAGE): None,
    ("POST", "/threads/runs"): RUN_BODY,
    ("GET", THREAD + "/runs"): None,
    ("POST", THREAD + "/runs"): RUN_BODY,
    ("GET", RUN): None,
    ("POST", RUN): NOTE,
    ("POST", RUN + "/cancel"): None,
    ("POST", RUN + "/submit_tool_outputs"): OUTPUTS,
    ("GET", RUN + "/events"): None,
    ("GET", RUN + "/steps"): None,
    ("GET", RUN + "/steps/{step}"): None,
    ("GET", "/models"): None,
    ("GET", "/models/{model}"): None,
    **{("POST", path): PROMPT for path in PASSED_ON},
}
DEPLOYMENTS: dict[tuple[str, str], Any] = {("POST", "/deployments/{deployment}" + path): PROMPT for path in PASSED_ON}
EVERY_ROUTE = {
    **{(method, "/v1" + path): body for (method, path), body in ROUTES.items()},
    **{(method, "/openai" + path): body for (method, path), body in {**ROUTES, **DEPLOYMENTS}.items()},
}
#: Those on which an id of an object can be said, in the path or in the body.
WITH_IDS = {route: body for route, body in EVERY_ROUTE.items() if re.search(r"\{(assistant|thread)\}", f"{route}{body}")}
READING = {route: body for route, body in EVERY_ROUTE.items() if route[0] == "GET"}


def each(routes: dict[tuple[str, str], Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("route", "body"), routes.items(), ids=lambda value: " ".join(value) if type(value) is tuple else "")


def test_every_route_of_the_application_is_tried_here(tmp_path: Path):
    app = create_app(settings.read({"OXILLAMA_DATA_DIR": str(tmp_path)}))
    routes = {
        (method, re.sub(r"<(?:path:)?(\w+?)(?:_id)?>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }
    assert routes - {("GET", "/health")} == set(EVERY_ROUTE)


@pytest.fixture(scope="module")
def server(shared_engine: ScriptedEngine) -> Iterator[Server]:
    environ = {"OXILLAMA_API_KEYS": f"red:{RED},blue:{BLUE},red:{RED_TOO}", "OXILLAMA_DURABILITY": "relaxed"}
    with Server(engine_url=shared_engine.url, environ=environ) as server:
        yield server.wait_ready()


@pytest.fixture
def http(server: Server, engine: ScriptedEngine) -> Http:
    return Http(server.port)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def objects_of(key: str, http: Http) -> SimpleNamespace:
    """An assistant, a thread with a message, and a run of two steps that waits for the output of its second call."""
    tool = {"type": "function", "function": {"name": "look"}}
    body = {"model": "scripted-chat", "instructions": f"Answer {key[3:7]}.", "tools": [tool]}
    assistant = http.post("/v1/assistants", body, bearer(key)).json["id"]
    thread = http.post("/v1/threads", {"messages": [USER]}, bearer(key)).json["id"]
    path = f"/v1/threads/{thread}"
    run = http.post(f"{path}/runs", {"assistant_id": assistant}, bearer(key)).json["id"]

    def call() -> str:
        def waiting() -> Any:
            found = http.get(f"{path}/runs/{run}", bearer(key)).json
            return found["status"] == "requires_action" and found["required_action"]

        return wait_until(waiting, 20, "the run asks for outputs")["submit_tool_outputs"]["tool_calls"][0]["id"]

    outputs = {"tool_outputs": [{"tool_call_id": call(), "output": "x"}]}
    assert http.post(f"{path}/runs/{run}/submit_tool_outputs", outputs, bearer(key)).status == 200
    last_call = call()
    message = http.get(f"{path}/messages", bearer(key)).json["data"][0]["id"]
    step = http.get(f"{path}/runs/{run}/steps", bearer(key)).json["data"][0]["id"]
    ids = {"assistant": assistant, "thread": thread, "message": message, "run": run, "step": step, "call": last_call}
    return SimpleNamespace(**ids, model="scripted-chat", deployment="scripted-chat")


@pytest.fixture(scope="module")
def both(server: Server, shared_engine: ScriptedEngine) -> tuple[SimpleNamespace, SimpleNamespace]:
    """What red has, and what blue has."""
    shared_engine.script(*[Reply(calls=[Call("look")]) for _ in range(4)])
    http = Http(server.port)
    return objects_of(RED, http), objects_of(BLUE, http)


@pytest.fixture
def red(server: Server, both: tuple[SimpleNamespace, SimpleNamespace]) -> Iterator[SimpleNamespace]:
    """What red has; byte for byte the same at the end."""

    def stored() -> dict[str, bytes]:
        active = {name: entry for name, entry in files_below(server.data_dir / "queue" / "active").items() if b'"project":"red"' in entry}
        return {**files_below(server.data_dir / "projects" / "red"), **active}

    before = stored()
    assert len(before) >= 8, "it looks at the wrong place"
    yield both[0]
    assert stored() == before


@pytest.fixture
def blue(red: SimpleNamespace, both: tuple[SimpleNamespace, SimpleNamespace]) -> SimpleNamespace:
    return both[1]


def ask(http: Http, route: tuple[str, str], body: Any, objects: SimpleNamespace, headers: dict[str, str] | None, query: str = "") -> Answer:
    method, path = route
    return http.request(method, filled(path, objects) + query, filled(body, objects), headers)


def told(answer: Answer, objects: SimpleNamespace) -> tuple[int, bytes, set[str]]:
    """All that an answer tells, with names in place of ids."""
    body = answer.body
    for name, object_id in vars(objects).items():
        body = body.replace(object_id.encode(), f"<{name}>".encode())
    return answer.status, body, set(answer.headers)


def never_were(objects: SimpleNamespace) -> SimpleNamespace:
    """Ids that nobody has, made at the same time."""
    return SimpleNamespace(
        **{name: object_id[:-4] + "0000" if "_" in object_id else object_id for name, object_id in vars(objects).items()}
    )


@each(EVERY_ROUTE)
def test_nobody_comes_in_without_a_key(http: Http, red: SimpleNamespace, route: tuple[str, str], body: Any):
    for headers in (
        None,
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {RED}"},
        {"Authorization": RED},
    ):
        status, message, kind, param, code = ask(http, route, body, red, headers).error
        assert (status, kind, param, code) == (401, "invalid_request_error", None, None)
        assert message.startswith("You didn't provide an API key")


@each(EVERY_ROUTE)
def test_nobody_comes_in_with_a_wrong_key(http: Http, red: SimpleNamespace, route: tuple[str, str], body: Any):
    for key in (WRONG, RED[:-1], RED + "x", RED.upper(), f"red:{RED}", "x" * 8000, "sk-r\xe9d-\xff", f"{RED},{RED}"):
        for headers in (bearer(key), {"api-key": key}):
            assert ask(http, route, body, red, headers).error[::4] == (401, "invalid_api_key"), headers


def test_of_several_authorization_headers_none_counts(http: Http, red: SimpleNamespace):
    for keys in ((WRONG, RED), (RED, WRONG), (RED, RED), (RED, BLUE)):
        headers = "".join(f"Authorization: Bearer {key}\r\n" for key in keys)
        answer = http.exchange(f"GET /v1/threads/{red.thread} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        assert answer.error[0] == 401, keys


def test_a_key_longer_than_any_header_may_be(http: Http, red: SimpleNamespace):
    assert http.get(f"/v1/threads/{red.thread}", bearer("x" * 100_000)).status == 431


def test_bytes_that_are_no_text_are_no_key(http: Http, red: SimpleNamespace):
    sent = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\xf0\r\n\r\n"
    assert http.exchange(sent).error == (401, "Incorrect API key provided: ***.", "invalid_request_error", None, "invalid_api_key")


@pytest.mark.parametrize("header", ["Bearer {}", "bearer  {}  ", "BEARER {}"])
def test_ways_to_write_the_right_key(http: Http, red: SimpleNamespace, header: str):
    for key in (RED, RED_TOO):
        assert http.get(f"/v1/threads/{red.thread}", {"Authorization": header.format(key)}).status == 200


def test_health_alone_needs_no_key(http: Http, server: Server):
    assert http.get("/health").status == 200
    for path in ("/", "/v1", "/nowhere", "/healthy", "/health/", "/HEALTH", "/v1/health"):
        assert http.get(path).status == 401, path


@each(WITH_IDS)
def test_an_object_of_another_project_is_one_that_never_was(
    http: Http, red: SimpleNamespace, blue: SimpleNamespace, route: tuple[str, str], body: Any
):
    names = re.findall(r"\{(assistant|thread|message|run|step|call)\}", f"{route}{body}")
    variants = [body, {**body, "stream": True}] if body in (RUN_BODY, OUTPUTS) else [body]
    for owners, asked in itertools.product(itertools.product(("red", "blue"), repeat=len(names)), variants):
        foreign = [name for name, owner in zip(names, owners, strict=True) if owner == "red"]
        # A call is no object: it says nothing of anybody's. And all of one's own is no trespass.
        if set(foreign) <= {"call"}:
            continue
        mixed = SimpleNamespace(**{**vars(blue), **{name: getattr(red, name) for name in foreign}})
        absent = never_were(red)
        unknown = SimpleNamespace(**{**vars(blue), **{name: getattr(absent, name) for name in foreign if name != "call"}})
        if "call" in foreign:
            unknown.call = red.call
        answer = ask(http, route, asked, mixed, bearer(BLUE))
        assert answer.error[0] == 404, (foreign, answer)
        assert told(answer, mixed) == told(ask(http, route, asked, unknown, bearer(BLUE)), unknown), foreign


LISTS = {"/assistants": "assistant", THREAD + "/messages": "message", THREAD + "/runs": "run", RUN + "/steps": "step"}


@pytest.mark.parametrize("base", ["/v1", "/openai"])
@pytest.mark.parametrize(("path", "noun"), LISTS.items())
@pytest.mark.parametrize("query", ["after={}", "before={}", "after={}&order=asc", "before={}&order=asc&limit=1", "run_id={run}"])
def test_a_cursor_of_another_project_tells_nothing(
    http: Http, red: SimpleNamespace, blue: SimpleNamespace, base: str, path: str, noun: str, query: str
):
    answers = []
    for ids in (red, never_were(red)):
        answer = http.get(filled(base + path, blue) + "?" + query.format(getattr(ids, noun), run=ids.run), bearer(BLUE))
        answers.append(told(answer, ids))
        assert not any(object_id.encode() in answers[-1][1] for object_id in (red.assistant, red.thread, red.message, red.run, red.step))
    assert answers[0] == answers[1]


def test_lists_hold_what_is_ones_own(http: Http, red: SimpleNamespace, blue: SimpleNamespace):
    for base in ("/v1", "/openai"):
        assert red.assistant in [one["id"] for one in http.get(f"{base}/assistants?limit=100", bearer(RED_TOO)).json["data"]]
        assert red.assistant not in [one["id"] for one in http.get(f"{base}/assistants?limit=100", bearer(BLUE)).json["data"]]


@each(READING)
def test_keys_of_one_project_see_the_same(http: Http, red: SimpleNamespace, route: tuple[str, str], body: Any):
    if route[1].endswith("/events"):
        # It goes on until the run ends, so its beginning must do.
        begun = []
        for key in (RED, RED_TOO):
            with http.stream("GET", filled(route[1], red), headers=bearer(key)) as stream:
                begun.append(stream.until("thread.run.requires_action"))
        assert begun[0] == begun[1] != []
        return
    answers = [ask(http, route, body, red, bearer(key)) for key in (RED, RED_TOO)]
    assert answers[0].status == 200
    assert answers[0].body == answers[1].body
    assert {answer.headers["openai-project"] for answer in answers} == {"red"}


def test_what_one_key_made_another_of_the_project_may_change(http: Http):
    thread = http.post("/v1/threads", {}, bearer(RED)).json["id"]
    assert http.post(f"/v1/threads/{thread}", NOTE, bearer(RED_TOO)).json["metadata"] == {"a": "b"}
    assert http.request("DELETE", f"/v1/threads/{thread}", None, bearer(RED_TOO)).status == 200
    assert http.get(f"/v1/threads/{thread}", bearer(RED)).status == 404


def test_runs_of_two_projects_stay_apart(server: Server, http: Http, engine: ScriptedEngine):
    engine.default = lambda request: Reply([f"Answer to {request['messages'][-1]['content']}"])
    created = {}
    for number, (project, key) in itertools.product(range(4), (("red", RED), ("blue", BLUE))):
        secret = f"secret-of-{project}-{number}"
        assistant = http.post("/v1/assistants", {"model": "scripted-chat", "instructions": f"For {project}."}, bearer(key)).json["id"]
        body = {"assistant_id": assistant, "thread": {"messages": [{"role": "user", "content": secret}]}}
        run = http.post("/v1/threads/runs", body, bearer(key)).json
        created[run["id"]] = project, key, secret, run["thread_id"]
    for run_id, (_, key, secret, thread) in created.items():

        def over(path: str = f"/v1/threads/{thread}/runs/{run_id}", key: str = key) -> bool:
            return http.get(path, bearer(key)).json["status"] == "completed"

        wait_until(over, 20, "the run is completed")
        newest = http.get(f"/v1/threads/{thread}/messages", bearer(key)).json["data"][0]
        assert newest["content"][0]["text"]["value"] == f"Answer to {secret}"
    for heard in engine.requests:
        assert not ("red" in str(heard) and "blue" in str(heard)), "one prompt, one project"
    for project, other in (("red", "blue"), ("blue", "red")):
        stored = files_below(server.data_dir / "projects" / project)
        for run_id, (owner, _, secret, _) in created.items():
            assert any(run_id in path for path in stored) == (owner == project)
            assert any(secret.encode() in content for content in stored.values()) == (owner == project)
        assert not any(f"For {other}.".encode() in content for content in stored.values())


def test_the_engine_never_hears_a_callers_key(http: Http, red: SimpleNamespace, engine: ScriptedEngine):
    for path in ("/v1/chat/completions", "/openai/deployments/m/chat/completions"):
        assert http.post(path, PROMPT, bearer(BLUE)).status == 200
        assert http.post(path, PROMPT, {"api-key": BLUE}).status == 200
    assert len(engine.headers) == 4
    assert BLUE not in str(engine.headers) and BLUE not in str(engine.requests)
