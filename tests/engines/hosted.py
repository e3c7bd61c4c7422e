"""Engines that others run, and proxies before them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, ClassVar

from tests.engines.personality import (
    MODEL,
    WINDOW,
    Chunk,
    Personality,
    Request,
    Saying,
    answer_limit,
    calls_are_answered,
    plain,
    prompt_tokens,
    refusal,
    roles,
)
from tests.scripted_engine import Raw

#: Tokens of an answer, wherever an engine has such a limit.
ANSWER = 4096


class OpenAi(Personality):
    """OpenAI's chat models: an answer has a limit of its own, and calls need their results (OpenAI's error codes guide)."""

    thinks_in = None

    def refuse(self, request: Request) -> Raw | None:
        tokens, limit = prompt_tokens(request), answer_limit(request)
        if tokens > WINDOW:
            return refusal(
                400,
                f"This model's maximum context length is {WINDOW} tokens. However, your messages resulted in {tokens} tokens. "
                "Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            )
        if limit > ANSWER:
            return refusal(
                400,
                f"max_tokens is too large: {limit}. This model supports at most {ANSWER} completion tokens, whereas you provided {limit}.",
                param="max_tokens",
                code="invalid_value",
            )
        if not calls_are_answered(request):
            return refusal(
                400, "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
            )
        return None


class OpenAiReasoning(OpenAi):
    """OpenAI's reasoning models: no `max_tokens`, no sampling, no parallel calls; thoughts are counted and not told."""

    def refuse(self, request: Request) -> Raw | None:
        if "max_tokens" in request:
            return refusal(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                param="max_tokens",
                code="unsupported_parameter",
            )
        if request.get("temperature", 1) != 1:
            return refusal(
                400,
                f"Unsupported value: 'temperature' does not support {request['temperature']} with this model. Only the default (1) "
                "value is supported.",
                param="temperature",
                code="unsupported_value",
            )
        for name in ("top_p", "parallel_tool_calls"):
            if name in request:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return refusal(400, message, param=name, code="unsupported_parameter")
        return super().refuse(request)


class Azure(OpenAi):
    """Azure OpenAI: chunks of its content filter without choices or without a delta (openai/openai-python#1677, microsoft/autogen#6465).

    Older versions of its API know no `stream_options`; then nothing is counted.
    """

    counts = False

    def refuse(self, request: Request) -> Raw | None:
        for name in ("stream_options", "parallel_tool_calls"):
            if name in request:
                return refusal(400, f"Unrecognized request argument supplied: {name}")
        return super().refuse(request)

    def busy(self) -> Raw:
        message = "Requests have exceeded the call rate limit of your current OpenAI S0 pricing tier. Please retry after 0 seconds."
        return plain(429, {"error": {"code": "429", "message": message}})

    def chunks(self, request: Request, saying: Saying) -> Iterator[Chunk]:
        safe = {"hate": {"filtered": False, "severity": "safe"}}
        yield {
            "id": "",
            "object": "",
            "created": 0,
            "model": "",
            "choices": [],
            "prompt_filter_results": [{"content_filter_results": safe}],
        }
        yield from super().chunks(request, saying)
        if saying.whole:
            yield {"id": "", "object": "", "choices": [{"index": 0, "finish_reason": None, "content_filter_results": safe}], "usage": None}


class LiteLlm(OpenAi):
    """The LiteLLM proxy: words of the engine behind it within its own (BerriAI/litellm#14163), and codes as text."""

    def refuse(self, request: Request) -> Raw | None:
        if "parallel_tool_calls" in request:
            message = (
                "litellm.UnsupportedParamsError: ollama does not support parameters: ['parallel_tool_calls'], for model=the-model. To drop "
                "these, set `litellm.drop_params=True` or for proxy: `litellm_settings: drop_params: true`"
            )
            return refusal(400, message, "None", param="None", code="400")
        refused = super().refuse(request)
        if refused is None:
            return None
        inner = json.loads(refused.body)["error"]["message"]
        message = f"litellm.BadRequestError: OpenAIException - {inner}. Received Model Group={MODEL}\nAvailable Model Group Fallbacks=None"
        return refusal(400, message, "None", param="None", code="400")

    def busy(self) -> Raw:
        message = "litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached"
        return refusal(429, message, "throttling_error", code="429")


class OpenRouter(Personality):
    """OpenRouter: comments that keep the connection open, thoughts twice, and refusals in `metadata.raw` (charmbracelet/crush#279).

    None of its providers taking a parameter is a 404 (pydantic/pydantic-ai#2896).
    """

    thinks_in = "reasoning"

    def refuse(self, request: Request) -> Raw | None:
        if isinstance(request.get("tool_choice"), dict):
            message = "No endpoints found that support the provided 'tool_choice' value. To learn more about provider routing, visit: …"
            return plain(404, {"error": {"message": message, "code": 404}})
        tokens, limit = prompt_tokens(request), answer_limit(request)
        if tokens + limit > WINDOW:
            raw = (
                f"This endpoint's maximum context length is {WINDOW} tokens. However, you requested about {tokens + limit} tokens "
                f"({tokens} of text input, {limit} in the output). Please reduce the length of either one."
            )
            return plain(400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}})
        return None

    def busy(self) -> Raw:
        metadata = {"raw": f"{MODEL} is temporarily rate-limited upstream. Please retry shortly.", "provider_name": "P"}
        return plain(429, {"error": {"message": "Provider returned error", "code": 429, "metadata": metadata}})

    def chunk(self, delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> Chunk:
        if delta and (thought := delta.get("reasoning")):
            details = [{"type": "reasoning.text", "text": thought, "format": "unknown", "index": 0}]
            delta = {**delta, "content": "", "reasoning_details": details}
        made = super().chunk(delta, reason, provider="P", **more)
        made["choices"][0]["native_finish_reason"] = reason
        return made

    def end(self, request: Request, saying: Saying) -> Iterator[Chunk]:
        yield self.chunk({"role": "assistant", "content": ""}, "tool_calls" if saying.calls else "stop")
        yield self.chunk({"role": "assistant", "content": ""}, usage={**self.usage(saying), "cost": 0.0001})

    def stream(self, chunks: Iterator[Chunk], *, whole: bool) -> bytes:
        return b": OPENROUTER PROCESSING\n\n" + super().stream(chunks, whole=whole)


class Mistral(Personality):
    """Mistral's API: ids of nine letters or digits (nearai/ironclaw#1241), unknown members are a 422, and the order of roles matters.

    An assistant speaks after a result (onyx-dot-app/onyx#6458). Thoughts are parts of the content; calls come whole.
    """

    def refuse(self, request: Request) -> Raw | None:
        for name in ("stream_options", "max_completion_tokens", "reasoning_effort"):
            if name in request:
                told = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": request[name]}
                return plain(422, {"object": "error", "message": {"detail": [told]}, "type": "invalid_request_error", "code": None})
        found = roles(request)
        if found[-1] not in ("user", "tool"):
            return self._bad(f"Expected last role User or Tool (or Assistant with prefix True) for serving but got {found[-1]}", "3230")
        for last, next_one in itertools.pairwise(found):
            if (last == "tool" and next_one == "user") or next_one == "system":
                return self._bad(f"Unexpected role '{next_one}' after role '{last}'", "3230")
        for message in request["messages"]:
            for call in message.get("tool_calls") or ():
                if len(call["id"]) != 9 or not call["id"].isalnum():
                    return self._bad(f"Tool call id was {call['id']} but must be a-z, A-Z, 0-9, with a length of 9.", "3280")
        tokens = prompt_tokens(request)
        if tokens + answer_limit(request) > WINDOW:
            message = f"Prompt contains {tokens} tokens and 0 draft tokens, too large for model with {WINDOW} maximum context length"
            return self._bad(message, "3051")
        return None

    def busy(self) -> Raw:
        return plain(429, {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "param": None, "code": "1300"})

    def call_id(self) -> str:
        return f"M{next(self._numbers):08d}"

    def call(self, index: int, name: str, arguments: str) -> Iterator[Chunk]:
        yield self.chunk(
            {"tool_calls": [{"id": self.call_id(), "function": {"name": name, "arguments": arguments}, "index": index}], "content": ""}
        )

    def chunk(self, delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> Chunk:
        if delta and (thought := delta.get("reasoning_content")):
            delta = {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}]}
        return super().chunk(delta, reason, **more)

    def end(self, request: Request, saying: Saying) -> Iterator[Chunk]:
        yield self.chunk({"content": ""}, "tool_calls" if saying.calls else "stop", usage=self.usage(saying))

    @staticmethod
    def _bad(message: str, code: str) -> Raw:
        body = {"object": "error", "message": message, "type": "invalid_request_message_order", "param": None, "code": code}
        return plain(400, {**body, "raw_status_code": 400})


class Groq(Personality):
    """Groq: counts in `x_groq` (vercel/ai#1651), its own thoughts are not taken back, and an answer has a limit of its own."""

    thinks_in = "reasoning"

    def refuse(self, request: Request) -> Raw | None:
        for place, message in enumerate(request["messages"]):
            for name in ("reasoning", "reasoning_content"):
                if name in message:
                    told = f"'messages.{place}' : for 'role:assistant' the following must be satisfied[('messages.{place}' : property "
                    return refusal(400, f"{told}'{name}' is unsupported)]")
        if answer_limit(request) > ANSWER:
            message = (
                f"`max_tokens` must be less than or equal to `{ANSWER}`, the maximum value for `max_tokens` is less than the "
                "`context_window` for this model"
            )
            return refusal(400, message, param="max_tokens")
        if prompt_tokens(request) > WINDOW:
            return refusal(400, "Please reduce the length of the messages or completion.", param="messages", code="context_length_exceeded")
        if (request.get("response_format") or {}).get("type") == "json_schema":
            message = "This model does not support response format `json_schema`. See supported models at …"
            return refusal(400, message, param="response_format")
        return None

    def end(self, request: Request, saying: Saying) -> Iterator[Chunk]:
        yield self.chunk({}, "tool_calls" if saying.calls else "stop", x_groq={"id": "req_1", "usage": self.usage(saying)})


class Anthropic(Personality):
    """Anthropic's compatible endpoint: a user speaks last (ericc-ch/copilot-api#261), no empty text, temperature or top_p and not both.

    (BerriAI/litellm#15097; platform.claude.com/docs, "OpenAI SDK compatibility".) Thoughts are not told.
    """

    thinks_in = None

    def refuse(self, request: Request) -> Raw | None:
        limit, tokens = answer_limit(request), prompt_tokens(request)
        found = roles(request)
        if "temperature" in request and "top_p" in request:
            return self._bad("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
        if limit > ANSWER:
            return self._bad(f"max_tokens: {limit} > {ANSWER}, which is the maximum allowed number of output tokens for {MODEL}")
        if tokens > WINDOW:
            return self._bad(f"prompt is too long: {tokens} tokens > {WINDOW} maximum")
        if not found:
            return self._bad("messages: at least one message is required")
        if found[-1] == "assistant":
            return self._bad("This model does not support assistant message prefill. The conversation must end with a user message.")
        if any(message.get("content") == "" and not message.get("tool_calls") for message in request["messages"]):
            return self._bad("messages: text content blocks must be non-empty")
        if not calls_are_answered(request):
            return self._bad("messages: `tool_use` ids were found without `tool_result` blocks immediately after")
        return None

    def busy(self) -> Raw:
        return plain(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})

    def call_id(self) -> str:
        return f"toolu_{next(self._numbers):024d}"

    def _bad(self, message: str) -> Raw:
        return plain(400, {"error": {"code": "invalid_request_error", "message": message, "type": "invalid_request_error", "param": None}})


class Gemini(Personality):
    """Gemini's compatible endpoint: errors in a list, counts in every chunk, calls without an index that end with `stop`.

    (googleapis/python-genai#2868.) A call has a signature of its thoughts, without which it is not taken back (open-webui/computer#224).
    """

    thinks_in = None
    _SIGNATURE: ClassVar[dict[str, Any]] = {"google": {"thought_signature": "c2lnbmF0dXJl"}}

    def refuse(self, request: Request) -> Raw | None:
        if roles(request)[-1:] in ([], ["assistant"]):
            return self._bad("Please ensure that single turn requests end with a user role or the role field is empty.")
        for message in request["messages"]:
            if message["role"] not in ("system", "user", "assistant", "tool"):
                return self._bad("Please use a valid role: user, model.")
            for call in message.get("tool_calls") or ():
                if call.get("extra_content") != self._SIGNATURE:
                    return self._bad(
                        f"Function call `{call['function']['name']}` in the 1. content block is missing a `thought_signature`."
                    )
        tokens, limit = prompt_tokens(request), answer_limit(request)
        if tokens > WINDOW:
            return self._bad(f"The input token count ({tokens}) exceeds the maximum number of tokens allowed ({WINDOW}).")
        if limit > ANSWER:
            message = f"maxOutputTokens value of {limit} but the supported range is from 1 (inclusive) to {ANSWER + 1} (exclusive)."
            return self._bad(f"Unable to submit request because it has a {message}")
        return None

    def busy(self) -> Raw:
        error = {"code": 429, "message": "Resource has been exhausted (e.g. check quota).", "status": "RESOURCE_EXHAUSTED"}
        return plain(429, [{"error": error}])

    def chunk(self, delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> Chunk:
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        return super().chunk({"role": "assistant", **(delta or {})}, reason, usage=usage)

    def call(self, index: int, name: str, arguments: str) -> Iterator[Chunk]:
        function = {"name": name, "arguments": arguments}
        call = {"extra_content": self._SIGNATURE, "function": function, "id": f"function-call-{next(self._numbers)}", "type": "function"}
        yield self.chunk({"tool_calls": [call]})

    def end(self, request: Request, saying: Saying) -> Iterator[Chunk]:
        yield self.chunk({}, "stop")

    def _bad(self, message: str) -> Raw:
        return plain(400, [{"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}])
