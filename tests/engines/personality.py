"""An engine that refuses and answers as one that people run: a real HTTP server, and what is peculiar to it in subclasses."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.scripted_engine import AnyReply, Raw, ScriptedEngine, Usage

MODEL = "the-model"
#: Tokens of prompt and answer together, wherever an engine has such a limit.
WINDOW = 8192
#: Characters of a token, about.
_TOKEN = 4

Request = dict[str, Any]
Chunk = dict[str, Any]


@dataclass(frozen=True)
class Saying:
    """What the model says to one request that was not refused.

    Attributes:
        text: fragments of its answer.
        calls: function and arguments of each call, after the text.
        thoughts: fragments of what it thinks before.
        whole: False for an answer that breaks off behind its text.
    """

    text: tuple[str, ...] = ()
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    thoughts: tuple[str, ...] = ()
    whole: bool = True


class Personality(ScriptedEngine):
    """One kind of engine; this one is OpenAI's for what subclasses do not change.

    Attributes:
        plan: what the model says, one for each request that is not refused; then it says hello.
        troubles: answers that come before everything else, one for each request.
        requests_taken: bodies of the requests that were not refused.
    """

    #: The member of a delta that holds thoughts; None where they are not told.
    thinks_in: ClassVar[str | None] = "reasoning_content"
    #: Whether an answer never has more than one call.
    one_call_at_a_time: ClassVar[bool] = False
    #: Whether it counts tokens.
    counts: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.models = [{"id": MODEL, "object": "model", "created": 1790000000, "owned_by": "tests"}]
        self.default = self._hear
        self.plan: deque[Saying] = deque()
        self.troubles: deque[AnyReply] = deque()
        self.requests_taken: list[Request] = []
        self._numbers = itertools.count(1)

    def begin(self, *plan: Saying) -> None:
        """A new conversation: nothing is left of the last one, but for what the server has learnt of this engine."""
        self.plan, self.troubles = deque(plan), deque()
        self.requests_taken.clear()

    def refuse(self, request: Request) -> Raw | None:
        """The engine's refusal of a request, or None."""
        return None

    def busy(self) -> Raw:
        """What it answers when it cannot answer now."""
        return refusal(429, "Rate limit reached for requests", "requests", code="rate_limit_exceeded", headers={"Retry-After": "0"})

    def call_id(self) -> str:
        """The id of the next call."""
        return f"call_{next(self._numbers):024d}"

    def chunks(self, request: Request, saying: Saying) -> Iterator[Chunk]:
        """The answer; without what follows the text when it breaks off."""
        yield self.chunk({"role": "assistant", "content": ""})
        for thought in saying.thoughts if self.thinks_in else ():
            yield self.chunk({self.thinks_in or "": thought})
        for text in saying.text:
            yield self.chunk({"content": text})
        if saying.whole:
            for index, (name, arguments) in enumerate(saying.calls):
                yield from self.call(index, name, json.dumps(arguments))
            yield from self.end(request, saying)

    def call(self, index: int, name: str, arguments: str) -> Iterator[Chunk]:
        """One call, in pieces."""
        opening = {"index": index, "id": self.call_id(), "type": "function", "function": {"name": name, "arguments": ""}}
        yield self.chunk({"tool_calls": [opening]})
        for piece in (arguments[:5], arguments[5:]):
            yield self.chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})

    def end(self, request: Request, saying: Saying) -> Iterator[Chunk]:
        """The reason, and the count of tokens where it is asked for."""
        yield self.chunk({}, "tool_calls" if saying.calls else "stop")
        if (request.get("stream_options") or {}).get("include_usage"):
            yield {"object": "chat.completion.chunk", "choices": [], "usage": self.usage(saying)}

    def usage(self, saying: Saying) -> dict[str, Any]:
        """The count of tokens."""
        return Usage(reasoning_tokens=3 if saying.thoughts else 0).to_json()

    def chunk(self, delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> Chunk:
        """One chunk with one choice."""
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1790000000, "model": MODEL, "choices": [choice], **more}

    def stream(self, chunks: Iterator[Chunk], *, whole: bool) -> bytes:
        """The bytes of an answer."""
        events = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks)
        return events + (b"data: [DONE]\n\n" if whole else b"")

    def _hear(self, request: Request) -> AnyReply:
        if self.troubles:
            return self.troubles.popleft()
        if (refused := self.refuse(request)) is not None:
            return refused
        self.requests_taken.append(request)
        saying = self.plan.popleft() if self.plan else Saying(("Hello ", "there."))
        return Raw(200, self.stream(self.chunks(request, saying), whole=saying.whole), "text/event-stream")


def refusal(
    status: int, message: str, kind: str = "invalid_request_error", *, headers: Mapping[str, str] | None = None, **more: Any
) -> Raw:
    """An error answer in OpenAI's form.

    Args:
        status: of the HTTP answer.
        message: the engine's words.
        kind: its `type`.
        headers: of the HTTP answer.
        more: other members of the error.
    """
    error = {"message": message, "type": kind, "param": None, "code": None, **more}
    return Raw(status, json.dumps({"error": error}).encode(), headers=headers or {})


def plain(status: int, body: object) -> Raw:
    """An error answer in a form of the engine's own."""
    return Raw(status, json.dumps(body).encode())


def prompt_tokens(request: Request) -> int:
    """How many tokens the messages and functions have, as this engine counts."""
    return len(json.dumps([request["messages"], request.get("tools", [])])) // _TOKEN


def answer_limit(request: Request) -> int:
    """The limit on the answer's tokens; 0 for none."""
    return int(request.get("max_tokens") or request.get("max_completion_tokens") or 0)


def roles(request: Request) -> list[str]:
    """The roles of its messages, without the instructions at their beginning."""
    found = [message["role"] for message in request["messages"]]
    while found and found[0] == "system":
        found.pop(0)
    return found


def in_turns(request: Request) -> bool:
    """Whether user and assistant take turns, a user first, as the templates of Llama 2, Mistral and Gemma have it."""
    talk = [
        message["role"]
        for message in request["messages"]
        if message["role"] == "user" or (message["role"] == "assistant" and not message.get("tool_calls"))
    ]
    return all(role == ("user", "assistant")[place % 2] for place, role in enumerate(talk)) and bool(talk)


def calls_are_answered(request: Request) -> bool:
    """Whether each call has its result, by the id that this engine gave it."""
    called = [call["id"] for message in request["messages"] for call in message.get("tool_calls") or ()]
    answered = [message["tool_call_id"] for message in request["messages"] if message["role"] == "tool"]
    return called == answered
