"""From a run and its thread to the messages of a chat: instructions, history as far as it fits, and what the run itself did so far."""

from __future__ import annotations

from typing import Any

import orjson

from oxillama.engine.interface import ChatRequest, Engine
from oxillama.errors import EngineRefused
from oxillama.objects import run as run_object
from oxillama.store.threads import ThreadFolder

#: What a chat template adds around each message, at the most commonly seen.
_TOKENS_AROUND_MESSAGE = 8
#: More characters than most languages have a token, so that what fits by this estimate nearly always fits.
_CHARACTERS_PER_TOKEN = 3
_ANSWER_TOKENS = 1024
#: Messages beyond this many times the room are not read: no tokenizer packs a text that much denser than the estimate.
_WORTH_COUNTING = 3
#: With an engine that does not say how large its context is, no more than this of a history is read.
_UNKNOWN_CONTEXT_TOKENS = 200_000


class BudgetSpent(Exception):
    """The run may not spend another token. `reason` is its `incomplete_details.reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def chat_request(engine: Engine, thread: ThreadFolder, run: dict[str, Any], *, shrink: float = 1.0) -> ChatRequest:
    """What to ask the engine for the next turn of a run.

    Args:
        engine: tells how large its context is, and counts tokens.
        thread: the run's thread.
        run: the run.
        shrink: part of the context to use, below 1 when the engine found the last prompt too long.

    Raises:
        BudgetSpent: a token limit of the run leaves no room for another turn.
        EngineRefused: a message holds something that no engine can be given.
    """
    steps = thread.load_steps(run["id"])
    spent = run_object.total_usage([step["usage"] for step in steps])
    completion_left = _left(run["max_completion_tokens"], spent["completion_tokens"], "max_completion_tokens")
    prompt_left = _left(run["max_prompt_tokens"], spent["prompt_tokens"], "max_prompt_tokens")
    system = [{"role": "system", "content": run["instructions"]}] if run["instructions"] else []
    own = _own_messages(steps, thread)
    tools = [_tool(tool) for tool in run["tools"] if tool["type"] == "function"]
    room = await _room(engine, completion_left, prompt_left, shrink)
    described = [{"content": orjson.dumps(tools).decode()}] if tools else []
    history = await _history(engine, thread, run, system + described + own, room, must_fit=prompt_left is not None)
    return ChatRequest(
        model=run["model"],
        messages=system + history + own,
        temperature=run["temperature"],
        top_p=run["top_p"],
        max_tokens=completion_left,
        response_format=run["response_format"],
        tools=tools,
        tool_choice=_tool_choice(run, steps),
        parallel_tool_calls=run["parallel_tool_calls"],
        reasoning_effort=run["reasoning_effort"],
    )


def chat_message(message: dict[str, Any]) -> dict[str, Any] | None:
    """A Message in the form of Chat Completions; None when it has nothing to say.

    Raises:
        EngineRefused: it holds an image file, and this server keeps no files.
    """
    parts = [_part(part) for part in message["content"]]
    if all(part["type"] == "text" for part in parts):
        text = "\n".join(part["text"] for part in parts)
        return {"role": message["role"], "content": text} if text else None
    return {"role": message["role"], "content": parts}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    match part["type"]:
        case "text":
            return {"type": "text", "text": part["text"]["value"]}
        case "refusal":
            return {"type": "text", "text": part["refusal"]}
        case "image_url":
            return {"type": "image_url", "image_url": part["image_url"]}
    raise EngineRefused("A message of this thread holds an image file, and this server does not keep files yet. Use image_url.")


def _left(limit: int | None, spent: int, reason: str) -> int | None:
    """Tokens that a limit over the whole run leaves (behaviour.md, section 12); None without a limit."""
    if limit is None:
        return None
    if spent >= limit:
        raise BudgetSpent(reason)
    return limit - spent


async def _room(engine: Engine, completion_left: int | None, prompt_left: int | None, shrink: float) -> int:
    """Tokens that the prompt may have."""
    context = await engine.context_tokens() or _UNKNOWN_CONTEXT_TOKENS
    room = context - min(completion_left or _ANSWER_TOKENS, context // 4)
    return int(min(room, prompt_left or room) * shrink)


async def _history(
    engine: Engine, thread: ThreadFolder, run: dict[str, Any], fixed: list[dict[str, Any]], room: int, *, must_fit: bool
) -> list[dict[str, Any]]:
    """The thread's messages before this run, oldest first: the newest that the run's truncation strategy and the room allow.

    The newest is always there, unless the room is a limit that the run set itself.
    """
    strategy = run["truncation_strategy"]
    most = strategy["last_messages"] if strategy["type"] == "last_messages" else None
    newest: list[dict[str, Any]] = []
    estimate = _estimate(fixed)
    for stored in thread.messages.newest_first():
        if len(newest) == most or estimate > _WORTH_COUNTING * room:
            break
        message = orjson.loads(stored)
        chat = chat_message(message) if message["run_id"] != run["id"] else None
        if chat is not None:
            newest.append(chat)
            estimate += _estimate([chat])
    kept = len(newest)
    if must_fit or estimate > room:
        kept = await _most_that_fit(engine, fixed, newest, room)
    if must_fit and kept < min(1, len(newest)):
        raise BudgetSpent("max_prompt_tokens")
    return newest[: max(kept, 1)][::-1]


async def _most_that_fit(engine: Engine, fixed: list[dict[str, Any]], newest: list[dict[str, Any]], room: int) -> int:
    """How many of the newest messages fit beside those that must be there; -1 when not even those fit."""
    low, high = -1, len(newest)
    while low < high:
        # The first guess is all of them, then halves.
        middle = high if (low, high) == (-1, len(newest)) else (low + high + 1) // 2
        messages = fixed + newest[:middle]
        tokens = await engine.count_tokens("\n".join(map(_text_of, messages))) + _TOKENS_AROUND_MESSAGE * len(messages)
        low, high = (middle, high) if tokens <= room else (low, middle - 1)
    return low


def _estimate(messages: list[dict[str, Any]]) -> int:
    return sum(len(_text_of(message)) // _CHARACTERS_PER_TOKEN + _TOKENS_AROUND_MESSAGE for message in messages)


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = " ".join(part.get("text", "") for part in content)
    calls = message.get("tool_calls", [])
    return content + "".join(call["function"]["name"] + call["function"]["arguments"] for call in calls)


def _own_messages(steps: list[dict[str, Any]], thread: ThreadFolder) -> list[dict[str, Any]]:
    """What the run did in its earlier turns. Text and calls of one turn are one message."""
    messages: list[dict[str, Any]] = []
    for step in steps:
        if step["type"] == "message_creation":
            stored = thread.messages.get(step["step_details"]["message_creation"]["message_id"])
            chat = None if stored is None else chat_message(orjson.loads(stored))
            if chat is not None:
                messages.append(chat)
            continue
        calls = step["step_details"]["tool_calls"]
        if not (messages and messages[-1]["role"] == "assistant" and "tool_calls" not in messages[-1]):
            messages.append({"role": "assistant", "content": None})
        messages[-1]["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["function"]["name"], "arguments": call["function"]["arguments"]},
            }
            for call in calls
        ]
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": call["function"]["output"] or ""} for call in calls]
    return messages


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = {key: value for key, value in tool["function"].items() if key != "strict" or value}
    return {"type": "function", "function": function}


def _tool_choice(run: dict[str, Any], steps: list[dict[str, Any]]) -> str | dict[str, Any]:
    """A forced choice holds for the first turn only: else the run would call tools for ever (behaviour.md, section 12)."""
    choice = run["tool_choice"]
    if choice == "none" or not (steps or (isinstance(choice, dict) and choice["type"] != "function")):
        return choice
    return "auto"
