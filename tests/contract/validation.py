"""Hold objects, events and whole HTTP answers against the official schema.

The schema is close to the wire, not equal to it. `_relax` lists where the wire differs; `_tighten` lists what a faithful server always
sends although the schema does not ask for it. Both change the schema, never the value. Sections named here are those of behaviour.md.

`validating_client` and `validating_async_client` are openai clients that check every answer as it passes and collect what is wrong:
the SDK itself accepts nearly anything. Used as a context manager, a client raises at its end when something was wrong.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import openai
import referencing
import referencing.jsonschema

_URI = "urn:assistants-v2"
_OBJECTS = ("AssistantObject", "ThreadObject", "MessageObject", "RunObject", "RunStepObject")
_LISTS = ("ListAssistantsResponse", "ListMessagesResponse", "ListRunsResponse", "ListRunStepsResponse")
_RUN_STATUSES = ("queued", "in_progress", "requires_action", "completed", "incomplete", "failed", "cancelling", "cancelled", "expired")
_STEP_STATUSES = ("in_progress", "completed", "failed", "cancelled", "expired")
_MESSAGE_STATUSES = ("in_progress", "completed", "incomplete")


class ContractViolation(AssertionError):
    """Something the server sent is not what the hosted API would send. The text says what and where."""


def check(kind: str, value: Any) -> None:
    """Hold `value` against `#/components/schemas/<kind>`.

    Raises:
        ContractViolation: it differs; the text lists every difference.
    """
    errors = sorted(_validator(kind).iter_errors(value), key=lambda error: error.json_path)
    if errors:
        raise ContractViolation("\n".join([f"not a {kind}:", *(f"  {_told(error)}" for error in errors), f"  in {_shown(value)}"]))


def check_error(body: Any) -> None:
    """Hold the body of an error answer against the envelope: all four keys and no other (section 9)."""
    check("ErrorResponse", body)


def check_event(name: str, data: Any) -> None:
    """Hold one stream event against the schema of its object; the object's status must be the one that the name announces."""
    if name not in _EVENTS:
        raise ContractViolation(f"no such event: {name!r} with {_shown(data)}")
    kind, status = _EVENTS[name]
    try:
        check(kind, data)
    except ContractViolation as violation:
        raise ContractViolation(f"event {name}: {violation}") from None
    if status is not None and data["status"] != status:
        raise ContractViolation(f"event {name} carries status {data['status']!r}")


def kind_of(method: str, path: str) -> str | None:
    """The schema of a successful JSON answer, by the contract's own table of paths; None for what the contract does not hold.

    `path` is the request's path without the `/v1` before it.
    """
    for pattern, operations in _routes():
        if pattern.fullmatch(path):
            return operations.get(method.lower())
    return None


class StreamCheck:
    """Checks one SSE body as its bytes pass: framing, each event's object, and the order that both SDKs rely on (section 6).

    Args:
        hosted: whether this is a stream of the hosted API, which ends with `done` and has no ids; else it is a run's event log, which
            a reader may join in the middle.
    """

    def __init__(self, *, hosted: bool) -> None:
        self.violations: list[ContractViolation] = []
        self.names: list[str] = []
        self._hosted = hosted
        self._rest = b""
        self._fields: list[tuple[str, str]] = []
        self._commented = False
        self._id_seen = False
        self._open: dict[str, str] = {}
        self._created: set[str] = set()

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the body, cut anywhere."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            try:
                self._line(line.decode())
            except ContractViolation as violation:
                self.violations.append(violation)
            except UnicodeDecodeError:
                self.violations.append(ContractViolation(f"not UTF-8: {line!r}"))

    def end(self) -> None:
        """The body ended by itself; not called when the reader hangs up."""
        if self._rest or self._fields:
            self.violations.append(ContractViolation(f"the stream ends inside a frame: {self._fields} {self._rest!r}"))
        if self._hosted and self.names[-1:] not in (["done"], ["error"]):
            self.violations.append(ContractViolation(f"the stream ends without done, after {self.names[-1:]}"))

    def _line(self, line: str) -> None:
        if line.startswith(":"):
            self._commented = True
        elif line:
            field, _, value = line.partition(": ")
            self._fields.append((field, value))
        else:
            fields, self._fields = self._fields, []
            commented, self._commented = self._commented, False
            if fields:
                self._frame(fields)
            elif self._id_seen:
                # openai-python turns this into an event with empty data, and fails.
                raise ContractViolation("a blank line without a frame, after an id")
            elif not commented:
                raise ContractViolation("a blank line without a frame")

    def _frame(self, fields: list[tuple[str, str]]) -> None:
        names = [field for field, _ in fields]
        if sorted(names) not in (["data", "event"], ["data", "event", "id"]):
            raise ContractViolation(f"not a frame of one event and one data line: {fields}")
        frame = dict(fields)
        if "id" in frame:
            self._id_seen = True
            if self._hosted:
                raise ContractViolation("the hosted streams have no id lines")
        name, data = frame["event"], frame["data"]
        if "done" in self.names:
            raise ContractViolation(f"{name} after done")
        self.names.append(name)
        if name == "done":
            if data != "[DONE]":
                raise ContractViolation(f"done carries {data}")
            return
        try:
            value = json.loads(data)
        except ValueError:
            raise ContractViolation(f"event {name} is not JSON: {data[:200]}") from None
        check_event(name, value)
        if self._hosted:
            self._order(name, value)

    def _order(self, name: str, value: dict[str, Any]) -> None:
        """What Node's AssistantStream throws on, and Python lets pass: see section 6."""
        noun = next((noun for noun in ("thread.message", "thread.run.step") if name.startswith(f"{noun}.")), None)
        if noun is None:
            return
        known, object_id = self._open.get(noun), value["id"]
        what = name.removeprefix(f"{noun}.")
        if what == "created":
            if known is not None:
                raise ContractViolation(f"{name} for {object_id} while {known} is open")
            if object_id in self._created:
                raise ContractViolation(f"{name} a second time for {object_id}")
            self._created.add(object_id)
            self._open[noun] = object_id
        elif known is None and noun == "thread.run.step" and what != "delta" and object_id not in self._created:
            # The tool step which a submit stream completes: it was created in an earlier stream.
            pass
        elif known != object_id:
            raise ContractViolation(f"{name} for {object_id}, but open is {known}")
        elif what not in ("in_progress", "delta"):
            self._open.pop(noun, None)


class ValidatingClient(openai.OpenAI):
    """An openai client that checks every answer. `violations` is shared with the clients that `with_options` makes of it."""

    @property
    def violations(self) -> list[ContractViolation]:
        return self._client.violations  # type: ignore[attr-defined, no-any-return]

    def assert_no_violations(self) -> None:
        _raise_all(self.violations)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        super().__exit__(kind, error, traceback)
        if error is None:
            self.assert_no_violations()


class ValidatingAsyncClient(openai.AsyncOpenAI):
    """The same for asyncio."""

    @property
    def violations(self) -> list[ContractViolation]:
        return self._client.violations  # type: ignore[attr-defined, no-any-return]

    def assert_no_violations(self) -> None:
        _raise_all(self.violations)

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        await super().__aexit__(kind, error, traceback)
        if error is None:
            self.assert_no_violations()


def validating_client(base_url: str, **options: Any) -> ValidatingClient:
    """A client of the server at `base_url` (up to and with `/v1`); `options` as for `openai.OpenAI`."""
    return ValidatingClient(base_url=base_url, http_client=ValidatingHttp(base_url), **{"api_key": "test-key", **options})


def validating_async_client(base_url: str, **options: Any) -> ValidatingAsyncClient:
    """The same for asyncio."""
    return ValidatingAsyncClient(base_url=base_url, http_client=_ValidatingAsyncHttp(base_url), **{"api_key": "test-key", **options})


def validating_http(base_url: str) -> ValidatingHttp:
    """What is below those clients, for requests that no SDK would send. It raises nothing: look at `violations`."""
    return ValidatingHttp(base_url)


def take_violations() -> list[ContractViolation]:
    """What all validating clients of this process have found since the last call; for a fixture that asserts there is nothing."""
    taken = _found[:]
    del _found[: len(taken)]
    return taken


# --- the HTTP side -------------------------------------------------------------------------------------------------------------------

#: What every client of the process found and nobody has taken yet.
_found: list[ContractViolation] = []


class _Found(list[ContractViolation]):
    """A client's violations; each is also noted for the whole process, since a test may forget to look."""

    def append(self, violation: ContractViolation) -> None:
        super().append(violation)
        _found.append(violation)


class ValidatingHttp(openai.DefaultHttpxClient):
    """The SDK's own kind of http client (httpx2), with a hook on its answers. A proxy in the environment is no business of a test."""

    def __init__(self, base_url: str) -> None:
        super().__init__(trust_env=False, event_hooks={"response": [self._look]})
        self.violations = _Found()
        self._base_path = httpx2.URL(base_url).path.rstrip("/")

    def _look(self, response: httpx2.Response) -> None:
        answer = _Answer(response, self._base_path, self.violations)
        if answer.is_stream:
            response.stream = _CheckedStream(response.stream, answer)
        elif answer.is_ours:
            response.read()
            answer.check_json()


class _ValidatingAsyncHttp(openai.DefaultAsyncHttpxClient):
    def __init__(self, base_url: str) -> None:
        super().__init__(trust_env=False, event_hooks={"response": [self._look]})
        self.violations = _Found()
        self._base_path = httpx2.URL(base_url).path.rstrip("/")

    async def _look(self, response: httpx2.Response) -> None:
        answer = _Answer(response, self._base_path, self.violations)
        if answer.is_stream:
            response.stream = _CheckedAsyncStream(response.stream, answer)
        elif answer.is_ours:
            await response.aread()
            answer.check_json()


class _Answer:
    """One HTTP answer under /assistants, /threads or /models, and where to put what is wrong with it."""

    def __init__(self, response: httpx2.Response, base_path: str, violations: list[ContractViolation]) -> None:
        self._response, self._violations = response, violations
        self._method, self._path = response.request.method, response.request.url.path.removeprefix(base_path)
        self.is_ours = self._path.startswith(("/assistants", "/threads", "/models"))
        self._type = response.headers.get("content-type", "")
        self.is_stream = self.is_ours and self._type.startswith("text/event-stream")
        self.stream = StreamCheck(hosted=self._method == "POST")
        if self.is_ours:
            self._check_headers()

    def note(self, text: object) -> None:
        status = self._response.status_code
        self._violations.append(ContractViolation(f"{self._method} {self._path} -> {status}: {text}"))

    def note_stream(self) -> None:
        for violation in self.stream.violations:
            self.note(violation)
        self.stream.violations.clear()

    def check_json(self) -> None:
        try:
            body = self._response.json()
        except ValueError:
            self.note(f"not JSON: {self._response.text[:200]!r}")
            return
        try:
            if self._response.status_code >= 400:
                check_error(body)
            elif (kind := kind_of(self._method, self._path)) is not None:
                check(kind, body)
        except ContractViolation as violation:
            self.note(violation)

    def _check_headers(self) -> None:
        headers = self._response.headers
        if self._type not in ("application/json", "text/event-stream; charset=utf-8"):
            self.note(f"content-type {self._type!r}")
        if not re.fullmatch(r"req_[0-9a-f]{32}", headers.get("x-request-id", "")):
            self.note(f"x-request-id {headers.get('x-request-id')!r}")
        if not headers.get("openai-poll-after-ms", "0").isdecimal():
            # openai-python crashes on anything but a plain integer (section 7).
            self.note(f"openai-poll-after-ms {headers['openai-poll-after-ms']!r}")
        if self._type.startswith("text/event-stream") and "content-encoding" in headers:
            self.note("a compressed stream")


class _CheckedStream(httpx2.SyncByteStream):
    """The body of a stream; every chunk is looked at and handed on at once, cut as it came.

    It may be iterated more than once: at the end of a stream the async SDK drains the rest that way.
    """

    def __init__(self, stream: Any, answer: _Answer) -> None:
        self._stream, self._answer = stream, answer

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._answer.stream.feed(chunk)
            self._answer.note_stream()
            yield chunk
        self._answer.stream.end()
        self._answer.note_stream()

    def close(self) -> None:
        self._stream.close()

    @property
    def elapsed(self) -> Any:
        return self._stream.elapsed


class _CheckedAsyncStream(httpx2.AsyncByteStream):
    def __init__(self, stream: Any, answer: _Answer) -> None:
        self._stream, self._answer = stream, answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._answer.stream.feed(chunk)
            self._answer.note_stream()
            yield chunk
        self._answer.stream.end()
        self._answer.note_stream()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def elapsed(self) -> Any:
        return self._stream.elapsed


def _raise_all(violations: list[ContractViolation]) -> None:
    if violations:
        texts = [str(violation) for violation in violations]
        raise ContractViolation(f"{len(texts)} violations of the contract:\n" + "\n".join(texts))


# --- the schema side -----------------------------------------------------------------------------------------------------------------


def _relax(schemas: dict[str, Any]) -> None:
    """Where the wire says more, or something else, than the schema."""
    # A run of an assistant without instructions has null (section 3, defaults on the wire).
    schemas["RunObject"]["properties"]["instructions"] = {"type": ["string", "null"]}

    # A run may have as many tools as its assistant (section 11).
    schemas["RunObject"]["properties"]["tools"]["maxItems"] = 128

    # Both ids of an empty list are null (section 10); those of any other list are not, and has_more must then be false.
    for kind in _LISTS:
        ids = ("first_id", "last_id")
        schemas[kind]["if"] = {"properties": {"data": {"maxItems": 0}}}
        schemas[kind]["then"] = {"properties": {**{name: {"type": "null"} for name in ids}, "has_more": {"const": False}}}
        schemas[kind]["else"] = {"properties": {name: {"type": "string"} for name in ids}}
        for name in ids:
            schemas[kind]["properties"][name] = True

    # Seen on the wire, not in the schema (section 3, defaults on the wire).
    for kind in ("AssistantObject", "RunObject"):
        schemas[kind]["properties"]["reasoning_effort"] = {"$ref": "#/components/schemas/ReasoningEffort"}
    schemas["RunObject"]["properties"]["tool_resources"] = schemas["ThreadObject"]["properties"]["tool_resources"]

    # Real steps carry it (section 5); the schema has only `expired_at`.
    schemas["RunStepObject"]["properties"]["expires_at"] = {"type": ["integer", "null"]}

    # Real usage has two details; `prompt_token_details` is spelled so (section 3). They may be left out.
    for kind in ("RunCompletionUsage", "RunStepCompletionUsage"):
        counts = _object_in(schemas[kind])
        for name, counted in (("prompt_token_details", "cached_tokens"), ("completion_tokens_details", "reasoning_tokens")):
            counts["properties"][name] = {"type": "object", "properties": {counted: {"type": "integer"}}, "required": [counted]}

    # The stored form of a file_search tool has it, always null as far as seen (section 3).
    schemas["FileSearchRankingOptions"]["properties"]["hybrid_search"] = {"type": ["object", "null"]}


def _tighten(schemas: dict[str, Any]) -> None:
    """What a faithful server keeps to although the schema does not ask for it."""
    # All keys are there, null or not; also those which `_relax` added. Programs written against the hosted API index them.
    for kind in _OBJECTS:
        schemas[kind]["required"] = list(schemas[kind]["properties"])

    # Function tools are normalised when they are stored (section 3).
    schemas["FunctionObject"]["required"] = ["name", "parameters", "strict"]

    for kind in _LISTS:
        schemas[kind]["type"] = "object"
        schemas[kind]["properties"]["object"] = {"const": "list"}

    # The schema names its properties without saying that it is an object.
    schemas["Model"]["type"] = "object"

    # Nothing beyond the schema, at any depth, wherever the schema names properties at all. The schema uses no allOf, so this is safe.
    for schema in schemas.values():
        _close(schema)


def _close(schema: Any) -> None:
    if isinstance(schema, list):
        for one in schema:
            _close(one)
    elif isinstance(schema, dict):
        if "properties" in schema and "object" in (schema.get("type"), *_several(schema.get("type"))):
            schema.setdefault("additionalProperties", False)
        for name, one in schema.items():
            for deeper in one.values() if name == "properties" else [one]:
                _close(deeper)


def _several(kind: Any) -> list[str]:
    return kind if isinstance(kind, list) else []


def _object_in(schema: dict[str, Any]) -> dict[str, Any]:
    """The object among the alternatives of `object or null`."""
    return next(one for one in schema["anyOf"] if one["type"] == "object")


def _integer(_: Any, value: Any) -> bool:
    # JSON Schema takes 1.0 for an integer; statically typed clients do not.
    return isinstance(value, int) and not isinstance(value, bool)


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _integer),
)


@functools.cache
def _official() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(__file__).with_name("schema.json").read_bytes())
    return document


@functools.cache
def _registry() -> referencing.Registry[Any]:
    document = copy.deepcopy(_official())
    schemas = document["components"]["schemas"]
    _relax(schemas)
    _tighten(schemas)
    resource = referencing.Resource.from_contents(document, default_specification=referencing.jsonschema.DRAFT202012)
    return referencing.Registry().with_resource(_URI, resource)


@functools.cache
def _validator(kind: str) -> Any:
    if kind not in _official()["components"]["schemas"]:
        raise KeyError(f"the contract has no schema {kind}")
    return _Validator({"$ref": f"{_URI}#/components/schemas/{kind}"}, registry=_registry())


@functools.cache
def _routes() -> list[tuple[re.Pattern[str], dict[str, str]]]:
    """Path pattern, and method to schema of the successful JSON answer; fixed paths before those with parameters."""
    routes = []
    for path, operations in sorted(_official()["paths"].items(), key=lambda item: item[0].count("{")):
        pattern = re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path))
        kinds = {}
        for method, operation in operations.items():
            if method in ("get", "post", "delete"):
                reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
                kinds[method] = reference.rpartition("/")[2]
        routes.append((pattern, kinds))
    return routes


def _events() -> dict[str, tuple[str, str | None]]:
    """Event name -> schema, and the status that its object must have."""
    events: dict[str, tuple[str, str | None]] = {
        "thread.created": ("ThreadObject", None),
        "thread.run.created": ("RunObject", "queued"),
        "thread.run.step.created": ("RunStepObject", "in_progress"),
        "thread.run.step.delta": ("RunStepDeltaObject", None),
        "thread.message.created": ("MessageObject", "in_progress"),
        "thread.message.delta": ("MessageDeltaObject", None),
        # Wrapped, unlike the schema's ErrorEvent: openai-python passes over the bare form (section 6).
        "error": ("ErrorResponse", None),
    }
    events.update({f"thread.run.{status}": ("RunObject", status) for status in _RUN_STATUSES})
    events.update({f"thread.run.step.{status}": ("RunStepObject", status) for status in _STEP_STATUSES})
    events.update({f"thread.message.{status}": ("MessageObject", status) for status in _MESSAGE_STATUSES})
    return events


_EVENTS = _events()


def _told(error: jsonschema.ValidationError) -> str:
    """One difference. For an alternative (oneOf, anyOf), what is wrong with the likeliest of them."""
    likeliest = jsonschema.exceptions.best_match([error]) or error
    # The message begins with the value, which may be long, and ends with what is wrong with it.
    message = likeliest.message if len(likeliest.message) <= 400 else f"{likeliest.message[:200]}…{likeliest.message[-200:]}"
    return f"{likeliest.json_path}: {message}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 1500 else text[:1500] + "…"
