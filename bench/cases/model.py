"""The embedded model: what is left of its speed behind the API, and whether a second turn finds the first in its cache."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from bench import stored
from bench.cases.streams import CHUNK, DELTA, events
from bench.client import Connection, Stream, follow
from bench.load import http_request
from bench.report import Figure, at_least, at_most, compared, itself
from bench.rounds import interleaved
from bench.servers import Bench
from oxillama.store import Store
from oxillama.store.threads import ThreadFolder
from tests.process_control import free_port

_INSTRUCTIONS = "Answer briefly."
#: The least that a run may set as its limit.
_MOST_TOKENS = 256
#: As many at once as the server executes by default.
_STREAMS = (1, 2, 4)
#: The model that comes along says 50 to 90 tokens about each.
_CITIES = ("Paris", "London", "Berlin", "Rome")
#: With which the embedded engine is asked directly too.
_ENGINE_KEY = "bench"


def speed(bench: Bench) -> Iterator[Figure]:
    """Tokens a second and time to the first token: through the API, and from the engine itself with the same client.

    Both ask the same questions, which the engine has seen before: so both get the same answers, and find the same in its cache.
    """
    data_dir, port = bench.folder(), free_port()
    store = bench.store(data_dir)
    assistant = stored.an_assistant(store, instructions=_INSTRUCTIONS, temperature=0.0)["id"]

    def ask(questions: Sequence[str]) -> list[Stream]:
        return follow(server.port, [_through(store, assistant, question) for question in questions], seconds=120)

    with bench.server(data_dir, None, embedded_port=str(port), engine_api_key=_ENGINE_KEY) as server:
        _wait_for_engine(server.port, store, assistant)
        for streams in _STREAMS[: bench.sized(3, smoke=1)]:
            questions = [f"Describe {city} in three sentences." for city in _CITIES[:streams]]
            direct = [_direct(question) for question in questions]
            follow(port, direct, seconds=120)
            measures = {
                "engine": lambda direct=direct: follow(port, direct, seconds=120),
                "ours": lambda questions=questions: follow(
                    server.port, [_through(store, assistant, one) for one in questions], seconds=120
                ),
            }
            found = interleaved(min(3, bench.rounds), **measures)
            name = f"embedded model, {streams} stream{'s' if streams > 1 else ''}"
            rates = [_rate(one, DELTA) for one in found["ours"]], [_rate(one, CHUNK) for one in found["engine"]]
            tokens = {"tokens": sum(len(_times(stream, CHUNK)) for stream in found["engine"][0])}
            yield compared(name, "tokens/s", *rates, "engine itself", at_least(0.94), of=tokens)
            ours, engine = [_first(one, DELTA) for one in found["ours"]], [_first(one, CHUNK) for one in found["engine"]]
            added = median(one - other for one, other in zip(ours, engine, strict=True))
            details = {"through": round(median(ours)), "engine": round(median(engine))}
            yield Figure(f"{name}, time to first token, added", added, "ms", itself(at_most(20)), details=details)


def second_turn(bench: Bench) -> Iterator[Figure]:
    """How many tokens of the prompt the engine evaluates for the second answer of a conversation: those that are new."""
    data_dir = bench.folder()
    store = bench.store(data_dir)
    assistant = stored.an_assistant(store, instructions=_INSTRUCTIONS * 30, temperature=0.0)["id"]
    with bench.server(data_dir, None) as server:
        _wait_for_engine(server.port, store, assistant)
        thread = stored.a_thread(store)
        usages = []
        for number in range(2):
            message = {"role": "user", "content": f"Name river number {number + 1} of Europe."}
            with Connection(server.port) as connection:
                connection.ask(http_request("POST", f"/v1/threads/{thread.thread_id}/messages", message))
            _ended(follow(server.port, [_run(thread, assistant)], seconds=120))
            usages.append(_newest_usage(thread))
    first, second = usages
    evaluated = second["prompt_tokens"] - second["prompt_token_details"]["cached_tokens"]
    new = second["prompt_tokens"] - first["total_tokens"]
    # The last token of an answer was sampled and never evaluated; some tokens change where the template joins messages.
    allowed, details = new + 8, {"prompt": second["prompt_tokens"], "new": new}
    case = "second turn, prompt tokens evaluated"
    yield Figure(case, evaluated, "tokens", at_most(1), allowed, "new ones and 8", evaluated / allowed, details)


def _through(store: Store, assistant: str, question: str) -> bytes:
    thread = stored.a_thread(store)
    stored.add_messages(thread, 1, question)
    return _run(thread, assistant)


def _run(thread: ThreadFolder, assistant: str) -> bytes:
    body = {"assistant_id": assistant, "max_completion_tokens": _MOST_TOKENS, "stream": True}
    return http_request("POST", f"/v1/threads/{thread.thread_id}/runs", body)


def _direct(question: str) -> bytes:
    messages = [{"role": "system", "content": _INSTRUCTIONS}, {"role": "user", "content": question}]
    body = {"model": "local", "messages": messages, "max_tokens": _MOST_TOKENS, "stream": True, "temperature": 0.0, "top_p": 1.0}
    return http_request("POST", "/v1/chat/completions", body, api_key=_ENGINE_KEY)


def _wait_for_engine(port: int, store: Store, assistant: str) -> None:
    """A run waits until the model is loaded; what follows is warm."""
    _ended(follow(port, [_through(store, assistant, "Hello")], seconds=120))


def _ended(streams: Sequence[Stream]) -> None:
    for stream in streams:
        assert b"event: thread.run.completed" in stream.data or b"event: thread.run.incomplete" in stream.data, stream.data[-2000:]


def _times(stream: Stream, event: re.Pattern[bytes]) -> list[float]:
    mark = b'"value":"' if event is DELTA else b'"content":"'
    return [arrived for arrived, data in events(stream, event) if mark in data]


def _rate(streams: Sequence[Stream], event: re.Pattern[bytes]) -> float:
    # From the first token on: how long that takes is judged by itself.
    times = [one for stream in streams for one in _times(stream, event)]
    return (len(times) - 1) / (max(times) - min(times))


def _first(streams: Sequence[Stream], event: re.Pattern[bytes]) -> float:
    return median((_times(stream, event)[0] - stream.sent) * 1000 for stream in streams)


def _newest_usage(thread: ThreadFolder) -> dict[str, Any]:
    newest = thread.page_runs(stored.NEWEST).items[0][0]
    usage: dict[str, Any] = thread.load_run(newest)["usage"]
    return usage
