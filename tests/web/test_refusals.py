"""Everything that must be refused: with which status and words, and that nothing on disk has changed afterwards."""
# ruff: noqa: E501 - a table reads best with a row a line

from __future__ import annotations

import json
from typing import Any

import pytest

THREADS, ASSISTANTS = "/v1/threads", "/v1/assistants"
MESSAGES, RUNS = "/v1/threads/{thread}/messages", "/v1/threads/{thread}/runs"
MESSAGE, RUN = MESSAGES + "/{message}", RUNS + "/{run}"
STEPS = RUN + "/steps"
OUTPUTS = RUN + "/submit_tool_outputs"
NO_SUCH = "0" * 24

NOT_JSON = "We could not parse the JSON body of your request: it is not valid JSON at "


def row(name: str, request: tuple[Any, ...], status: int, message: str, param: str | None = None, code: str | None = None) -> Any:
    return pytest.param(request, (status, message, "invalid_request_error", param, code), id=name)


def wrong_type(path: str, expected: str, got: str) -> tuple[str, str, str]:
    return f"Invalid type for '{path}': expected {expected}, but got {got} instead.", path, "invalid_type"


def unknown(path: str) -> tuple[str, str, str]:
    return f"Unknown parameter: '{path}'.", path, "unknown_parameter"


def missing(path: str) -> tuple[str, str, str]:
    return f"Missing required parameter: '{path}'.", path, "missing_required_parameter"


def too_long(path: str, most: int, length: int) -> tuple[str, str, str]:
    text = (
        f"Invalid '{path}': string too long. Expected a string with maximum length {most}, but got a string with length {length} instead."
    )
    return text, path, "string_above_max_length"


def too_many(path: str, most: int, count: int) -> tuple[str, str, str]:
    text = f"Invalid '{path}': array too long. Expected an array with maximum length {most}, but got an array with length {count} instead."
    return text, path, "array_above_max_length"


def beyond(path: str, kind: str, sign: str, bound: Any, got: Any) -> tuple[str, str, str]:
    side, code = ("above maximum", "above_max_value") if sign == "<=" else ("below minimum", "below_min_value")
    return f"Invalid '{path}': {kind} {side} value. Expected a value {sign} {bound}, but got {got} instead.", path, f"{kind}_{code}"


def unsupported(path: str, got: str, *supported: str) -> tuple[str, str, str]:
    quoted = [f"'{one}'" for one in supported]
    listed = " and ".join(quoted) if len(quoted) < 3 else ", ".join(quoted[:-1]) + f", and {quoted[-1]}"
    return f"Invalid value: '{got}'. Supported values are: {listed}.", path, "invalid_value"


def wrong_id(param: str, shown: str, prefix: str) -> tuple[str, str, str]:
    return f"Invalid '{param}': '{shown}'. Expected an ID that begins with '{prefix}'.", param, "invalid_value"


def post(path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[Any, ...]:
    return "POST", path, body, headers or {}


def get(path: str) -> tuple[Any, ...]:
    return "GET", path, None, {}


USER = {"role": "user", "content": "Hi"}
RUN_BODY = {"assistant_id": "{assistant}"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
FILES = {"code_interpreter": {"file_ids": [f"file-{number}" for number in range(21)]}}

#: Bodies that are not JSON, whatever they are sent to.
UNREADABLE = {
    "not JSON": (b"{role: user}", "line 1, column 2"),
    "cut off": (b'{"role": "user"', "line 1, column 16"),
    "two values": (b"{}{}", "line 1, column 3"),
    "NaN": (b'{"metadata": {}, "x": NaN}', "line 1, column 23"),
    "Infinity": (b'{"temperature": Infinity}', "line 1, column 17"),
    "a trailing comma": (b'{"role": "user",}', "line 1, column 16"),
    "single quotes": (b"{'role': 'user'}", "line 1, column 2"),
    "a lone surrogate": (b'{"role": "user", "content": "\\ud800"}', None),
    "a lone low surrogate": (b'{"role": "user", "content": "\\udc00x"}', None),
    "invalid UTF-8": (b'{"role": "user", "content": "\xff\xfe"}', None),
    "an overlong encoding": (b'{"role": "user", "content": "\xc0\xaf"}', None),
    "a surrogate in UTF-8": (b'{"role": "user", "content": "\xed\xa0\x80"}', None),
    "UTF-16": ('{"role": "user"}'.encode("utf-16"), None),
    "a raw control character": (b'{"role": "user", "content": "a\x01b"}', None),
    "as deep as a well": (b"[" * 100_000 + b"]" * 100_000, None),
    "an object as deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, None),
}

BODIES = [
    row("assistant not an object", post(ASSISTANTS, [1]), 400, "Invalid type for 'body': expected an object, but got an array instead.", None, "invalid_type"),
    row("assistant a string", post(ASSISTANTS, b'"x"'), 400, "Invalid type for 'body': expected an object, but got a string instead.", None, "invalid_type"),
    row("assistant null", post(ASSISTANTS, b"null"), 400, "Invalid type for 'body': expected an object, but got null instead.", None, "invalid_type"),
    row("assistant without model", post(ASSISTANTS, {}), 400, *missing("model")),
    row("assistant with null for a model", post(ASSISTANTS, {"model": None}), 400, *missing("model")),
    row("model a number", post(ASSISTANTS, {"model": 5}), 400, *wrong_type("model", "a string", "an integer")),
    row("name too long", post(ASSISTANTS, {"model": "m", "name": "x" * 257}), 400, *too_long("name", 256, 257)),
    row("description too long", post(ASSISTANTS, {"model": "m", "description": "ä" * 513}), 400, *too_long("description", 512, 513)),
    row("instructions too long", post(ASSISTANTS, {"model": "m", "instructions": "x" * 256_001}), 400, *too_long("instructions", 256_000, 256_001)),
    row("too many tools", post(ASSISTANTS, {"model": "m", "tools": [FUNCTION] * 129}), 400, *too_many("tools", 128, 129)),
    row("tool without function", post(ASSISTANTS, {"model": "m", "tools": [{"type": "function"}]}), 400, *missing("tools[0].function")),
    row(
        "tool of no known kind",
        post(ASSISTANTS, {"model": "m", "tools": [{"type": "retrieval"}]}),
        400,
        *unsupported("tools[0].type", "retrieval", "code_interpreter", "file_search", "function"),
    ),
    row("temperature too high", post(ASSISTANTS, {"model": "m", "temperature": 2.1}), 400, *beyond("temperature", "decimal", "<=", 2, 2.1)),
    row("temperature too low", post(ASSISTANTS, {"model": "m", "temperature": -1}), 400, *beyond("temperature", "decimal", ">=", 0, -1)),
    row("temperature a boolean", post(ASSISTANTS, {"model": "m", "temperature": True}), 400, *wrong_type("temperature", "a decimal", "a boolean")),
    row("top_p too high", post(ASSISTANTS, {"model": "m", "top_p": 1.5}), 400, *beyond("top_p", "decimal", "<=", 1, 1.5)),
    row("a number too large for any float", post(ASSISTANTS, b'{"model": "m", "top_p": 1e999}'), 400, NOT_JSON + "line 1, column 25."),
    row("too many files", post(ASSISTANTS, {"model": "m", "tool_resources": FILES}), 400, *too_many("tool_resources.code_interpreter.file_ids", 20, 21)),
    row("an id of one's own", post(ASSISTANTS, {"model": "m", "id": "asst_x"}), 400, *unknown("id")),
    row("unknown and null", post(ASSISTANTS, {"model": "m", "id": None}), 400, *unknown("id")),
    row("modify: unknown field", post(ASSISTANTS + "/{assistant}", {"colour": "red"}), 400, *unknown("colour")),
    row("modify: name a number", post(ASSISTANTS + "/{assistant}", {"name": 1}), 400, *wrong_type("name", "a string", "an integer")),
    row("thread: unknown field", post(THREADS, {"title": "x"}), 400, *unknown("title")),
    row("thread: message with an id", post(THREADS, {"messages": [{**USER, "id": "msg_x"}]}), 400, *unknown("messages[0].id")),
    row("thread: second message wrong", post(THREADS, {"messages": [USER, {"role": "user"}]}), 400, *missing("messages[1].content")),
    row("thread: messages an object", post(THREADS, {"messages": {}}), 400, *wrong_type("messages", "an array of objects", "an object")),
    row("metadata a string", post(THREADS + "/{thread}", {"metadata": "x"}), 400, *wrong_type("metadata", "a metadata object", "a string")),
    row("metadata with a boolean", post(THREADS + "/{thread}", {"metadata": {"modified": True}}), 400, *wrong_type("metadata.modified", "a string", "a boolean")),
    row("metadata with null", post(THREADS + "/{thread}", {"metadata": {"a": None}}), 400, *wrong_type("metadata.a", "a string", "null")),
    row(
        "metadata with 17 pairs",
        post(THREADS + "/{thread}", {"metadata": {str(number): "" for number in range(17)}}),
        400,
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object with 17 properties instead.",
        "metadata",
        "object_above_max_properties",
    ),
    row(
        "metadata with a long key",
        post(MESSAGE, {"metadata": {"k" * 65: ""}}),
        400,
        "Invalid property name in 'metadata': 'kkk...kkk' is too long. Expected a string with maximum length 64, but got a string with length 65 instead.",
        "metadata",
        "property_name_above_max_length",
    ),
    row("metadata with a long value", post(RUN, {"metadata": {"a": "v" * 513}}), 400, *too_long("metadata.a", 512, 513)),
    row("message without role", post(MESSAGES, {"content": "Hi"}), 400, *missing("role")),
    row("message without content", post(MESSAGES, {"role": "user"}), 400, *missing("content")),
    row("message with null content", post(MESSAGES, {"role": "user", "content": None}), 400, *missing("content")),
    row("message of a system", post(MESSAGES, {"role": "system", "content": "Hi"}), 400, *unsupported("role", "system", "user", "assistant")),
    row("content a number", post(MESSAGES, {"role": "user", "content": 5}), 400, *wrong_type("content", "one of a string or array of objects", "an integer")),
    row(
        "content empty",
        post(MESSAGES, {"role": "user", "content": []}),
        400,
        "Invalid 'content': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        "content",
        "empty_array",
    ),
    row("content too long", post(MESSAGES, {"role": "user", "content": "ä" * 256_001}), 400, *too_long("content", 256_000, 256_001)),
    row("part without text", post(MESSAGES, {"role": "user", "content": [{"type": "text"}]}), 400, *missing("content[0].text")),
    row(
        "part in the form of an answer",
        post(MESSAGES, {"role": "user", "content": [{"type": "text", "text": {"value": "Hi", "annotations": []}}]}),
        400,
        *wrong_type("content[0].text", "a string", "an object"),
    ),
    row(
        "part of no known kind",
        post(MESSAGES, {"role": "user", "content": [{"type": "audio"}]}),
        400,
        *unsupported("content[0].type", "audio", "text", "image_url", "image_file"),
    ),
    row("message: unknown field", post(MESSAGES, {**USER, "name": "x"}), 400, *unknown("name")),
    row("modify message: content", post(MESSAGE, {"content": "Other"}), 400, *unknown("content")),
    row("modify run: status", post(RUN, {"status": "cancelled"}), 400, *unknown("status")),
    row("modify thread: messages", post(THREADS + "/{thread}", {"messages": []}), 400, *unknown("messages")),
    row("run without assistant", post(RUNS, {}), 400, *missing("assistant_id")),
    row("run: stream a string", post(RUNS, {**RUN_BODY, "stream": "true"}), 400, *wrong_type("stream", "a boolean", "a string")),
    row("run: too few tokens", post(RUNS, {**RUN_BODY, "max_completion_tokens": 255}), 400, *beyond("max_completion_tokens", "integer", ">=", 256, 255)),
    row("run: tokens a decimal", post(RUNS, {**RUN_BODY, "max_prompt_tokens": 300.0}), 400, *wrong_type("max_prompt_tokens", "an integer", "a decimal number")),
    row("run: unknown field", post(RUNS, {**RUN_BODY, "thread": {}}), 400, *unknown("thread")),
    row(
        "run: no messages kept",
        post(RUNS, {**RUN_BODY, "truncation_strategy": {"type": "last_messages", "last_messages": 0}}),
        400,
        *beyond("truncation_strategy.last_messages", "integer", ">=", 1, 0),
    ),
    row("run: unknown choice", post(RUNS, {**RUN_BODY, "tool_choice": "maybe"}), 400, *unsupported("tool_choice", "maybe", "none", "auto", "required")),
    row("run: additional message wrong", post(RUNS, {**RUN_BODY, "additional_messages": [{}]}), 400, *missing("additional_messages[0].role")),
    row("run: streamed, and wrong", post(RUNS, {"stream": True}), 400, *missing("assistant_id")),
    row("thread and run: a stored thread", post(THREADS + "/runs", {**RUN_BODY, "thread": {"id": "{thread}"}}), 400, *unknown("thread.id")),
    row("thread and run: additional messages", post(THREADS + "/runs", {**RUN_BODY, "additional_messages": []}), 400, *unknown("additional_messages")),
    row("outputs missing", post(OUTPUTS, {}), 400, *missing("tool_outputs")),
    row("outputs an object", post(OUTPUTS, {"tool_outputs": {}}), 400, *wrong_type("tool_outputs", "an array of objects", "an object")),
    row("output a number", post(OUTPUTS, {"tool_outputs": [{"tool_call_id": "c", "output": 1}]}), 400, *wrong_type("tool_outputs[0].output", "a string", "an integer")),
    row("outputs for a run that is over", post(OUTPUTS, {"tool_outputs": []}), 400, 'Runs in status "completed" do not accept tool outputs.'),
    row("cancel of a run that is over", post(RUN + "/cancel", None), 400, "Cannot cancel run with status 'completed'."),
    row("the last of two equal keys counts", post(MESSAGES, b'{"role": "user", "role": "bot", "content": "Hi"}'), 400, *unsupported("role", "bot", "user", "assistant")),
]  # fmt: skip

FORM = "application/x-www-form-urlencoded"
PLAIN = "This API method only accepts 'application/json' requests. Please try again with the header 'Content-Type: application/json'."
TYPES = [
    row(f"content type {kind or 'missing'}", ("POST", MESSAGES, json.dumps(USER).encode(), {"Content-Type": kind}), 400, f"Unsupported content type: '{kind}'. {PLAIN}", None, "unsupported_content_type")
    for kind in (FORM, "text/plain", "multipart/form-data", "application/xml", "")
]  # fmt: skip

LISTS = [
    row("limit 0", get(MESSAGES + "?limit=0"), 400, *beyond("limit", "integer", ">=", 1, 0)),
    row("limit 101", get(ASSISTANTS + "?limit=101"), 400, *beyond("limit", "integer", "<=", 100, 101)),
    row("limit -1", get(RUNS + "?limit=-1"), 400, *beyond("limit", "integer", ">=", 1, -1)),
    row("limit a word", get(STEPS + "?limit=x"), 400, *wrong_type("limit", "an integer", "a string")),
    row("limit a decimal", get(STEPS + "?limit=1.0"), 400, *wrong_type("limit", "an integer", "a string")),
    row("limit endless", get(MESSAGES + "?limit=" + "9" * 5000), 400, *wrong_type("limit", "an integer", "a string")),
    row("order by chance", get(MESSAGES + "?order=random"), 400, *unsupported("order", "random", "asc", "desc")),
    row("after a run", get(MESSAGES + "?after={run}"), 400, "Invalid 'after': '{run}'. Expected an ID that begins with 'msg'.", "after", "invalid_value"),
    row("before nothing", get(ASSISTANTS + "?before=../x"), 400, *wrong_id("before", "../x", "asst")),
    row("after an unknown message", get(MESSAGES + "?after=msg_" + NO_SUCH), 404, f"No message found with id 'msg_{NO_SUCH}'."),
    row("messages of what is no run", get(MESSAGES + "?run_id={thread}"), 400, "Invalid 'run_id': '{thread}'. Expected an ID that begins with 'run'.", "run_id", "invalid_value"),
]  # fmt: skip

LONG = "x" * 10_000


def bad_ids() -> list[Any]:
    """Each place where an id stands in a path, with everything that must not stand there."""
    places = {
        "thread_id": (THREADS + "/{}", "thread", "thread"),
        "thread_id of messages": (THREADS + "/{}/messages", "thread", "thread"),
        "thread_id of runs": (THREADS + "/{}/runs", "thread", "thread"),
        "assistant_id": (ASSISTANTS + "/{}", "asst", "assistant"),
        "message_id": (MESSAGES + "/{}", "msg", "message"),
        "run_id": (RUNS + "/{}", "run", "run"),
        "run_id of steps": (RUNS + "/{}/steps", "run", "run"),
        "run_id of events": (RUNS + "/{}/events", "run", "run"),
        "step_id": (STEPS + "/{}", "step", "run step"),
    }
    rows = []
    for place, (path, prefix, noun) in places.items():
        param = place.split(" ")[0]

        def at(value: str, path: str = path) -> tuple[Any, ...]:
            return get(path.replace("{}", value))

        rows += [
            row(f"{place}: undefined", at("undefined"), 400, *wrong_id(param, "undefined", prefix)),
            row(f"{place}: of another kind", at("file-" + NO_SUCH), 400, *wrong_id(param, "file-" + NO_SUCH, prefix)),
            row(f"{place}: a dot", at("%2e"), 400, *wrong_id(param, ".", prefix)),
            row(f"{place}: two dots", at("%2E%2E"), 400, *wrong_id(param, "..", prefix)),
            row(f"{place}: zero byte", at("%00"), 400, *wrong_id(param, "\0", prefix)),
            row(f"{place}: too short", at(f"{prefix}_1"), 404, f"No {noun} found with id '{prefix}_1'."),
            row(f"{place}: zero byte behind", at(f"{prefix}_{NO_SUCH}%00"), 404, f"No {noun} found with id '{prefix}_{NO_SUCH}\0'."),
            row(f"{place}: new line behind", at(f"{prefix}_{NO_SUCH}%0A"), 404, f"No {noun} found with id '{prefix}_{NO_SUCH}\n'."),
            row(
                f"{place}: other digits",
                at(f"{prefix}_" + "%D9%A1" * 24),
                404,
                f"No {noun} found with id '{prefix}_" + "\u0661" * 24 + "'.",
            ),
            row(f"{place}: long", at(f"{prefix}_" + "x" * 3000), 404, f"No {noun} found with id '{(prefix + '_' + 'x' * 3000)[:64]}…'."),
            row(f"{place}: not there", at(f"{prefix}_{NO_SUCH}"), 404, f"No {noun} found with id '{prefix}_{NO_SUCH}'."),
        ]
    return rows


WRONG_PLACE = [
    row("message under another thread", get("/v1/threads/{other}/messages/{message}"), 404, "No message found with id '{message}'."),
    row("run under another thread", get("/v1/threads/{other}/runs/{run}"), 404, "No run found with id '{run}'."),
    row("steps under another thread", get("/v1/threads/{other}/runs/{run}/steps"), 404, "No run found with id '{run}'."),
    row("step under another thread", get("/v1/threads/{other}/runs/{run}/steps/{step}"), 404, "No run found with id '{run}'."),
    row("cancel under another thread", post("/v1/threads/{other}/runs/{run}/cancel", None), 404, "No run found with id '{run}'."),
    row("outputs under another thread", post("/v1/threads/{other}/runs/{run}/submit_tool_outputs", {"tool_outputs": []}), 404, "No run found with id '{run}'."),
    row("modify message under another thread", post("/v1/threads/{other}/messages/{message}", {"metadata": {}}), 404, "No message found with id '{message}'."),
    row("delete message under another thread", ("DELETE", "/v1/threads/{other}/messages/{message}", None, {}), 404, "No message found with id '{message}'."),
    row("modify run under another thread", post("/v1/threads/{other}/runs/{run}", {"metadata": {}}), 404, "No run found with id '{run}'."),
    row("run with an unknown assistant", post(RUNS, {"assistant_id": f"asst_{NO_SUCH}"}), 404, f"No assistant found with id 'asst_{NO_SUCH}'."),
    row("run with what is no assistant", post(RUNS, {"assistant_id": "../../{assistant}"}), 400, "Invalid 'assistant_id': '../../{assistant}'. Expected an ID that begins with 'asst'.", "assistant_id", "invalid_value"),
    row("thread and run with an unknown assistant", post(THREADS + "/runs", {"assistant_id": f"asst_{NO_SUCH}", "stream": True}), 404, f"No assistant found with id 'asst_{NO_SUCH}'."),
    row("message on an unknown thread", post(f"/v1/threads/thread_{NO_SUCH}/messages", USER), 404, f"No thread found with id 'thread_{NO_SUCH}'."),
    row("run on an unknown thread", post(f"/v1/threads/thread_{NO_SUCH}/runs", RUN_BODY), 404, f"No thread found with id 'thread_{NO_SUCH}'."),
    row("delete an unknown thread", ("DELETE", f"/v1/threads/thread_{NO_SUCH}", None, {}), 404, f"No thread found with id 'thread_{NO_SUCH}'."),
    row("delete an unknown assistant", ("DELETE", f"/v1/assistants/asst_{NO_SUCH}", None, {}), 404, f"No assistant found with id 'asst_{NO_SUCH}'."),
    row("unknown model", get("/v1/models/no/such/model"), 404, "The model 'no/such/model' does not exist", "model", "model_not_found"),
]  # fmt: skip

PATHS = ["/", "/v1", "/v1/", "/v2/threads", "/v1/thread", "/v1/threads/{thread}/message", "/v1/threads/{thread}/runs/{run}/cancel/x",
         "/v1/threads/{thread}/../{thread}", "/v1/threads/..%2F..%2Fetc%2Fpasswd", "/v1/threads/%2E%2E/%2E%2E/x", "/v1//threads/{thread}",
         "/v1/threads/{thread}%2Fmessages%2Fx%2Fy", "/static/x", "/favicon.ico"]  # fmt: skip

METHODS = [
    ("GET", THREADS, "POST"),
    ("PUT", THREADS + "/{thread}", "DELETE, GET, HEAD, POST"),
    ("PATCH", ASSISTANTS + "/{assistant}", "DELETE, GET, HEAD, POST"),
    ("DELETE", RUN, "GET, HEAD, POST"),
    ("GET", RUN + "/cancel", "POST"),
    ("POST", STEPS, "GET, HEAD"),
    ("POST", RUN + "/events", "GET, HEAD"),
    ("DELETE", "/v1/models/scripted-chat", "GET, HEAD"),
    ("OPTIONSX", THREADS, "POST"),
]


def filled(value: Any, objects: Any) -> Any:
    """The same with the ids of real objects in place of `{thread}`, `{run}` and so on."""
    if isinstance(value, str):
        for name, object_id in vars(objects).items():
            value = value.replace(f"{{{name}}}", object_id)
        return value
    if isinstance(value, dict):
        return {key: filled(one, objects) for key, one in value.items()}
    return [filled(one, objects) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("request_", "expected"), [*BODIES, *TYPES, *LISTS, *WRONG_PLACE, *bad_ids()])
def test_refused(bare, objects, unchanged, request_, expected):
    method, path, body, headers = request_
    status, message, kind, param, code = expected
    answer = bare.request(method, filled(path, objects), filled(body, objects), headers)
    assert answer.error == (status, filled(message, objects), kind, param, code)


@pytest.mark.parametrize(("body", "place"), UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("path", [ASSISTANTS, THREADS, MESSAGES, RUNS, OUTPUTS])
def test_not_json(bare, objects, unchanged, path, body, place):
    status, message, kind, param, code = bare.request("POST", filled(path, objects), body).error
    assert (status, kind, param, code) == (400, "invalid_request_error", None, None)
    assert message.startswith(NOT_JSON) and message.endswith(f"{place}." if place else ".")
    assert len(message) < 150, "the body is not quoted"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_path(bare, objects, unchanged, method, path):
    status, message, kind, param, code = bare.request(method, filled(path, objects), {}).error
    assert (status, kind, param, code) == (404, "invalid_request_error", None, None)
    assert message.startswith(f"Invalid URL ({method} /")


@pytest.mark.parametrize(("method", "path", "allowed"), METHODS)
def test_wrong_method(bare, objects, unchanged, method, path, allowed):
    path = filled(path, objects)
    answer = bare.request(method, path)
    text = f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
    assert answer.error == (405, text, "invalid_request_error", None, "method_not_supported")
    assert set(allowed.split(", ")) <= set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize("path", [THREADS, ASSISTANTS, MESSAGES])
def test_an_id_of_ten_kilobytes(bare, objects, unchanged, path):
    """gunicorn refuses the request line before the application sees it."""
    status, _, kind, _, _ = bare.get(filled(path, objects) + "/" + LONG).error
    assert (status, kind) == (414, "invalid_request_error")


def test_an_id_as_long_as_the_request_line_may_be(bare, objects, unchanged):
    thread = "thread_" + "x" * 8000
    assert bare.get(f"{THREADS}/{thread}").error[:2] == (404, f"No thread found with id '{thread[:64]}…'.")
