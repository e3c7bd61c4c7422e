"""Engines that people run themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.engines.personality import (
    MODEL,
    WINDOW,
    Chunk,
    Personality,
    Request,
    Saying,
    answer_limit,
    in_turns,
    plain,
    prompt_tokens,
    refusal,
    roles,
)
from tests.scripted_engine import Raw, loading


class Vllm(Personality):
    """vLLM with a strict template, and a reasoning parser.

    Its errors are objects without a wrapper; `/v1/models` has `max_model_len` (vllm-project/vllm#20409, #33418). Its templates refuse
    roles that do not alternate (microsoft/autogen#1037). Thoughts are in `reasoning_content`, or `reasoning` since 2026.
    """

    def __init__(self) -> None:
        super().__init__()
        self.models = [{**model, "max_model_len": WINDOW} for model in self.models]

    def call_id(self) -> str:
        return f"chatcmpl-tool-{next(self._numbers):032x}"

    def refuse(self, request: Request) -> Raw | None:
        if not in_turns(request):
            return self._bad("Conversation roles must alternate user/assistant/user/assistant/...")
        tokens, limit = prompt_tokens(request), answer_limit(request)
        if tokens + limit > WINDOW:
            return self._bad(
                f"'max_tokens' or 'max_completion_tokens' is too large: {limit}. This model's maximum context length is {WINDOW} tokens "
                f"and your request has {tokens} input tokens ({limit} > {WINDOW} - {tokens})."
            )
        return None

    def busy(self) -> Raw:
        return plain(503, {"object": "error", "message": "Server is at capacity", "type": "ServiceUnavailable", "param": None, "code": 503})

    @staticmethod
    def _bad(message: str) -> Raw:
        return plain(400, {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400})


class VllmWithoutTools(Vllm):
    """vLLM as it is started without flags: it takes no functions (vllm-project/vllm#9986), and this template no system role.

    Functions are then described in the prompt, and the reply is held to a schema.
    """

    one_call_at_a_time = True

    def refuse(self, request: Request) -> Raw | None:
        if request.get("tools"):
            return self._bad('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
        if any(message["role"] in ("system", "tool") for message in request["messages"]):
            return self._bad("System role not supported")
        return super().refuse(request)

    def chunks(self, request: Request, saying: Saying) -> Iterator[Chunk]:
        schema = json.dumps(request.get("response_format"))
        if saying.calls:
            name, arguments = saying.calls[0]
            saying = Saying((json.dumps({"name": name, "arguments": arguments}),), thoughts=saying.thoughts)
        elif '"answer"' in schema:
            saying = Saying((json.dumps({"answer": "".join(saying.text)}),), thoughts=saying.thoughts, whole=saying.whole)
        return super().chunks(request, saying)


class LlamaServer(Personality):
    """llama-server. A template's refusal is a 500; it has `/props`, and counts with the last chunk (ggml-org/llama.cpp#27367)."""

    def __init__(self) -> None:
        super().__init__()
        self.props = {
            "default_generation_settings": {"n_ctx": WINDOW},
            "model_path": "model.gguf",
            "chat_template": "",
            "chat_template_caps": {"supports_tools": True, "supports_tool_calls": True},
        }
        self.tokenize = lambda text: list(range(len(text) // 4))

    def call_id(self) -> str:
        return f"{next(self._numbers):032d}"

    def refuse(self, request: Request) -> Raw | None:
        tokens = prompt_tokens(request)
        if tokens > WINDOW:
            message = f"request ({tokens} tokens) exceeds the available context size ({WINDOW} tokens), try increasing it"
            return refusal(400, message, "exceed_context_size_error", code=400, n_prompt_tokens=tokens, n_ctx=WINDOW)
        if roles(request)[-2:] == ["assistant", "assistant"]:
            return refusal(400, "Cannot have 2 or more assistant messages at the end of the list.", code=400)
        if "system" in roles(request):
            return refusal(500, "Jinja Exception: System message must be at the beginning.", "server_error", code=500)
        if roles(request)[:1] == ["assistant"]:
            message = "Jinja Exception: Conversation roles must alternate user/assistant/user/assistant/..."
            return refusal(500, message, "server_error", code=500)
        return None

    def busy(self) -> Raw:
        return loading()

    def end(self, request: Request, saying: Saying) -> Iterator[Chunk]:
        yield self.chunk({}, "tool_calls" if saying.calls else "stop")
        yield {"choices": [], "object": "chat.completion.chunk", "usage": self.usage(saying), "timings": {"prompt_n": 5, "predicted_n": 7}}


class Ollama(Personality):
    """Ollama. Calls come whole, each with the index 0 (ollama/ollama#7881); thoughts in `reasoning` (anomalyco/opencode#46061).

    It cuts a prompt that is too long without a word, and ignores a tool choice. A model that does not think refuses to be told how much
    (Gitlawb/openclaude#1371).
    """

    thinks_in = "reasoning"

    def refuse(self, request: Request) -> Raw | None:
        if request.get("reasoning_effort"):
            return refusal(400, f'"{MODEL}" does not support thinking')
        return None

    def busy(self) -> Raw:
        return refusal(503, "server busy, please try again. maximum pending requests exceeded", "api_error")

    def call(self, index: int, name: str, arguments: str) -> Iterator[Chunk]:
        call = {"index": 0, "id": f"call_{next(self._numbers):08d}", "type": "function", "function": {"name": name, "arguments": arguments}}
        yield self.chunk({"role": "assistant", "content": "", "tool_calls": [call]})


class LmStudio(Personality):
    """LM Studio. It begins a stream before it looks at the request, and its errors are events of their own.

    Tool choices are words only, forms are schemas only (lmstudio-ai/lmstudio-bug-tracker#189, #307, #670). Thoughts stay in the text.
    """

    thinks_in = None

    def refuse(self, request: Request) -> Raw | None:
        tokens = prompt_tokens(request)
        if isinstance(request.get("tool_choice"), dict):
            return plain(400, {"error": "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"})
        if (request.get("response_format") or {}).get("type") == "json_object":
            return plain(400, {"error": "'response_format.type' must be 'json_schema' or 'text'"})
        if not in_turns(request):
            return self._in_stream("Error rendering prompt with jinja template: Conversation roles must alternate user/assistant/...")
        if tokens > WINDOW:
            return self._in_stream(
                f"The number of tokens to keep from the initial prompt is greater than the context length "
                f"(n_keep: {tokens}>= n_ctx: {WINDOW})."
            )
        return None

    def chunks(self, request: Request, saying: Saying) -> Iterator[Chunk]:
        thoughts = ("<th", "ink>", *saying.thoughts, "</thi", "nk>\n\n") if saying.thoughts else ()
        return super().chunks(request, Saying((*thoughts, *saying.text), saying.calls, whole=saying.whole))

    def call_id(self) -> str:
        return f"{next(self._numbers):09d}"

    @staticmethod
    def _in_stream(message: str) -> Raw:
        body = f"event: error\ndata: {json.dumps({'error': {'message': message}})}\n\n"
        return Raw(200, body.encode(), "text/event-stream")
