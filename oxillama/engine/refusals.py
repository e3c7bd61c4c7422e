"""What an engine's refusal is about: a parameter, or the order of roles. Limits on tokens are in `token_limits`.

Engines have no common words for this. Each row below names whose words it recognises. All recognising is by fixed words in a text that was
cut first, so that it takes time in proportion to the text, whatever an engine sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from oxillama.engine import accommodations
from oxillama.engine.accommodations import Body
from oxillama.engine.echo import Echo
from oxillama.engine.faults import EngineResponseError

#: Statuses with which engines refuse a request. llama.cpp and Ollama say 500 when a template raises an exception; OpenRouter says 404
#: when none of its providers takes a parameter.
_REFUSING = frozenset({400, 404, 405, 406, 422, 500, 501, None})

_TURNS = ("user and assistant in turn",)
_NO_SYSTEM = ("instructions in the first user message",)

_ROLES = (_TURNS, _NO_SYSTEM)

#: All of these words in the refusal -> accommodations to try, the gentlest first.
_WORDS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    # Templates of Llama 2, Gemma, Mistral ("roles must alternate"), told by vLLM, llama-server, LM Studio and Hugging Face's TGI
    # (microsoft/autogen#1037, huggingface/text-generation-inference#3198); Bedrock: "A conversation must start with a user message".
    (("must alternate",), _TURNS),
    (("must start with a user message",), _TURNS),
    # Qwen's template: "No user query found in messages."; Anthropic: "messages: at least one message is required".
    (("no user query",), _TURNS),
    (("at least one message",), _TURNS),
    # Transformers and vLLM: "Cannot set `add_generation_prompt` to True when the last message is from the assistant."
    (("last message is from the assistant",), _TURNS),
    # Anthropic: "roles must alternate between …", "first message must use the "user" role".
    (("first message", "user"), _TURNS),
    # Perplexity: "Last message must have role `user`" and "user or tool message(s) should alternate with assistant message(s)".
    (("last message", "user"), _TURNS),
    (("should alternate",), _TURNS),
    # Mistral's API: "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant".
    (("expected last role",), _TURNS),
    # Mistral's API: "Unexpected role 'system' after role 'user'".
    (("unexpected role 'system'",), ("one system message", *_NO_SYSTEM)),
    # And "Unexpected role 'user' after role 'tool'" (onyx-dot-app/onyx#6458, BerriAI/litellm#17761).
    (("unexpected role",), _TURNS),
    # llama-server: "Cannot have 2 or more assistant messages at the end of the list", "Assistant response prefill is incompatible with …".
    (("assistant messages at the end",), _TURNS),
    (("prefill",), _TURNS),
    # Anthropic, of its newer models: "The conversation must end with a user message" (ericc-ch/copilot-api#261).
    (("must end with a user message",), _TURNS),
    # And of its older ones: "messages: final assistant content cannot end with trailing whitespace".
    (("final assistant content",), _TURNS),
    # Gemini: "Please ensure that multiturn requests alternate between user and model", "… end with a user role".
    (("requests alternate",), _TURNS),
    (("end with a user role",), _TURNS),
    # Gemini: "Please use a valid role: user, model.", "Developer instruction is not enabled for models/gemma-…"
    # (QuantumNous/new-api#989, the-open-agent/openagent#1666).
    (("valid role",), _NO_SYSTEM),
    (("developer instruction",), _NO_SYSTEM),
    # Gemma's template: "System role not supported" (sgl-project/sglang#892); Mistral's of old: "Only user and assistant roles are
    # supported!" (withcatai/node-llama-cpp#263).
    (("system role not supported",), _NO_SYSTEM),
    (("system role is not supported",), _NO_SYSTEM),
    (("only user and assistant roles",), _NO_SYSTEM),
    # OpenAI, of o1-mini and o1-preview: "Unsupported value: 'messages[0].role' does not support 'system' with this model."
    (("role", "does not support 'system'"), _NO_SYSTEM),
    (("role", "does not support 'developer'"), _NO_SYSTEM),
    # Qwen's template: "System message must be at the beginning." (vllm-project/vllm#41114, ggml-org/llama.cpp#27367); MiniMax:
    # "invalid chat setting", only one system message.
    (("system message must be",), ("one system message", *_NO_SYSTEM)),
    (("multiple system messages",), ("one system message", *_NO_SYSTEM)),
    # Anthropic: "`temperature` and `top_p` cannot both be specified for this model." (BerriAI/litellm#15097)
    (("temperature", "top_p", "both"), ("top_p left out", "temperature left out")),
    # Ollama: "\"llama3.2\" does not support thinking" (Gitlawb/openclaude#1371), "think value \"low\" is not supported for this model".
    (("support thinking",), ("reasoning_effort left out",)),
    (("thinking", "not supported"), ("reasoning_effort left out",)),
    (("think value",), ("reasoning_effort left out",)),
    # LM Studio: "'response_format.type' must be 'json_schema' or 'text'" for json_object; "Invalid tool_choice type: 'object'.
    # Supported string values: none, auto, required" (lmstudio-ai/lmstudio-bug-tracker#189, #307 and #670).
    (("response_format.type",), ("json_object as json_schema", "response_format as json_object", "response_format in words")),
    (("invalid tool_choice type",), ("tool_choice as required", "tool_choice as auto", "tool_choice left out")),
    # vLLM: "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set"; see `takes_no_tools`.
    # Moonshot: "tool_choice 'required' is incompatible with thinking enabled"; DashScope: "The tool_choice parameter does not support being
    # set to required or object in thinking mode" (cloudwego/eino#994).
    (("tool_choice", "required"), ("tool_choice as auto", "tool_choice left out")),
    # DeepSeek: "This response_format type is unavailable now" (khoj-ai/khoj#1336).
    (("response_format type is unavailable",), ("response_format as json_object", "response_format in words")),
    # SiliconFlow: "Json mode is not supported for this model." (egoist/chatwise-releases#141)
    (("json mode", "not supported"), ("response_format in words",)),
    # Groq: "json mode cannot be combined with tool/function calling".
    (("json mode cannot be combined",), ("response_format in words",)),
    # OpenRouter, for `tool_choice`: "No endpoints found that support the provided 'tool_choice' value".
    (("no endpoints found", "tool_choice"), ("tool_choice as auto", "tool_choice left out")),
    # Engines that want text where a message only calls: "content: Input should be a valid string", "'content' must be a string".
    (("content", "valid string"), ("content beside calls as text",)),
    (("content", "must be a string"), ("content beside calls as text",)),
    (("content", "null"), ("content beside calls as text",)),
)

#: Parameter -> accommodations to try where a refusal names it.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "max_completion_tokens": ("max_tokens as max_completion_tokens", "max_completion_tokens left out"),
    "max_tokens": ("max_tokens as max_completion_tokens", "max_tokens left out"),
    "response_format": ("response_format as json_object", "response_format in words"),
    "json_schema": ("response_format as json_object", "response_format in words"),
    "json_object": ("response_format in words",),
    "tool_choice": ("tool_choice as required", "tool_choice as auto", "tool_choice left out"),
    "strict": ("strict left out",),
    **{name: (f"{name} left out",) for name in ("stream_options", "parallel_tool_calls", "temperature", "top_p", "reasoning_effort")},
    "reasoning_content": ("reasoning not sent back",),
    "reasoning_details": ("reasoning not sent back",),
    # Ollama's, Anthropic's and OpenRouter's names for the same.
    "reasoning": ("reasoning_effort left out", "reasoning not sent back"),
    # xAI: "Model grok-… does not support parameter reasoningEffort." (chenyme/grok2api#814)
    "reasoningeffort": ("reasoning_effort left out",),
    "include_usage": ("stream_options left out",),
}

#: A refusal with these is about what the caller wrote, and leaving it out would give another answer than was asked for.
_CALLERS_OWN = ("invalid schema", "invalid_json_schema", "invalid_function_parameters")

#: Ollama: "… does not support tools" (ollama/ollama#14795). OpenRouter: "No endpoints found that support tool use"
#: (pydantic/pydantic-ai#2896). Groq: "`tool calling` is not supported with this model". vLLM: "… tool choice requires
#: --enable-auto-tool-choice …" (vllm-project/vllm#9986). LiteLLM: "… does not support parameters: ['tools']" (BerriAI/litellm#14163).
_NO_TOOLS = (
    ("does not support tools",),
    ("support tool use",),
    ("tool calling", "not supported"),
    ("tool choice requires",),
    ("tools", "not supported"),
    ("function calling", "not supported"),
    ("function calling is not enabled",),
    ("does not support parameters", "tools"),
)


def wanted(said: EngineResponseError, body: Body, made: Iterable[str]) -> str | None:
    """The accommodation that a refusal asks for, or None where it is about something else.

    Args:
        said: the refusal.
        body: of the request as it was sent.
        made: accommodations that were made in it; none is tried twice.
    """
    if said.status not in _REFUSING:
        return None
    text = _text(said)
    if any(words in text for words in _CALLERS_OWN):
        return None
    tried = set(made)
    for name in _candidates(said, text):
        if name not in tried and accommodations.CHANGES[name](body) != body:
            return name
    return None


def takes_no_tools(said: EngineResponseError, body: Body, echo: Echo | None = None) -> bool:
    """Whether the model takes no tools at all, so that functions have to be described in its prompt.

    Args:
        said: a refusal that asks for no accommodation.
        body: of the request as it was sent.
        echo: of it; words that its caller wrote are none of the engine's. Without it they count, which is enough for the caller's own run.
    """
    results = any(message["role"] == "tool" for message in body["messages"])
    if said.status not in _REFUSING or not (results or body.get("tools")):
        return False
    text = _text(said)
    if any(_says(text, words, echo) for words in _NO_TOOLS):
        return True
    # The roles are as strict as they can be. What is left that a template refuses are calls and their results: Gemma's
    # (huggingface/text-generation-inference#3198), and Gemini's "Role 'tool' is not supported" (genkit-ai/genkit#5780).
    about_results = [("role 'tool'",), *(words for words, names in _WORDS if names in _ROLES)]
    return results and any(_says(text, words, echo) for words in about_results)


def _says(text: str, words: tuple[str, ...], echo: Echo | None = None) -> bool:
    """Whether all these words are there, and not all of them because the caller wrote them."""
    return all(word in text for word in words) and (echo is None or not all(map(echo.holds, words)))


def _candidates(said: EngineResponseError, text: str) -> Iterator[str]:
    for words, names in _WORDS:
        if _says(text, words):
            yield from names
    param = said.body.get("param") if isinstance(said.body, dict) else None
    named = param.split(".")[0].split("[")[0] if isinstance(param, str) else ""
    yield from _PARAMETERS.get(named, ())
    for name, names in _PARAMETERS.items():
        if name in text:
            yield from names


def _text(said: EngineResponseError) -> str:
    """All that was said and named, in one text: some name a parameter in a field, others in words."""
    return f"{said.words.sentences}\n{said.words.names}".lower()
