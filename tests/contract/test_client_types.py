"""Every answer has what the typed clients of other languages cannot do without: `client_types.json`, of which docs/clients.md tells.

A path there names a member; `[]` stands for every element of a list. Behind a member, `?` says that it may be left out or null, and what
comes after it is then not asked for; `??` says that it may be null but not left out. The value is a JSON type, several, or all the
strings that a client knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.process_control import Server, wait_until
from tests.raw_http import Http
from tests.scripted_engine import Call, Reply, ScriptedEngine, http_error

CLIENTS: dict[str, Any] = json.loads(Path(__file__).with_name("client_types.json").read_bytes())
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
RUN_STATES = {"queued", "in_progress", "requires_action", "cancelling", "cancelled", "failed", "completed", "incomplete", "expired"}
STEP_STATES = {"in_progress", "completed", "failed", "cancelled", "expired"}
FUNCTION = {"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}}
SEARCH = {"type": "file_search", "file_search": {"ranking_options": {"score_threshold": 0.5}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
USER: dict[str, Any] = {"role": "user", "content": "Hi"}

#: Noun -> objects of it that were answered.
Answers = dict[str, list[Any]]


class Collector:
    """Makes requests and keeps what they answer, by noun."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.answers: Answers = {}

    def get(self, path: str) -> Any:
        return self._kept(self._http.get(f"/v1{path}"))

    def post(self, path: str, body: Any = None) -> Any:
        return self._kept(self._http.post(f"/v1{path}", body))

    def delete(self, path: str) -> Any:
        return self._kept(self._http.delete(f"/v1{path}"))

    def run_until(self, run: Any, *statuses: str) -> Any:
        """The run, once it has such a status."""
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        return wait_until(lambda: (one := self.get(path))["status"] in statuses and one, 20, f"the run is {statuses}")

    def everything_of(self, run: Any) -> None:
        """All that belongs to a run that is over: lists and events."""
        thread = f"/threads/{run['thread_id']}"
        for path in (f"{thread}/messages", f"{thread}/runs", f"{thread}/runs/{run['id']}/steps"):
            self.get(path)
        with self._http.stream("GET", f"/v1{thread}/runs/{run['id']}/events") as stream:
            for event in stream:
                self._keep("event name", event.name)
                if event.name != "done":
                    self._keep(_noun(event.data), event.data)

    def _kept(self, answer: Any) -> Any:
        assert answer.status == 200, answer.body
        found = answer.json
        self._keep(_noun(found), found)
        if found["object"] == "list":
            for one in found["data"]:
                self._keep(_noun(one), one)
        return found

    def _keep(self, noun: str, found: Any) -> None:
        self.answers.setdefault(noun, []).append(found)


def _noun(found: dict[str, Any]) -> str:
    kind: str = found["object"]
    if kind.endswith(".deleted"):
        return "deleted"
    if kind == "list":
        # That of models has no pages.
        return "page" if "has_more" in found else "models"
    known = {"thread.run.step.delta": "step delta", "thread.message.delta": "message delta", "thread.run.step": "step"}
    return known.get(kind, kind.removeprefix("thread."))


@pytest.fixture(scope="module")
def answers(shared_engine: ScriptedEngine) -> Iterator[Answers]:
    """Of every noun, in every state that it can have."""
    with ExitStack() as servers:
        collected: Answers = {}
        for seconds, conversations in (("600", _conversations), ("1", _expiry)):
            environ = {"OXILLAMA_RUN_EXPIRY_SECONDS": seconds, "OXILLAMA_DURABILITY": "relaxed"}
            server = servers.enter_context(Server(engine_url=shared_engine.url, workers=1, environ=environ)).wait_ready()
            collector = Collector(Http(server.port))
            shared_engine.start_over()
            conversations(collector, shared_engine)
            for noun, found in collector.answers.items():
                collected.setdefault(noun, []).extend(found)
        yield collected


def _conversations(client: Collector, engine: ScriptedEngine) -> None:
    tools = [FUNCTION, {"type": "code_interpreter"}, SEARCH]
    assistant = client.post("/assistants", {"model": "scripted-chat", "instructions": "Answer.", "tools": tools})["id"]
    bare = client.post("/assistants", {"model": "scripted-chat", "name": "Bare", "metadata": {"a": "b"}})["id"]
    client.post(f"/assistants/{bare}", {"tools": [{"type": "code_interpreter"}], "response_format": {"type": "json_object"}})
    client.get(f"/assistants/{bare}")
    client.get("/assistants")
    client.get("/models")
    client.get("/models/scripted-chat")

    empty = client.post("/threads", {"tool_resources": {"code_interpreter": {}, "file_search": {}}})["id"]
    for path in (f"/threads/{empty}", f"/threads/{empty}/messages", f"/threads/{empty}/runs"):
        client.get(path)
    attached = {"attachments": [{"file_id": "file-1", "tools": [{"type": "file_search"}]}], "metadata": {"a": "b"}}
    message = client.post(f"/threads/{empty}/messages", {"role": "user", "content": [{"type": "text", "text": "Look:"}, IMAGE], **attached})
    client.post(f"/threads/{empty}/messages/{message['id']}", {"metadata": {}})
    client.delete(f"/threads/{empty}/messages/{message['id']}")
    client.delete(f"/threads/{empty}")

    def begun(**body: Any) -> Any:
        return client.post("/threads/runs", {"assistant_id": assistant, "thread": {"messages": [USER]}, **body})

    # Calls a function, then answers.
    engine.script(Reply(calls=[Call("look", ['{"a"', ":1}"])]), Reply(["One", " two"]))
    run = client.run_until(begun(), "requires_action")
    client.get(f"/threads/{run['thread_id']}/runs/{run['id']}/steps")
    call = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
    outputs = {"tool_outputs": [{"tool_call_id": call, "output": "x"}]}
    client.post(f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs", outputs)
    client.everything_of(client.run_until(run, "completed"))
    client.post(f"/threads/{run['thread_id']}/runs/{run['id']}", {"metadata": {"a": "b"}})

    # Refuses; is cut off by a limit; fails before and after it has said something.
    for reply, end in (
        (Reply(refusal=["No", "."]), "completed"),
        (Reply(["Too much"], finish="length"), "incomplete"),
        (http_error(400, "no", "invalid_request_error"), "failed"),
        (Reply(["Half"], error_after=1), "failed"),
    ):
        engine.script(reply)
        client.everything_of(client.run_until(begun(), end))

    # Cancelled while it writes, and while it waits for outputs.
    gate = Event()
    engine.script(Reply(["Begun", " and not ended"], gates={1: gate}))
    run = begun()
    thread = f"/threads/{run['thread_id']}"
    wait_until(lambda: client.get(f"{thread}/messages")["data"][0]["content"], 20, "the message has begun")
    client.get(f"{thread}/runs/{run['id']}/steps")
    client.run_until(run, "in_progress")
    client.post(f"{thread}/runs/{run['id']}/cancel")
    client.everything_of(client.run_until(run, "cancelled"))
    gate.set()
    engine.script(Reply(calls=[Call("look")]))
    run = client.run_until(begun(), "requires_action")
    client.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
    client.everything_of(client.run_until(run, "cancelled"))

    # Says nothing of how to answer.
    engine.script(Reply())
    run = client.post("/threads/runs", {"assistant_id": bare, "tools": [], "thread": {"messages": [USER]}})
    client.everything_of(client.run_until(run, "completed"))
    client.delete(f"/assistants/{bare}")


def _expiry(client: Collector, engine: ScriptedEngine) -> None:
    assistant = client.post("/assistants", {"model": "scripted-chat", "instructions": "Answer.", "tools": [FUNCTION]})["id"]
    engine.script(Reply(calls=[Call("look")]))
    run = client.post("/threads/runs", {"assistant_id": assistant, "thread": {"messages": [USER]}})
    client.everything_of(client.run_until(run, "expired"))


def test_every_state_is_among_the_answers(answers: Answers):
    assert {run["status"] for run in answers["run"]} == RUN_STATES
    assert {step["status"] for step in answers["step"]} == STEP_STATES
    assert {message["status"] for message in answers["message"]} == {"in_progress", "completed", "incomplete"}
    nouns = {
        "assistant",
        "thread",
        "message",
        "run",
        "step",
        "message delta",
        "step delta",
        "event name",
        "page",
        "deleted",
        "model",
        "models",
    }
    assert set(answers) == nouns
    assert {found["object"] for found in answers["deleted"]} == {"assistant.deleted", "thread.deleted", "thread.message.deleted"}
    assert [] in [page["data"] for page in answers["page"]]


REQUIRED = [(client, noun) for client, told in CLIENTS.items() for noun in told["requires"]]


@pytest.mark.parametrize(("client", "noun"), REQUIRED, ids=lambda value: value)
def test_a_client_finds_what_it_requires(answers: Answers, client: str, noun: str):
    told = CLIENTS[client]
    known = [one for one in told["cannot"] if one["noun"] == noun]
    met = set()
    for found in answers[noun]:
        problems = [problem for path, kind in told["requires"][noun].items() for problem in _problems(found, _members(path), kind, path)]
        for path, value in problems:
            excused = [number for number, one in enumerate(known) if _bare(path) == one["path"] and value == one["is"]]
            assert excused, f"{client} cannot read {path}: {value!r} in {found}"
            met.update(excused)
    assert met == set(range(len(known))), "it is said that the client cannot read something, and it can"


def _members(path: str) -> list[str]:
    return [part for part in path.replace("[]", ".[]").split(".") if part]


def _bare(path: str) -> str:
    return path.replace("?", "")


def _problems(found: Any, members: list[str], kind: str, path: str) -> Iterator[tuple[str, Any]]:
    """What is not as the path and its kind say, as the path and the value."""
    if not members:
        if not any(_is(found, one) for one in kind.split("|")):
            yield path, found
        return
    member, rest = members[0], members[1:]
    if member == "[]":
        for one in found if isinstance(found, list) else [None]:
            yield from _problems(one, rest, kind, path)
        return
    name = member.rstrip("?")
    if not isinstance(found, dict) or (name not in found and not (member.endswith("?") and not member.endswith("??"))):
        yield path, found
    elif found.get(name) is not None or "?" not in member:
        yield from _problems(found[name], rest, kind, path)


def _is(value: Any, kind: str) -> bool:
    if kind not in TYPES:
        return bool(value == kind)
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def test_the_checker_finds_what_is_wrong():
    whole = {"a": {"b": [{"c": 1}, {"c": 2}]}, "n": None}
    right = [("a.b[].c", "integer"), ("a.b", "array"), ("n?.x", "string"), ("n??", "string"), ("m?", "string"), ("a.m?.x", "string")]
    wrong = [("a.b[].c", "string"), ("n", "string"), ("m", "string"), ("m??", "string"), ("a.b[].d", "integer"), ("a.b[].c", "1|2|3")]
    for path, kind in right:
        assert not list(_problems(whole, _members(path), kind, path)), path
    for path, kind in wrong:
        assert list(_problems(whole, _members(path), kind, path)), path
    assert not _is(True, "integer") and _is("x", "x")
