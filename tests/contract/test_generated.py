"""Whatever a program sends, the answer is one that the contract has.

Requests are generated from the official schema: fitting ones, and ones with something spoilt, to objects in every situation. Each goes to
a real server. What the server takes by `request_rules` gets 200 and an answer by the schema, streams included; anything else gets exactly
the refusal that is due. `make test-generated` sends many more of them, other ones each time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from tests.contract import situations as named
from tests.contract.request_generation import BROKEN_JSON, NESTED, Placeholders, bodies, nested, queries
from tests.contract.request_rules import Operation, fits, operations
from tests.contract.situations import Situations
from tests.contract.validation import take_violations, validating_http
from tests.process_control import Server
from tests.scripted_engine import ScriptedEngine

#: Generated requests in all; unset for the few that every test run sends.
_ASKED_FOR = int(os.environ.get("GENERATED_REQUESTS", "0"))
_OPERATIONS = operations()
_LARGEST_BODY = 3_000_000

#: What else a path may hold in the place of an id.
_JUNK = [
    "undefined",
    "null",
    "..",
    "../../../etc/passwd",
    "%2e%2e",
    "asst",
    "thread_",
    "msg_ü",
    "run_\x00",
    "step-1",
    "x" * 3000,
    "'",
    "٣",
    " ",
]
#: What each kind of id begins with: without it, the id has the wrong shape (400); with it, nothing has that id (404).
_PREFIXES = {"assistant_id": "asst", "thread_id": "thread", "message_id": "msg", "run_id": "run", "step_id": "step"}

_MODEL = "scripted-chat"
_CURSORS = {"after", "before", "run_id"}

_TYPE = {"Content-Type": "application/json"}
_USUAL = "as the SDKs send them"
_KEY = {"Authorization": "Bearer right-key"}
#: Headers of a request, and the status of the refusal that is due for them.
_HEADERS: dict[str, tuple[dict[str, str], int | None]] = {
    _USUAL: ({**_KEY, "OpenAI-Beta": "assistants=v2"}, None),
    "no beta": (_KEY, None),
    "several betas": ({**_KEY, "OpenAI-Beta": "x=y, assistants=v2"}, None),
    "an accepted type": ({**_KEY, "Accept": "text/event-stream", "Accept-Encoding": "gzip"}, None),
    "an old beta": ({**_KEY, "OpenAI-Beta": "assistants=v1"}, 400),
    "no key": ({}, 401),
    "a wrong key": ({"Authorization": "Bearer wrong-key"}, 401),
    "another scheme": ({"Authorization": "Basic cmlnaHQta2V5"}, 401),
}

#: What ends the situation of the thread that it succeeds on.
_USES_UP = {"deleteThread", "createRun", "cancelRun", "submitToolOuputsToRun", "deleteMessage"}
_LISTED = {"listAssistants": "assistant_id", "listMessages": "message_id", "listRuns": "run_id", "listRunSteps": "step_id"}
_OBJECT_PATHS = {"assistant": "/assistants/{id}", "thread": "/threads/{id}", "thread.message": "/threads/{thread_id}/messages/{id}"}


@pytest.fixture(scope="module")
def situations() -> Iterator[Situations]:
    """A server with keys, and an object in every situation."""
    environ = {
        "OXILLAMA_API_KEYS": "right-key",
        "OXILLAMA_MAX_BODY_BYTES": str(_LARGEST_BODY),
        # What waits or works does so until the end.
        "OXILLAMA_RUN_EXPIRY_SECONDS": "86400",
        "OXILLAMA_STALL_SECONDS": "86400",
    }
    with ScriptedEngine() as engine, Server(engine_url=engine.url, environ=environ) as server:
        engine.default = named.engine_reply
        server.wait_ready()
        with validating_http(server.base_url) as http:
            http.base_url = server.base_url
            yield Situations(http, _KEY)
        assert "Traceback" not in server.log()


@settings(
    max_examples=max(_ASKED_FOR // len(_OPERATIONS), 24),
    derandomize=not _ASKED_FOR,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@pytest.mark.timeout(0 if _ASKED_FOR else 120)
@pytest.mark.parametrize("operation", _OPERATIONS, ids=str)
@given(data=st.data())
def test_every_request_gets_the_answer_that_is_due(situations: Situations, operation: Operation, data: DataObject) -> None:
    names = {parameter: data.draw(_ids(parameter), parameter) for parameter in operation.path_parameters}
    query = data.draw(queries(operation.official_query, {name: _ids(_cursor_of(operation, name)) for name in _CURSORS}), "query")
    headers, refusal = _HEADERS[data.draw(_mostly(_USUAL, *_HEADERS), "headers")]
    body = data.draw(_bodies(operation), "body")

    path, due = _addressed(operation, names, situations)
    query, due_for_query = _queried(operation, query, names, situations)
    body = _resolved(body, names, situations)
    # What PHP's clients send for no parameters.
    meant = {} if body in ([], b"[]") else body
    due |= due_for_query | _due_for_body(operation, meant, situations)
    due = due or _due_for_situation(operation, names, meant, situations)
    if refusal == 401:
        due = {401}
    elif refusal and not path.startswith("/models"):
        due |= {refusal}

    answer = situations.send(operation.method, path, params=query, headers=headers | _TYPE, content=_encoded(body))

    note(f"{operation.method} {path[:200]} {query} -> {answer.status_code} {answer.text[:1000]}")
    event(f"{'due' if due else 'no'} refusal, {answer.status_code}")
    assert answer.status_code in (due or {200})
    _assert_nothing_violated(situations)
    if answer.status_code == 200 and operation.method != "GET":
        _follow(operation, names, meant, answer, situations)
        _assert_nothing_violated(situations)


# --- what is sent --------------------------------------------------------------------------------------------------------------------


def _mostly(usual: Any, *others: Any) -> SearchStrategy[Any]:
    return st.sampled_from([usual] * 3 * len(others) + list(others))


def _ids(parameter: str) -> SearchStrategy[str]:
    """Names of situations, and things that are no ids."""
    known: dict[str, tuple[str, ...]] = {
        "assistant_id": named.ASSISTANTS,
        "thread_id": named.THREADS,
        "model": (_MODEL, "unknown", "a/b"),
    }
    junk = st.sampled_from(_JUNK) | st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)
    situation = st.sampled_from(known.get(parameter, (*[named.OWN] * 4, *named.IN_THREADS)))
    return st.integers(0, 9).flatmap(lambda number: situation if number else junk)


def _bodies(operation: Operation) -> SearchStrategy[Any]:
    """Values to be sent as JSON, and bytes that are sent as they are."""
    if operation.official_body is None or operation.taken_body is None:
        return st.just(b"")
    placeholders: Placeholders = {
        "assistant_id": st.sampled_from([*named.ASSISTANTS[:3] * 3, *named.ASSISTANTS, "asst_1", "x"]),
        "tool_call_id": _mostly(named.OPEN_CALL, "call_1", ""),
    }
    values = bodies(operation.taken_body, operation.official_body, placeholders)
    broken = st.sampled_from([*BROKEN_JSON, b"", b"[]", b" " * (_LARGEST_BODY + 1)])
    return st.integers(0, 19).flatmap(lambda number: values if number else broken)


def _cursor_of(operation: Operation, name: str) -> str:
    return "run_id" if name == "run_id" else _LISTED.get(operation.name, "run_id")


def _resolved(body: Any, names: dict[str, str], situations: Situations) -> Any:
    """The body with real ids, and with objects of many levels, in the places of their names."""
    if isinstance(body, dict):
        return {key: _resolved(value, names, situations) for key, value in body.items()}
    if isinstance(body, list):
        return [_resolved(value, names, situations) for value in body]
    if not isinstance(body, str):
        return body
    if body in NESTED:
        return nested(NESTED[body])
    if body in named.ASSISTANTS:
        return situations.assistant(body)
    if body == named.OPEN_CALL:
        return situations.thread(names["thread_id"]).call_id if names["thread_id"] in named.THREADS else "call_none"
    return body


def _encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()


# --- what is due ---------------------------------------------------------------------------------------------------------------------


def _addressed(operation: Operation, names: dict[str, str], situations: Situations) -> tuple[str, set[int]]:
    """The path with real ids, and what is due when one of them names nothing that exists."""
    path, due = operation.path, set()
    for parameter, name in names.items():
        value, status = _id(parameter, name, names, situations)
        # A client would take a segment of dots for a step in the path.
        path = path.replace(f"{{{parameter}}}", quote(value, safe="").replace(".", "%2E"))
        if status is not None:
            # With a slash in it, it is not one segment of a path.
            due.add(404 if "/" in value else status)
    return path, due


def _id(parameter: str, name: str, names: dict[str, str], situations: Situations) -> tuple[str, int | None]:
    """The id that a name stands for, and the status that is due when it cannot be found."""
    thread = names.get("thread_id", "")
    if parameter == "model":
        return name, None if name == _MODEL else 404
    if parameter == "assistant_id" and name in named.ASSISTANTS:
        return situations.assistant(name), 404 if name in named.GONE else None
    if parameter == "thread_id" and name in named.THREADS:
        return situations.thread(name).id, 404 if name in named.GONE else None
    if name in named.IN_THREADS:
        found = situations.in_thread(parameter.removesuffix("_id"), name, thread)
        return found, None if name == named.OWN and not situations.is_unknown(found) else 404
    return name, 404 if name.startswith(_PREFIXES[parameter]) else 400


def _queried(operation: Operation, query: dict[str, Any], names: dict[str, str], situations: Situations) -> tuple[dict[str, Any], set[int]]:
    """The query with real ids, and what is due for it."""
    real, due = {}, set()
    for name, value in query.items():
        real[name], status = _cursor(operation, name, value, names, situations) if name in _CURSORS else (value, None)
        if status is not None:
            due.add(status)
    limit = str(query.get("limit", ""))
    read = {**real, "limit": int(limit)} if re.fullmatch("-?[0-9]{1,18}", limit) else real
    if not fits(operation.taken_query, read):
        due.add(400)
    return real, due if operation.name in _LISTED else set()


def _cursor(operation: Operation, name: str, value: str, names: dict[str, str], situations: Situations) -> tuple[str, int | None]:
    """An id in a query. What was deleted still has its place in the list; and no run but a thread's own has written anything in it."""
    parameter = _cursor_of(operation, name)
    found, status = _id(parameter, value, names, situations)
    deleted = parameter == "message_id" and value == named.DELETED and not situations.is_unknown(found)
    has_form = re.fullmatch(rf"{_PREFIXES[parameter]}_[0-9A-Za-z]{{24}}", found, re.ASCII)
    return found, None if deleted or (has_form and (name == "run_id" or parameter == "assistant_id")) else status


def _due_for_body(operation: Operation, body: Any, situations: Situations) -> set[int]:
    if operation.taken_body is None:
        return set()
    if len(_encoded(body)) > _LARGEST_BODY:
        return {413}
    if isinstance(body, bytes):
        # No body at all counts as an empty object (section 1).
        return {400} if body or not fits(operation.taken_body, {}) else set()
    if not fits(operation.taken_body, body):
        return {400}
    assistant_id = body.get("assistant_id", "")
    if "assistant_id" not in operation.taken_body["properties"] or assistant_id in map(situations.assistant, named.ASSISTANTS[:3]):
        return set()
    return {404 if assistant_id.startswith("asst") else 400}


def _due_for_situation(operation: Operation, names: dict[str, str], body: Any, situations: Situations) -> set[int]:
    """What no schema says: rules on what exists already."""
    thread = names.get("thread_id", "")
    refused = False
    match operation.name:
        case "createMessage":
            refused = thread in named.BUSY
        case "createRun":
            asked = thread != named.EMPTY or _has_question(body.get("additional_messages"))
            refused = thread in named.BUSY or not (asked or _has_instructions(body, situations))
        case "createThreadAndRun":
            refused = not (_has_question((body.get("thread") or {}).get("messages")) or _has_instructions(body, situations))
        case "modifyRun":
            refused = thread == named.WORKING
        case "cancelRun":
            refused = thread not in named.BUSY
        case "submitToolOuputsToRun":
            answered = [output["tool_call_id"] for output in body["tool_outputs"]]
            refused = thread != named.WAITING or answered != [situations.thread(thread).call_id]
    return {400} if refused else set()


def _has_question(messages: Any) -> bool:
    return any(message["role"] == "user" for message in messages or ())


def _has_instructions(body: dict[str, Any], situations: Situations) -> bool:
    own = body.get("instructions")
    if own is None:
        own = body["assistant_id"] == situations.assistant(named.INSTRUCTED)
    return bool(own or body.get("additional_instructions"))


#: All that can go wrong with an engine that always answers: what it cannot be sent.
_CANNOT_BE_ASKED = ("holds an image file", "The tool choice is", "The tool choice names the function")


# --- what follows --------------------------------------------------------------------------------------------------------------------


def _follow(operation: Operation, names: dict[str, str], body: Any, answer: httpx2.Response, situations: Situations) -> None:
    """Look at what an accepted request has made: objects read back as they were answered, runs come to an end."""
    thread = names.get("thread_id", "")
    if "Run" in operation.name and operation.name != "modifyRun":
        _follow_run(answer.text, situations)
    elif operation.method == "POST" and "Run" not in operation.name:
        made = answer.json()
        assert situations.send("GET", _OBJECT_PATHS[made["object"]].format(**made)).content == answer.content
    if isinstance(body, dict) and body.get("metadata") and not answer.text.startswith("event:"):
        assert answer.json()["metadata"] == body["metadata"]
    if operation.name in _USES_UP or (operation.name, thread) == ("createMessage", named.EMPTY):
        situations.use_up_thread(thread)
    if operation.name in ("modifyAssistant", "deleteAssistant"):
        situations.use_up_assistant(names["assistant_id"])


def _follow_run(text: str, situations: Situations) -> None:
    """The run of an answer, plain or streamed, ends well, and all that it wrote can be read."""
    run_id, thread_id = (re.findall(rf'"({noun}_[0-9A-Za-z]{{24}})"', text)[0] for noun in ("run", "thread"))
    run = situations.settled(thread_id, run_id)
    if run["status"] == "failed":
        assert run["last_error"]["code"] == "invalid_prompt", run
        assert any(reason in run["last_error"]["message"] for reason in _CANNOT_BE_ASKED), run
    for path in (f"/threads/{thread_id}/messages", f"/threads/{thread_id}/runs", f"/threads/{thread_id}/runs/{run_id}/steps"):
        assert situations.send("GET", path).status_code == 200
    if run["status"] != "requires_action":
        assert situations.send("GET", f"/threads/{thread_id}/runs/{run_id}/events").status_code == 200


def _assert_nothing_violated(situations: Situations) -> None:
    violations = situations.http.violations[:]
    situations.http.violations.clear()
    take_violations()
    assert not violations
