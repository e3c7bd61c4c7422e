"""Functions with engines that do not take `tools`, against a scripted server on a real port."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import jsonschema
import pytest

from oxillama.engine.chat_completions import connect
from oxillama.engine.interface import Activity, CallDelta, ChatRequest, Delta, Finished, TextDelta, TokenUsage
from oxillama.errors import EngineAnswerUnusable, EngineError
from oxillama.settings import read
from tests.scripted_engine import Call, Reply, ScriptedEngine, Usage, html_page, server_error

ASKED = {"role": "user", "content": "Weather in Oslo?"}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather now", "parameters": CITY}}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
NAMED = {"type": "function", "function": {"name": "get_time"}}
TOOLLESS = {"chat_template_caps": {"supports_tools": False}, "default_generation_settings": {"n_ctx": 2048}}
CALLED = [
    ASKED,
    {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}},
            {"id": "c2", "type": "function", "function": {"name": "get_time", "arguments": ""}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    {"role": "tool", "tool_call_id": "c2", "content": "noon"},
]


def ask(scripted: ScriptedEngine, *requests: ChatRequest, mode: str = "prompted") -> list[list[Delta]]:
    async def run() -> list[list[Delta]]:
        engine = connect(read({"OXILLAMA_ENGINE_URL": scripted.url, "OXILLAMA_ENGINE_TOOLS": mode}))
        answers = []
        try:
            for request in requests:
                async with aclosing(engine.stream(request)) as stream:
                    answers.append([delta async for delta in stream if delta != Activity()])
        finally:
            await engine.close()
        return answers

    return asyncio.run(asyncio.wait_for(run(), 30))


def request(messages: list[dict[str, Any]] | None = None, **fields: Any) -> ChatRequest:
    return ChatRequest("m", messages or [ASKED], **{"tools": [WEATHER, TIME], **fields})


def sent(**fields: Any) -> dict[str, Any]:
    """What reaches the engine."""
    with ScriptedEngine() as scripted:
        scripted.default = Reply(['{"name": "get_time", "arguments": {}}'])
        ask(scripted, request(**fields))
        return scripted.requests[0]


def allows(body: dict[str, Any], reply: object) -> bool:
    schema = body["response_format"]["json_schema"]["schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid(reply)


def call(name: str, **arguments: object) -> dict[str, object]:
    return {"name": name, "arguments": arguments}


def test_a_call_comes_as_any_other_call() -> None:
    with ScriptedEngine() as scripted:
        scripted.script(Reply(['{"name": "get_', 'weather", "arguments": {"ci', 'ty": "Oslo"}', "}"], usage=Usage(5, 6)))
        [deltas] = ask(scripted, request())
    assert deltas[0] == CallDelta(0, "get_weather", "")
    assert deltas[-1] == Finished("tool_calls", TokenUsage(5, 6))
    assert "".join(delta.arguments for delta in deltas if isinstance(delta, CallDelta)) == '{"city": "Oslo"}'


def test_an_answer_comes_token_by_token() -> None:
    with ScriptedEngine() as scripted:
        scripted.script(Reply(['{"answer": "', "It", " rains", '."}']))
        [deltas] = ask(scripted, request())
    assert deltas[:-1] == [TextDelta("It"), TextDelta(" rains"), TextDelta(".")]
    assert isinstance(deltas[-1], Finished)
    assert deltas[-1].reason == "stop"


def test_functions_are_described_and_not_sent_as_tools() -> None:
    body = sent(messages=[{"role": "system", "content": "Be kind."}, ASKED])
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body.keys()
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    system = body["messages"][0]["content"]
    assert system.startswith("Be kind.\n")
    assert json.dumps(WEATHER["function"]) in system
    assert sent()["messages"][0]["role"] == "system"


def test_the_schema_allows_what_the_tool_choice_allows() -> None:
    replies = [call("get_weather", city="Oslo"), call("get_time"), {"answer": "x"}]
    assert [allows(sent(), reply) for reply in replies] == [True, True, True]
    assert [allows(sent(tool_choice="required"), reply) for reply in replies] == [True, True, False]
    assert [allows(sent(tool_choice=NAMED), reply) for reply in replies] == [False, True, False]
    wrong = [call("get_weather"), call("get_weather", city=3), call("get_time", x=1), call("other"), {"name": "get_time"}]
    assert not any(allows(sent(), reply) for reply in wrong)


def test_a_call_is_repeated_once_and_no_more() -> None:
    def asked(*arguments: str) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = [ASKED]
        for text in arguments:
            function = {"name": "get_weather", "arguments": text}
            turns.append({"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]})
            turns.append({"role": "tool", "tool_call_id": "c", "content": "rain"})
        return turns

    again, other = call("get_weather", city="Oslo"), call("get_time")
    for calls, allowed in (
        (['{"city":"Oslo"}'], True),
        (['{"city":"Oslo"}', '{"city":"Bergen"}'], True),
        (['{"city":"Oslo"}', '{ "city": "Oslo" }'], False),
        (["broken", "broken"], False),
    ):
        body = sent(messages=asked(*calls))
        assert [allows(body, reply) for reply in (again, other, {"answer": "x"})] == [allowed, True, True]
        # What the caller demands is done all the same.
        assert allows(sent(messages=asked(*calls), tool_choice="required"), again)


def test_what_has_no_bound_gets_one() -> None:
    parameters = {
        "type": "object",
        "properties": {
            "text": {"type": ["string", "null"]},
            "long": {"type": "string", "maxLength": 5000},
            "many": {"type": "array", "items": {"type": "string"}},
        },
    }
    body = sent(tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}], tool_choice="required")
    fits = {"text": "x" * 1000, "long": "x" * 5000, "many": ["x"] * 32}
    assert allows(body, call("f", **fits))
    for name, value in {"text": "x" * 1001, "long": "x" * 5001, "many": ["x"] * 33, "more": 1}.items():
        assert not allows(body, call("f", **{**fits, name: value}))


@pytest.mark.parametrize("least", [None, "x", [1]])
def test_a_bound_that_is_no_number_is_for_the_engine_to_judge(least: object) -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "string", "minLength": least}, "b": {"type": "array", "minItems": least}}}
    body = sent(tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}], tool_choice="required")
    definitions = body["response_format"]["json_schema"]["schema"]["$defs"]
    [bounded] = [one["properties"] for one in definitions.values() if "properties" in one]
    assert bounded["a"] == {"type": "string", "minLength": least, "maxLength": 1000}
    assert bounded["b"] == {"type": "array", "minItems": least, "maxItems": 32}


def test_references_inside_parameters_still_lead_to_what_they_meant() -> None:
    parameters = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"unit": {"$ref": "#/$defs/Unit"}, "next": {"$ref": "#"}, "any": True},
        "$defs": {"Unit": {"enum": ["c", "f"]}},
    }
    body = sent(tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}])
    assert allows(body, call("f", unit="c", next={"unit": "f", "next": {}}, any=[1]))
    assert not allows(body, call("f", unit="k"))
    assert not allows(body, call("f", next={"unit": "k"}))


def test_parts_of_an_all_of_do_not_exclude_each_other() -> None:
    parts = [{"type": "object", "properties": {name: {"type": "integer"}}} for name in "ab"]
    body = sent(tools=[{"type": "function", "function": {"name": "f", "parameters": {"allOf": parts}}}])
    assert allows(body, call("f", a=1, b=2))
    assert not allows(body, call("f", a="x"))


@pytest.mark.parametrize("wanted", ["json_schema", "json_object"])
def test_an_answer_has_the_form_that_the_run_wants(wanted: str) -> None:
    schema = {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}, "required": ["n"], "$defs": {"N": {"type": "integer"}}}
    form = {"type": wanted, "json_schema": {"name": "x", "schema": schema}} if wanted == "json_schema" else {"type": wanted}
    body = sent(response_format=form)
    assert allows(body, {"answer": {"n": 1}})
    assert allows(body, {"answer": {"n": "x"}}) == (wanted == "json_object")
    assert not allows(body, {"answer": "text"})
    assert allows(body, call("get_time"))
    with ScriptedEngine() as scripted:
        scripted.script(Reply(['{"answer": {"n"', ": 1}", "}"]))
        [deltas] = ask(scripted, request(response_format=form))
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == ['{"n"', ": 1", "}"]


def test_what_the_run_did_before_is_told_in_words() -> None:
    plain = [
        ASKED,
        {
            "role": "assistant",
            "content": 'Let me look.\n{"name": "get_weather", "arguments": {"city":"Oslo"}}\n{"name": "get_time", "arguments": {}}',
        },
        {"role": "user", "content": "Result of get_weather: rain\nResult of get_time: noon"},
    ]
    assert sent(messages=CALLED)["messages"][1:] == plain
    # Also in a turn that may call nothing, and in one without functions.
    for fields in ({"tool_choice": "none"}, {"tools": []}):
        body = sent(messages=CALLED, **fields)
        assert body["messages"] == plain
        assert not {"tools", "tool_choice", "response_format"} & body.keys()


def test_a_call_that_the_limit_cut_short() -> None:
    with ScriptedEngine() as scripted:
        scripted.script(Reply(['{"name": "get_weather", "arguments": {"city": "Os'], finish="length"))
        [deltas] = ask(scripted, request(tool_choice="required", max_tokens=9))
        assert scripted.requests[0]["max_tokens"] == 9
    assert [delta for delta in deltas if isinstance(delta, CallDelta)][1] == CallDelta(0, None, '{"city": "Os')
    assert isinstance(deltas[-1], Finished)
    assert deltas[-1].reason == "length"


def test_an_engine_that_ignores_schemas() -> None:
    with ScriptedEngine() as scripted:
        scripted.default = Reply(["It ", "rains."])
        assert ask(scripted, request())[0][:-1] == [TextDelta("It "), TextDelta("rains.")]
        with pytest.raises(EngineAnswerUnusable, match="form of a function call"):
            ask(scripted, request(tool_choice="required"))


@pytest.mark.parametrize(
    ("props", "prompted"), [(TOOLLESS, True), ({"chat_template_caps": {"supports_tools": True}}, False), (None, False)]
)
def test_the_engine_says_whether_it_takes_tools_and_is_asked_once(props: dict[str, Any] | None, prompted: bool) -> None:
    with ScriptedEngine() as scripted:
        scripted.props = props
        scripted.default = Reply(['{"name": "get_time", "arguments": {}}']) if prompted else Reply(calls=[Call("get_time", "{}")])
        answers = ask(scripted, request(), request(tool_choice="required"), mode="auto")
        assert [("tools" in body, "response_format" in body) for body in scripted.requests] == [(not prompted, prompted)] * 2
        assert scripted.paths.count("GET /props") == 1
    for deltas in answers:
        assert deltas[0].name == "get_time"  # type: ignore[union-attr]


def test_nothing_is_asked_where_no_function_is_at_stake() -> None:
    with ScriptedEngine() as scripted:
        ask(scripted, ChatRequest("m", [ASKED]), mode="auto")
        ask(scripted, request(), mode="native")
        assert "GET /props" not in scripted.paths


def test_native_and_prompted_overrule_what_the_engine_says() -> None:
    with ScriptedEngine() as scripted:
        scripted.props = TOOLLESS
        scripted.default = Reply(["x"])
        ask(scripted, request(), mode="native")
        scripted.props = {"chat_template_caps": {"supports_tools": True}}
        ask(scripted, request(), mode="prompted")
        assert ["tools" in body for body in scripted.requests] == [True, False]


@pytest.mark.parametrize("reply", [server_error(), html_page()])
def test_the_engines_own_failures_stay_what_they_are(reply: Any) -> None:
    with ScriptedEngine() as scripted:
        scripted.script(reply)
        with pytest.raises(EngineError, match="model engine"):
            ask(scripted, request())


def test_the_context_is_what_the_engine_says_or_else_the_setting() -> None:
    async def context(scripted: ScriptedEngine) -> int | None:
        engine = connect(read({"OXILLAMA_ENGINE_URL": scripted.url, "OXILLAMA_CONTEXT_TOKENS": "9000"}))
        try:
            return await engine.context_tokens("m")
        finally:
            await engine.close()

    with ScriptedEngine() as scripted:
        assert asyncio.run(context(scripted)) == 9000
        scripted.props = TOOLLESS
        assert asyncio.run(context(scripted)) == 2048
