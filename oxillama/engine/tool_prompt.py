"""A conversation about functions in words, for models whose template knows neither tools nor calls."""

from __future__ import annotations

import json
from typing import Any

_EXPLANATION = """You can call these functions, one at a time:
{functions}

Reply with one JSON object and nothing else.
To call a function: {{"name": "<function>", "arguments": {{<its parameters>}}}}
To answer without a function, or from the result of one: {{"answer": {answer}}}"""


def in_words(messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, answer_is_text: bool = True) -> list[dict[str, Any]]:
    """The messages with only `system`, `user` and `assistant` in them, and the functions described first.

    The description is the same for every tool choice, so that an engine which caches prompts has it already in the next turn.

    Args:
        messages: in the form of Chat Completions.
        tools: in the form of Chat Completions; none for a turn in which no function may be called.
        answer_is_text: whether an answer is text; else it is a JSON value of the caller's own form.
    """
    plain = _without_calls(messages)
    if not tools:
        return plain
    functions = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    explanation = _EXPLANATION.format(functions=functions, answer='"<text>"' if answer_is_text else "<JSON>")
    if plain and plain[0]["role"] == "system":
        return [{**plain[0], "content": f"{plain[0]['content']}\n\n{explanation}"}, *plain[1:]]
    return [{"role": "system", "content": explanation}, *plain]


def _without_calls(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    plain: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    after_result = False
    for message in messages:
        if message["role"] == "tool":
            result = f"Result of {names.get(message['tool_call_id'], 'the function')}: {message['content']}"
            if after_result:
                # Many templates take no two messages of one role in a row.
                plain[-1] = {"role": "user", "content": f"{plain[-1]['content']}\n{result}"}
            else:
                plain.append({"role": "user", "content": result})
        elif message.get("tool_calls"):
            names |= {call["id"]: call["function"]["name"] for call in message["tool_calls"]}
            said = [message["content"]] if message.get("content") else []
            plain.append({"role": "assistant", "content": "\n".join(said + [_call(call["function"]) for call in message["tool_calls"]])})
        else:
            plain.append(message)
        after_result = message["role"] == "tool"
    return plain


def _call(function: dict[str, Any]) -> str:
    return f'{{"name": {json.dumps(function["name"])}, "arguments": {function["arguments"] or "{}"}}}'
