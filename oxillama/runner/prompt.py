"""From a run and its thread to the messages of a chat: instructions, history as far as it fits, and what the run itself did so far."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from oxillama.engine.interface import ChatRequest, Engine
from oxillama.errors import EngineRefused, PromptTooLong
from oxillama.lifecycle.claim import private_turns
from oxillama.objects import run as run_object
from oxillama.objects import step as step_object
from oxillama.store.threads import ThreadFolder

#: What a chat template adds around each message, at the most commonly seen.
_TOKENS_AROUND_MESSAGE = 8
#: More characters than most languages have a token, so that what fits by this estimate nearly always fits.
_CHARACTERS_PER_TOKEN = 3
_ANSWER_TOKENS = 1024
#: With an engine that does not say how large its context is, no more than this of a history is tried.
_UNKNOWN_CONTEXT_TOKENS = 200_000
#: Messages beyond this many times the room are not read: no tokenizer packs a text that much denser than the estimate.
_WORTH_COUNTING = 3
#: How much of a prompt is tried again when the engine found it too long.
_SHORTER = 0.6
#: What an engine is asked when all messages are empty and there are no instructions: it would refuse a request without any message.
_SILENCE = {"role": "user", "content": ""}


class BudgetSpent(Exception):
    """The run may not spend another token. `reason` is its `incomplete_details.reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Prompt:
    """What the engine is asked for the next turn of a run.

    Args:
        engine: tells how large its context is, and counts tokens.
        thread: the run's thread.
        run: the run.
    """

    def __init__(self, engine: Engine, thread: ThreadFolder, run: dict[str, Any]) -> None:
        self._engine, self._thread, self._run = engine, thread, run
        self._steps = thread.load_steps(run["id"])
        self._own = _own_messages(self._steps, thread, private_turns(thread, run["id"]))
        self._tools = [_tool(tool) for tool in run["tools"] if tool["type"] == "function"]
        self._described = [{"content": orjson.dumps(self._tools).decode()}] if self._tools else []
        self._limit: float = float("inf")
        self._context: int | None = None
        self._fixed: list[dict[str, Any]] = []
        self._history: list[dict[str, Any]] = []

    async def request(self) -> ChatRequest:
        """The request, as long as the context, the run's own limits and earlier refusals allow.

        Raises:
            BudgetSpent: a token limit of the run leaves no room for another turn.
            EngineRefused: the thread or the run asks for something that no engine can be given.
        """
        run = self._run
        spent = run_object.total_usage([step["usage"] for step in self._steps])
        completion_left = _left(run["max_completion_tokens"], spent["completion_tokens"], "max_completion_tokens")
        prompt_left = _left(run["max_prompt_tokens"], spent["prompt_tokens"], "max_prompt_tokens")
        context = self._context or await self._engine.context_tokens(run["model"]) or _UNKNOWN_CONTEXT_TOKENS
        room = min(context - min(completion_left or _ANSWER_TOKENS, context // 4), prompt_left or context, self._limit)
        system = [{"role": "system", "content": run["instructions"]}] if run["instructions"] else []
        self._fixed = system + self._described + self._own
        self._history = await self._newest_that_fit(room, must_fit=prompt_left is not None)
        if completion_left is not None:
            completion_left = min(completion_left, await self._left_for_answer(context))
        return ChatRequest(
            model=run["model"],
            messages=system + self._history + self._own or [_SILENCE],
            temperature=_if_asked_for(run["temperature"]),
            top_p=_if_asked_for(run["top_p"]),
            max_tokens=completion_left,
            response_format=run["response_format"],
            tools=self._tools,
            tool_choice=_tool_choice(run, self._steps, [tool["function"]["name"] for tool in self._tools]),
            parallel_tool_calls=run["parallel_tool_calls"],
            reasoning_effort=run["reasoning_effort"],
        )

    async def _left_for_answer(self, context: int) -> int:
        """Tokens that the prompt leaves of the context, and some in any case: the estimate may be too high, and the engine will say."""
        messages = self._fixed + self._history
        tokens = _estimate(messages)
        if tokens > context - _ANSWER_TOKENS:
            tokens = await self._count(messages)
        return max(context - tokens, min(_ANSWER_TOKENS, context // 4))

    def shorten(self, error: PromptTooLong) -> bool:
        """Ask for less the next time, as the engine found the last request too long. False when there is nothing left to leave out."""
        if error.context_tokens and self._context is None:
            # Our estimate was too low for this text: from here on the engine counts.
            self._context = error.context_tokens
        else:
            self._limit = min(self._limit, _estimate(self._fixed + self._history)) * _SHORTER
        return len(self._history) > 1

    async def _newest_that_fit(self, room: float, *, must_fit: bool) -> list[dict[str, Any]]:
        """The thread's messages before this run, oldest first: the newest that the truncation strategy and the room allow.

        The newest is always there, unless the room is a limit that the run set itself.
        """
        needed = _estimate(self._fixed)
        newest = await asyncio.to_thread(self._newest, _WORTH_COUNTING * room - needed)
        kept = len(newest)
        if must_fit or self._context is not None or needed + _estimate(newest) > room:
            kept = await self._most_that_fit(newest, room)
        if must_fit and kept < min(1, len(newest)):
            raise BudgetSpent("max_prompt_tokens")
        return newest[: max(kept, 1)][::-1]

    def _newest(self, tokens: float) -> list[dict[str, Any]]:
        """The newest messages before this run, newest first: about so many tokens, and no more than the run wants."""
        strategy = self._run["truncation_strategy"]
        most = strategy["last_messages"] if strategy["type"] == "last_messages" else None
        found: list[dict[str, Any]] = []
        for stored in self._thread.messages.newest_first():
            if len(found) == most or (found and tokens < 0):
                break
            message = orjson.loads(stored)
            chat = chat_message(message) if message["run_id"] != self._run["id"] else None
            if chat is not None:
                found.append(chat)
                tokens -= _estimate([chat])
        return found

    async def _most_that_fit(self, newest: list[dict[str, Any]], room: float) -> int:
        """How many of the newest messages fit beside those that must be there; -1 when not even those fit."""
        low, high, middle = -1, len(newest), len(newest)
        while low < high:
            tokens = await self._count(self._fixed + newest[:middle])
            low, high = (middle, high) if tokens <= room else (low, middle - 1)
            middle = (low + high + 1) // 2
        return low

    async def _count(self, messages: list[dict[str, Any]]) -> int:
        text = "\n".join(map(_text_of, messages))
        return await self._engine.count_tokens(text) + _TOKENS_AROUND_MESSAGE * len(messages)


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


def _if_asked_for(value: float | None) -> float | None:
    """A run shows 1.0 where nobody gave a value, and some models refuse to be told any."""
    return None if value == 1 else value


def _estimate(messages: list[dict[str, Any]]) -> int:
    return sum(len(_text_of(message)) // _CHARACTERS_PER_TOKEN + _TOKENS_AROUND_MESSAGE for message in messages)


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = " ".join(part.get("text", "") for part in content)
    calls = message.get("tool_calls", [])
    return content + "".join(call["function"]["name"] + call["function"]["arguments"] for call in calls)


def _own_messages(steps: list[dict[str, Any]], thread: ThreadFolder, private: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the run did in its earlier turns. Text and calls of one turn are one message, with what the engine wants back of them."""
    messages: list[dict[str, Any]] = []
    for step in steps:
        if step["type"] == "message_creation":
            stored = thread.messages.get(step["step_details"]["message_creation"]["message_id"])
            chat = None if stored is None else chat_message(orjson.loads(stored))
            if chat is not None:
                messages.append(chat)
            continue
        kept = private.get(step["id"], {})
        stored_calls = step["step_details"]["tool_calls"]
        calls = [_call(call, kept.get("call_ids", {})) for call in stored_calls]
        extras = [kept.get("call_extras", {}).get(call["id"], {}) for call in stored_calls]
        asked = [{**step_object.without_output(call), **extra} for call, extra in zip(calls, extras, strict=True)]
        if not (messages and messages[-1]["role"] == "assistant" and "tool_calls" not in messages[-1]):
            messages.append({"role": "assistant", "content": None})
        messages[-1] |= {"tool_calls": asked, **kept.get("reasoning", {})}
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": call["function"]["output"] or ""} for call in calls]
    return messages


def _call(call: dict[str, Any], engine_ids: dict[str, str]) -> dict[str, Any]:
    """A call as its engine knows it. Some models call without arguments, and no engine takes a text that is no JSON back."""
    function = call["function"]
    return {**call, "id": engine_ids.get(call["id"], call["id"]), "function": {**function, "arguments": function["arguments"] or "{}"}}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = {key: value for key, value in tool["function"].items() if key != "strict" or value}
    return {"type": "function", "function": function}


def _tool_choice(run: dict[str, Any], steps: list[dict[str, Any]], functions: list[str]) -> str | dict[str, Any]:
    """A forced choice holds for the first turn only: else the run would call tools for ever (behaviour.md, section 12).

    Raises:
        EngineRefused: it forces what this server cannot do.
    """
    choice = run["tool_choice"]
    if choice == "none":
        return choice
    if isinstance(choice, dict) and choice["type"] != "function":
        raise EngineRefused(f"The tool choice is '{choice['type']}', which this server does not execute yet.")
    if isinstance(choice, dict) and choice["function"]["name"] not in functions:
        raise EngineRefused(f"The tool choice names the function '{choice['function']['name']}', which this run does not have.")
    if choice == "required" and not functions:
        raise EngineRefused("The tool choice is 'required', but the run has no function; this server does not execute other tools yet.")
    return "auto" if steps else choice
