"""The figures in refusals about length. The texts are those of real engines, as their users quote them."""

from __future__ import annotations

import pytest

from oxillama.engine import faults
from oxillama.engine.faults import EngineResponseError
from oxillama.engine.token_limits import TokenLimits, is_too_long
from oxillama.errors import EngineRefused, PromptTooLong


def said(message: str) -> EngineResponseError:
    return EngineResponseError(400, {"message": message})


LENGTHS = [
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 30000. This model's maximum context length is 8192 tokens and your request"
        " has 9 input tokens (30000 > 8192 - 9).",
        (8192, None, 9),
    ),
    (
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (1000 in the messages, 4000 in the"
        " completion).",
        (4096, None, 1000),
    ),
    (
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (1000 in the messages, 50 in the functions,"
        " and 3950 in the completion).",
        (4096, None, 1050),
    ),
    ("This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens.", (8192, None, 8545)),
    (
        "You passed 9001 input tokens and requested 0 output tokens. However, the model's context length is only 8192 tokens, resulting in"
        " a maximum input length of 8192 tokens.",
        (8192, None, 9001),
    ),
    (
        "This model's maximum context length is 8192 tokens. However, you requested 100 output tokens and your prompt contains at least"
        " 8093 input tokens, for a total of at least 8193 tokens.",
        (8192, None, 8093),
    ),
    ("The decoder prompt (length 9000) is longer than the maximum model length of 8192.", (8192, None, 9000)),
    ("The prompt (total length 25938) is too long to fit into the model (context length 4096).", (4096, None, 25938)),
    (
        "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens (30000 of text input, 2000 of"
        " tool input, 8000 in the output).",
        (32768, None, 32000),
    ),
    ("request (131168 tokens) exceeds the available context size (131072 tokens), try increasing it", (131072, None, 131168)),
    ("Requested tokens (2285) exceed context window of 2048", (2048, None, 2285)),
    (
        "Trying to keep the first 6000 tokens when context the overflows. However, the model is loaded with context length of only 4096"
        " tokens, which is not enough.",
        (4096, None, None),
    ),
    (
        "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 6000>= n_ctx: 4096)",
        (4096, None, 6000),
    ),
    ("prompt is too long: 208310 tokens > 200000 maximum", (200000, None, 208310)),
    ("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length", (200000, None, 188240)),
    ("max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens for claude-3-5-haiku", (None, 8192, None)),
    ("The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).", (1048575, None, 1196265)),
    (
        "Unable to submit request because it has a maxOutputTokens value of 100000 but the supported range is from 1 (inclusive) to 8193"
        " (exclusive).",
        (None, 8192, None),
    ),
    ("This model's maximum prompt length is 131072 but the request contains 537812 tokens.", (131072, None, 537812)),
    ("Prompt contains 40965 tokens and 0 draft tokens, too large for model with 32768 maximum context length", (32768, None, 40965)),
    (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 3000 `inputs` tokens and 2000 `max_new_tokens`",
        (4096, None, 3000),
    ),
    ("Your request exceeded model token limit: 262144 (requested: 291351)", (262144, None, 291351)),
    ("prompt token count of 128001 exceeds the limit of 64000", (64000, None, 128001)),
    ("Please reduce the length of the messages or completion. Current length is 9001 while limit is 8192", (8192, None, 9001)),
    ("The prompt is too long: 300000, model maximum context length: 262143", (262143, None, 300000)),
    ("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 98304]", (98304, None, None)),
    (
        "max_tokens is too large: 30000. This model supports at most 16384 completion tokens, whereas you provided 30000.",
        (None, 16384, None),
    ),
    (
        "`max_tokens` must be less than or equal to `32768`, the maximum value for `max_tokens` is less than the `context_window`",
        (None, 32768, None),
    ),
    ("max_completion_tokens must be less than or equal to 40960, the maximum value for it", (None, 40960, None)),
    ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", (None, 8192, None)),
    ("max_tokens (384000) exceeds model's maximum output tokens (65536) for model deepseek", (None, 65536, None)),
    ("The maximum tokens you requested exceeds the model limit of 4096. Try again with a lower value.", (None, 4096, None)),
    (
        "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total of 9000 tokens: 1000 tokens"
        " from the input messages and 8000 tokens for the completion.",
        (8192, None, 1000),
    ),
    ("The input (9000 tokens) is longer than the model's context length (8192 tokens).", (8192, None, 9000)),
    ("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.", (272000, None, 300000)),
]


@pytest.mark.parametrize(("message", "figures"), LENGTHS, ids=[message[:40] for message, _ in LENGTHS])
def test_the_figures_of_a_refusal_about_length(message: str, figures: tuple[int | None, int | None, int | None]) -> None:
    window, completion, _ = figures
    assert said(message).limits == TokenLimits(*figures)
    assert is_too_long(message) == (window is not None)
    assert isinstance(faults.named(said(message)), PromptTooLong) == (completion is None)


def test_fields_say_more_than_words() -> None:
    body = {
        "code": 400,
        "message": "the request exceeds the available context size. try increasing the context size or enable context shift",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 14429,
        "n_ctx": 8192,
    }
    assert EngineResponseError(400, body).limits == TokenLimits(8192, None, 14429)


@pytest.mark.parametrize(
    "message",
    [
        "input length exceeds maximum context length",
        "Please reduce the length of the messages or completion.",
        "context window exceeds limit",
    ],
)
def test_a_refusal_about_length_without_figures(message: str) -> None:
    assert is_too_long(message)
    assert said(message).limits == TokenLimits()


@pytest.mark.parametrize("message", ["Invalid value: 'x'", "System role not supported", "temperature must be at most 2", ""])
def test_a_refusal_about_something_else(message: str) -> None:
    assert not is_too_long(message)
    assert said(message).limits == TokenLimits()


def test_figures_do_not_overflow() -> None:
    assert said("maximum context length is " + "9" * 100_000).limits == TokenLimits(999_999_999_999)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (LENGTHS[0][0], "The prompt and the answer asked for do not fit the model's context of 8192 tokens: the prompt alone has 9."),
        (LENGTHS[3][0], "The prompt does not fit the model's context of 8192 tokens: it has 8545."),
        ("input length exceeds maximum context length", "The prompt does not fit the model's context."),
    ],
)
def test_what_a_run_fails_with_is_true(message: str, told: str) -> None:
    error = faults.named(said(message))
    assert isinstance(error, PromptTooLong)
    assert str(error) == told


def test_a_cap_on_the_answer_is_no_prompt_that_is_too_long() -> None:
    message = "max_tokens is too large: 30000. This model supports at most 16384 completion tokens, whereas you provided 30000."
    error = faults.named(said(message))
    assert type(error) is EngineRefused
