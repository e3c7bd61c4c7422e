"""What an error answer says, however it is wrapped; and what of it the caller wrote."""

from __future__ import annotations

import json

import pytest

from oxillama.engine.faults import EngineResponseError
from oxillama.engine.refusal_words import RefusalWords
from oxillama.engine.token_limits import TokenLimits

WRAPPED = [
    # OpenRouter (charmbracelet/crush#279)
    {
        "error": {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {"raw": json.dumps({"object": "error", "message": "THE WORDS", "code": "3230"}), "provider_name": "Mistral"},
        }
    },
    # LiteLLM before a relay (infiniflow/ragflow#11815)
    {
        "error": {
            "message": "litellm.BadRequestError: AnthropicException - " + json.dumps({"error": {"message": "THE WORDS"}}),
            "code": "400",
        }
    },
    # Mistral (mistralai/platform-docs-public#7)
    {"object": "error", "message": json.dumps({"detail": [{"type": "extra_forbidden", "loc": ["body", "n"], "msg": "THE WORDS"}]})},
    # Ollama, LM Studio
    {"error": "THE WORDS"},
    # llama-server behind another proxy (obot-platform/obot#2862)
    {"detail": "Error occurred: THE WORDS"},
    # Gemini's compatible endpoint answers with a list
    [{"error": {"code": 400, "message": "THE WORDS", "status": "INVALID_ARGUMENT"}}],
    "THE WORDS",
]


@pytest.mark.parametrize("body", WRAPPED)
def test_the_words_are_found_however_they_are_wrapped(body: object) -> None:
    assert "THE WORDS" in RefusalWords.of(body).sentences


def test_what_a_provider_told_openrouter_is_told_on() -> None:
    error = WRAPPED[0]["error"]  # type: ignore[call-overload, index]
    assert EngineResponseError(400, error).message == "THE WORDS"
    assert EngineResponseError(400, {**error, "metadata": {"raw": ""}}).message == "Provider returned error"
    assert EngineResponseError(400, {**error, "metadata": {"provider_name": "x"}}).message == "Provider returned error"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"error": {"message": "no", "param": "top_p", "code": "unsupported_value"}}, "unsupported_value\ntop_p"),
        ({"detail": [{"loc": ["body", "tools", 0, "strict"], "msg": "no"}, {"loc": ["body", "n"]}]}, "body.tools.0.strict\nbody.n"),
        ({"message": {"detail": [{"loc": ["body", "max_completion_tokens"], "msg": "no"}]}}, "body.max_completion_tokens"),
        ({"error": {"message": "no", "param": None, "code": 400}}, ""),
        ({"detail": [{"loc": 5, "msg": "no"}, {"loc": [], "msg": "no"}]}, ""),
    ],
)
def test_what_a_refusal_names(body: object, names: str) -> None:
    assert RefusalWords.of(body).names == names


@pytest.mark.parametrize("body", [None, 5, True, [], {}, {"error": None}, [[[]]], {"detail": {"detail": {}}}, "<html>no</html>"])
def test_an_answer_without_words(body: object) -> None:
    assert RefusalWords.of(body) == RefusalWords("", "")


def test_what_the_caller_sent_is_not_heard() -> None:
    """FastAPI gives it back beside the words."""
    body = {"detail": [{"loc": ["body", "tools"], "msg": "no", "input": "does not support tools"}]}
    assert "support" not in RefusalWords.of(body).sentences


def test_an_answer_is_read_in_bounds() -> None:
    deep: object = "x"
    for _ in range(500):
        deep = {"error": deep}
    assert RefusalWords.of(deep).sentences == ""
    wide = RefusalWords.of({"error": [{"message": "a" * 1_000_000, "loc": ["body", "b" * 1_000_000]}] * 1000})
    assert len(wide.sentences) <= 4000
    assert len(wide.names) <= 50 * 101


SAYING = "maximum context length is 10 tokens"
REQUEST = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {SAYING: {}, "it's " + SAYING: {}}}}}]}


@pytest.mark.parametrize("quoted", [f"'{SAYING}'", f'"{SAYING}"', f"the model's property 'it's {SAYING}'", f"`{SAYING}`"])
def test_a_quotation_of_the_request_says_nothing(quoted: str) -> None:
    error = EngineResponseError(400, {"message": f"Invalid schema for function 'f': In context=('properties', {quoted}), no type."})
    assert error.limits == TokenLimits(10)
    assert error.without_echo(REQUEST).limits == TokenLimits()
    assert "Invalid schema for function 'f'" in error.without_echo(REQUEST).words.sentences


def test_more_quotations_than_are_compared_say_nothing() -> None:
    error = EngineResponseError(400, {"message": "no: " + "'a b c d e f', " * 30 + f"'{SAYING}'"})
    assert error.without_echo(REQUEST).limits == TokenLimits()


def test_the_engines_own_words_are_heard() -> None:
    error = EngineResponseError(400, {"message": f"This model's {SAYING}."})
    assert error.without_echo({"messages": [{"role": "user", "content": "What's 'max_tokens'?"}]}).limits == TokenLimits(10)


def test_who_asks_about_a_refusal_does_not_silence_it() -> None:
    error = EngineResponseError(400, {"message": f"This model's {SAYING}."})
    asked = {"messages": [{"role": "user", "content": f'Why do I get "This model\'s {SAYING}."?'}]}
    assert error.without_echo(asked).limits == TokenLimits(10)
    # But it is remembered from somebody else: whoever wrote it may have made the engine say it.
    assert error.certain_limits(asked) == TokenLimits()


def test_an_error_within_a_text_is_parsed_only_where_it_is_short() -> None:
    # As lists it would take thirty times the memory of its text, and seconds of the event loop.
    assert RefusalWords.of({"message": "[" + "[]," * 100_000 + "[]]"}).sentences.startswith("[[],[]")
    assert RefusalWords.of({"message": '[{"message": "roles must alternate"}]'}).sentences == "roles must alternate"
