"""An engine whose answers are chosen by the name of the model, so that a program in any language says what it needs by naming it.

A program that runs in another process cannot script the engine. It creates its assistant with one of these models instead:

    answers                 three pieces of text
    counts-messages         how many user messages it was given, and the last one: a second turn shows whether the first is remembered
    calls-a-function        one call of the first function on offer; then, given its output, text that repeats it
    calls-two-functions     two calls of it at once, then text
    runs-out-of-tokens      two pieces, then the token limit
    never-finishes          two pieces, then nothing
    says-nothing            nothing at all
    breaks-down             an error of its own
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.scripted_engine import AnyReply, Call, Hang, Reply, ScriptedEngine, server_error

Request = dict[str, Any]

#: What a function is asked about, whatever its parameter is called.
CITIES = ("Lisbon", "Porto")


def answering_engine(port: int = 0) -> ScriptedEngine:
    """Not started yet, like any ScriptedEngine."""
    engine = ScriptedEngine(port)
    engine.models = [{"id": name, "object": "model", "created": 1790000000, "owned_by": "tests"} for name in _ANSWERS]
    engine.strict_models = True
    engine.default = lambda request: _ANSWERS[request["model"]](request)
    return engine


def _counts_messages(request: Request) -> AnyReply:
    asked = [_text(message) for message in request["messages"] if message["role"] == "user"]
    return Reply([f"{len(asked)} asked, ", f"the last: {asked[-1]}"])


def _calls(cities: tuple[str, ...]) -> Callable[[Request], AnyReply]:
    def answer(request: Request) -> AnyReply:
        last_question = max(number for number, message in enumerate(request["messages"]) if message["role"] != "tool")
        outputs = [_text(message) for message in request["messages"][last_question + 1 :]]
        if outputs:
            return Reply(["I was told: ", " and ".join(outputs)])
        function = request["tools"][0]["function"]
        parameters = function["parameters"].get("required") or list(function["parameters"]["properties"])
        return Reply(calls=[Call(function["name"], _halves(json.dumps(dict.fromkeys(parameters, city)))) for city in cities])

    return answer


def _halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def _text(message: Request) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


_ANSWERS: dict[str, Callable[[Request], AnyReply]] = {
    "answers": lambda _: Reply(["It is ", "warm ", "in Lisbon."]),
    "counts-messages": _counts_messages,
    "calls-a-function": _calls(CITIES[:1]),
    "calls-two-functions": _calls(CITIES),
    "runs-out-of-tokens": lambda _: Reply(["It is ", "war"], finish="length"),
    "never-finishes": lambda _: Reply(["It is ", "warm "], hang_after=2),
    "says-nothing": lambda _: Hang(),
    "breaks-down": lambda _: server_error(),
}
