"""Messages in the order of roles that strict chat templates and engines ask for.

The Assistants API takes messages of any roles in any order. Many templates do not: they want user and assistant in turn, a user
first and last, one system message or none. Each function here returns a new list and changes no message that it was given.
"""

from __future__ import annotations

from typing import Any

Message = dict[str, Any]

#: Stands before a leading message of the assistant: some templates refuse an empty one.
OPENING: Message = {"role": "user", "content": "Hello."}
#: Stands behind a closing message of the assistant, which such engines would continue or refuse.
CLOSING: Message = {"role": "user", "content": "Please go on."}
#: Stands between a result and a message of the user, where only the assistant may speak after a result.
HEARD: Message = {"role": "assistant", "content": "I have the result."}

_INSTRUCTIONS = ("system", "developer")
_REASONING = ("reasoning_content", "reasoning", "reasoning_details")


def with_one_system(messages: list[Message]) -> list[Message]:
    """All instructions in one system message, which comes first."""
    instructions = [message for message in messages if message["role"] in _INSTRUCTIONS]
    others = [message for message in messages if message["role"] not in _INSTRUCTIONS]
    return _joined(instructions) + others


def without_system(messages: list[Message]) -> list[Message]:
    """All instructions at the beginning of the first user message. Where the conversation has none, they become one."""
    instructions = [{**message, "role": "user"} for message in messages if message["role"] in _INSTRUCTIONS]
    others = [message for message in messages if message["role"] not in _INSTRUCTIONS]
    if not instructions:
        return others
    first = next((place for place, message in enumerate(others) if message["role"] == "user"), None)
    if first is None:
        return _joined(instructions) + others
    return others[:first] + _joined([*instructions, others[first]]) + others[first + 1 :]


def in_turns(messages: list[Message]) -> list[Message]:
    """User and assistant in turn, behind the instructions: neighbours of one role joined, a user first and last.

    Results of tools keep their places: each answers a call by its id, and what follows them is the assistant's turn
    (onyx-dot-app/onyx#6458).
    """
    instructions = [message for message in messages if message["role"] in _INSTRUCTIONS]
    turns = _joined([message for message in messages if message["role"] not in _INSTRUCTIONS])
    if turns and turns[0]["role"] == "assistant":
        turns = [OPENING, *turns]
    if not turns or turns[-1]["role"] == "assistant":
        turns = [*turns, CLOSING]
    return instructions + _with_turn_after_results(turns)


def _with_turn_after_results(turns: list[Message]) -> list[Message]:
    whole: list[Message] = []
    for message in turns:
        if whole and whole[-1]["role"] == "tool" and message["role"] == "user":
            whole.append(HEARD)
        whole.append(message)
    return whole


def with_text_for_calls(messages: list[Message]) -> list[Message]:
    """An empty text instead of none beside tool calls, for engines that want content to be text."""
    return [{**message, "content": ""} if message.get("content", "") is None else message for message in messages]


def without_reasoning(messages: list[Message]) -> list[Message]:
    """No thoughts sent back, for engines that do not take them."""
    return [{name: value for name, value in message.items() if name not in _REASONING} for message in messages]


def _joined(messages: list[Message]) -> list[Message]:
    """The messages, neighbours of one role as one. Results of tools stay apart."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is None or last["role"] != message["role"] or message["role"] == "tool" or last.get("tool_calls"):
            joined.append(message)
        else:
            joined[-1] = {**last, **message, "content": _content(last.get("content"), message.get("content"))}
    return joined


def _content(first: Any, second: Any) -> Any:
    """Two contents as one: text as long as both are text, else a list of parts."""
    if not first or not second:
        return first or second
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return _parts(first) + _parts(second)


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
