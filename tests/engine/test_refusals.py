"""What an engine's refusal asks for, in the words of many engines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from oxillama.engine import accommodations, refusals, token_limits
from oxillama.engine.chat_completions import ChatCompletionsEngine
from oxillama.engine.faults import EngineResponseError
from oxillama.engine.interface import ChatRequest, TextDelta
from oxillama.engine_endpoint import EngineEndpoint
from oxillama.errors import EngineRefused, PromptTooLong, ToolsNotTaken
from tests.engine.raw_engine import Connection, RawEngine, raw_engine

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}, "strict": True}} for name in ("now", "then")]
NAMED = {"type": "function", "function": {"name": "now"}}
FORM = {"type": "json_schema", "json_schema": {"name": "f", "schema": {"type": "object"}, "strict": True}}
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 100,
    "reasoning_effort": "low",
    "tools": TOOLS,
    "tool_choice": NAMED,
    "parallel_tool_calls": True,
    "response_format": FORM,
}
TURNS, NO_SYSTEM = "user and assistant in turn", "instructions in the first user message"


def said(message: str, status: int | None = 400, **more: Any) -> EngineResponseError:
    return EngineResponseError(status, {"message": message, **more})


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        # OpenAI and Azure
        (said("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."), "max_tokens as max_completion_tokens"),
        (said("Unsupported parameter.", param="temperature", code="unsupported_parameter"), "temperature left out"),
        (said("Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported."), "temperature left out"),
        (said("Unsupported value: 'messages[0].role' does not support 'system' with this model."), NO_SYSTEM),
        (said("Unsupported parameter: 'parallel_tool_calls' is not supported with this model."), "parallel_tool_calls left out"),
        (said("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."), "response_format as json_object"),
        (said("Unrecognized request argument supplied: reasoning_effort"), "reasoning_effort left out"),
        # vLLM, FastAPI and pydantic
        (said("Conversation roles must alternate user/assistant/user/assistant/..."), TURNS),
        (EngineResponseError(422, [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]), "stream_options left out"),
        (EngineResponseError(422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_p"]}]}), "top_p left out"),
        (said("[{'type': 'extra_forbidden', 'loc': ('body', 'tools', 0, 'function', 'strict'), 'msg': 'Extra inputs'}]"), "strict left out"),
        # llama-server and LM Studio
        (said("got exception: Conversation roles must alternate", 500), TURNS),
        (said("Invalid tool_choice type: 'object'. Supported string values: none, auto, required"), "tool_choice as required"),
        (said("'response_format.type' must be 'json_schema' or 'text'"), "response_format as json_object"),
        # Ollama
        (said('"llama3.2" does not support thinking'), "reasoning_effort left out"),
        # Anthropic
        (said("`temperature` and `top_p` cannot both be specified for this model. Please use only one."), "top_p left out"),
        # Gemini
        (said("Please use a valid role: user, model."), NO_SYSTEM),
        (said("Developer instruction is not enabled for models/gemma-3-27b-it"), NO_SYSTEM),
        # Mistral
        (said("System role not supported"), NO_SYSTEM),
        # Moonshot, DeepSeek, Groq, OpenRouter
        (said("tool_choice 'required' is incompatible with thinking enabled"), "tool_choice as auto"),
        (said("This response_format type is unavailable now"), "response_format as json_object"),
        (said("json mode cannot be combined with tool/function calling"), "response_format in words"),
        (said("No endpoints found that support the provided 'tool_choice' value.", 404), "tool_choice as auto"),
        (said("Provider returned error", metadata={"raw": '{"message":"temperature is deprecated for this model"}'}), "temperature left out"),
        # xAI, DashScope, SiliconFlow, DeepInfra
        (said("Model grok-4.20-0309-reasoning does not support parameter reasoningEffort."), "reasoning_effort left out"),
        (said("The tool_choice parameter does not support being set to required or object in thinking mode"), "tool_choice as auto"),
        (said("Thinking mode does not support this tool_choice"), "tool_choice as required"),
        (said("Json mode is not supported for this model."), "response_format in words"),
        (said("json_object response format is not supported for model: Step-3.5-Flash", 405), "response_format in words"),
        # Templates of Qwen, Bedrock, Transformers
        (said("System message must be at the beginning.", 500), NO_SYSTEM),
        (said("A conversation must start with a user message."), TURNS),
        # LiteLLM and OpenRouter, around what others said
        (said('litellm.BadRequestError: OpenAIException - {"error":{"message":"roles must alternate"}}'), TURNS),
        (EngineResponseError(400, {"message": "Provider returned error", "metadata": {"raw": '{"detail":[{"loc":["body","top_p"]}]}'}}), "top_p left out"),
        # What the caller wrote, what nobody can say in other words, and what is no refusal.
        (said("Invalid schema for response_format 'f': 'additionalProperties' is required", param="response_format"), None),
        (said("The image is too large."), None),
        (said("'temperature' is not supported", 503), None),
    ],
)  # fmt: skip
def test_what_a_refusal_asks_for(refusal, expected):
    assert refusals.wanted(refusal, BODY, ()) == expected


@pytest.mark.parametrize(
    "refusal",
    [
        said("Cannot have 2 or more assistant messages at the end of the list."),
        said('messages: first message must use the "user" role'),
        said("Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"),
        said("This model does not support assistant message prefill. The conversation must end with a user message."),
        said("Cannot set `add_generation_prompt` to True when the last message is from the assistant."),
        said("No user query found in messages."),
        said("messages: final assistant content cannot end with trailing whitespace"),
    ],
)
def test_a_conversation_that_the_assistant_begins_or_ends(refusal):
    body = {**BODY, "messages": [{"role": "assistant", "content": "a"}]}
    assert refusals.wanted(refusal, body, ()) == TURNS
    # Once it was done and did not help, the refusal stands.
    assert refusals.wanted(refusal, accommodations.apply(body, [TURNS]), [TURNS]) is None


@pytest.mark.parametrize("name", accommodations.CHANGES)
def test_no_accommodation_changes_what_it_was_given(name):
    before = repr(BODY)
    accommodations.apply(BODY, [name])
    assert repr(BODY) == before


def test_a_named_choice_in_weaker_words():
    required = accommodations.apply(BODY, ["tool_choice as required"])
    assert (required["tool_choice"], required["tools"]) == ("required", TOOLS[:1])
    auto = accommodations.apply(BODY, ["tool_choice as required", "tool_choice as auto"])
    assert (auto["tool_choice"], auto["tools"]) == ("auto", TOOLS[:1])
    assert auto["messages"][0]["content"].startswith("Be brief.\n\nCall one of the functions")


def test_a_form_in_words():
    form = accommodations.apply(BODY, ["response_format as json_object"])
    assert form["response_format"] == {"type": "json_object"}
    words = accommodations.apply(BODY, ["response_format as json_object", "response_format in words"])
    assert "response_format" not in words
    for body in (form, words):
        assert body["messages"][0]["role"] == "system"
        assert body["messages"][0]["content"].count('{"type": "object"}') == 1
        assert body["messages"][0]["content"].endswith("Be brief.")


@pytest.mark.parametrize(
    ("message", "window", "completion", "prompt"),
    [
        ("This model's maximum context length is 8192 tokens and your request has 90 input tokens (20000 > 8192 - 90).", 8192, None, 90),
        (
            "max_tokens is too large: 20000. This model supports at most 16384 completion tokens, whereas you provided 20000.",
            None,
            16384,
            None,
        ),
        ("This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens.", 4097, None, 5000),
        ("request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", 4096, None, 5000),
        ("prompt is too long: 210000 tokens > 200000 maximum", 200000, None, 210000),
        ("max_tokens: 20000 > 8192, which is the maximum allowed number of output tokens for claude", None, 8192, None),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", 1048576, None, 1200000),
        ("Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", 32768, None, 40000),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", None, 8192, None),
        ("no figures here", None, None, None),
    ],
)
def test_the_figures_in_a_refusal(message, window, completion, prompt):
    assert token_limits.told(message, None) == token_limits.TokenLimits(window, completion, prompt)


def asked(**more: Any) -> ChatRequest:
    return ChatRequest(**{"model": "m", "messages": BODY["messages"], **more})


async def text(engine: ChatCompletionsEngine, request: ChatRequest) -> str:
    return "".join([delta.text async for delta in engine.stream(request) if isinstance(delta, TextDelta)])


def against(answer: Callable[[Connection], None], run: Callable[[ChatCompletionsEngine, RawEngine], Awaitable[None]]) -> None:
    async def with_engine(server: RawEngine) -> None:
        engine = ChatCompletionsEngine(EngineEndpoint.at(server.url))
        await run(engine, server)
        await engine.close()

    with raw_engine(answer) as server:
        asyncio.run(with_engine(server))


def strict(connection: Connection) -> None:
    """An engine that says what it does not take one thing at a time, as most do."""
    body = connection.request.body
    if connection.request.method == "GET":
        connection.answer(404, {"detail": "Not Found"})
        return
    for refused, message in (
        ("temperature" in body, "Unsupported parameter: 'temperature' is not supported with this model."),
        ("top_p" in body, "Unsupported parameter: 'top_p' is not supported with this model."),
        (body.get("max_tokens", 0) > 64, "max_tokens is too large. This model supports at most 64 completion tokens."),
        (body["messages"][0]["role"] == "system", "System role not supported"),
        ([message["role"] for message in body["messages"]] == ["user", "user"], "Conversation roles must alternate user/assistant/..."),
    ):
        if refused:
            connection.answer(400, {"error": {"message": message, "type": "invalid_request_error"}})
            return
    connection.begin_stream()
    connection.delta(content="fine")
    connection.delta(finish_reason="stop")
    connection.done()


def test_a_strict_model_is_learnt_once(caplog):
    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        request = asked(temperature=0.5, top_p=0.5, max_tokens=100)
        assert await text(engine, request) == "fine"
        learnt = len(server.requests)
        assert await text(engine, request) == "fine"
        assert len(server.requests) == learnt + 1
        assert server.bodies[-1] == {
            "model": "m",
            "messages": [{"role": "user", "content": "Be brief.\n\na\n\nb"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 64,
        }

    against(strict, run)
    assert "'m' does not take every request as it is" in caplog.text


def test_what_does_not_help_is_not_remembered():
    def refuse(connection: Connection) -> None:
        connection.answer(400, {"error": {"message": "temperature, top_p, roles must alternate, system role not supported"}})

    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        for _ in range(2):
            before = len(server.requests)
            with pytest.raises(EngineRefused):
                await text(engine, asked(temperature=0.5, top_p=0.5))
            assert 2 < len(server.requests) - before <= 12
        assert server.bodies[before]["temperature"] == 0.5

    against(refuse, run)


def test_an_answer_gets_what_the_window_leaves():
    def small(connection: Connection) -> None:
        if connection.request.method == "GET":
            connection.answer(404, {})
        elif connection.request.body["max_tokens"] > 8192 - (prompt := 30 * len(connection.request.body["messages"])):
            message = "'max_tokens' is too large. This model's maximum context length is 8192 tokens and your request has {} input tokens."
            connection.answer(400, {"message": message.format(prompt)})
        else:
            connection.begin_stream()
            connection.delta(content="fine", finish_reason="stop")
            connection.done()

    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        assert await text(engine, asked(max_tokens=20_000)) == "fine"
        assert [body["max_tokens"] for body in server.bodies] == [20_000, 8102]
        assert await engine.context_tokens("m") == 8192
        # Another prompt leaves more, and is not held to what this one left.
        assert await text(engine, asked(messages=BODY["messages"][:1], max_tokens=20_000)) == "fine"
        assert [body["max_tokens"] for body in server.bodies[2:]] == [20_000, 8162]

    against(small, run)


def refusing(status: int, message: str) -> Callable[[Connection], None]:
    def refuse(connection: Connection) -> None:
        status_now = status if connection.request.method == "POST" else 404
        connection.answer(status_now, {"error": {"message": message}})

    return refuse


def test_a_prompt_that_is_too_long_names_the_window_from_then_on():
    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        with pytest.raises(PromptTooLong):
            await text(engine, asked())
        assert await engine.context_tokens("m") == 8192

    against(refusing(400, "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."), run)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "registry.ollama.ai/library/gemma:2b does not support tools"),
        (404, "No endpoints found that support tool use. Try disabling tools."),
        (400, "`tool calling` is not supported with this model"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
    ],
)
def test_a_model_that_takes_no_tools(status, message):
    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        with pytest.raises(ToolsNotTaken):
            await text(engine, asked(tools=TOOLS))
        assert await engine.takes_tools("m") is False
        assert await engine.takes_tools("another") is True

    against(refusing(status, message), run)


@pytest.mark.parametrize(
    ("entry", "window"),
    [
        ({"max_model_len": 8192}, 8192),
        ({"context_length": 8192, "top_provider": {"context_length": 4096}}, 4096),
        ({"max_context_length": 8192}, 8192),
        ({"context_window": 8192}, 8192),
        ({"context_window": "8192"}, None),
        ({"meta": {"n_ctx_train": 8192}}, None),
    ],
)
def test_the_window_that_a_list_of_models_tells(entry, window):
    def listing(connection: Connection) -> None:
        known = connection.request.path == "/v1/models"
        connection.answer(200 if known else 404, {"data": [{"id": "other"}, {"id": "m", **entry}]} if known else {})

    async def run(engine: ChatCompletionsEngine, server: RawEngine) -> None:
        assert [await engine.context_tokens(name) for name in ("m", "other", "m")] == [window, None, window]
        assert [asked.path for asked in server.requests].count("/v1/models") == 1

    against(listing, run)
