"""Writing: messages and threads, against hello-world's POST and what the disk can do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from bench import references, stored
from bench.client import Connection
from bench.load import http_request
from bench.report import Figure, at_least, at_most, compared
from bench.rounds import interleaved, median_of
from bench.servers import Bench, under_load

_MESSAGE = {"role": "user", "content": stored.TEXT}
_THREAD = {"metadata": {"topic": "weather"}}
HELLO_POST = http_request("POST", "/hello", _MESSAGE)


def alternating(rounds: int, times: int, **acts: Callable[[], object]) -> dict[str, list[float]]:
    """Single acts in turn: for each round, the median of the milliseconds that each took."""

    def once() -> dict[str, list[float]]:
        took: dict[str, list[float]] = {name: [] for name in acts}
        for _ in range(times):
            for name, act in acts.items():
                began = time.perf_counter()
                act()
                took[name].append((time.perf_counter() - began) * 1000)
        return took

    once()
    found = [once() for _ in range(rounds)]
    return {name: [median(one[name]) for one in found] for name in acts}


def create_message_alone(bench: Bench) -> Iterator[Figure]:
    """One client that adds messages to one thread, each request next to its references."""
    data_dir, folder = bench.folder(), bench.folder()
    thread = stored.a_thread(bench.store(data_dir))
    with bench.server(data_dir) as server, Connection(server.port) as ours, Connection(bench.hello.port) as hello:
        create = http_request("POST", f"/v1/threads/{thread.thread_id}/messages", _MESSAGE)
        took = alternating(
            bench.rounds,
            bench.sized(100, smoke=3),
            hello=lambda: hello.ask(HELLO_POST),
            append=references.appending(folder),
            ours=lambda: ours.ask(create),
        )
    allowed = [one + 1.6 * other for one, other in zip(took["hello"], took["append"], strict=True)]
    parts = {name: round(median(one), 3) for name, one in took.items()}
    yield compared("create message, 1 client", "ms", took["ours"], allowed, "hello-world POST + 1.6 raw appends", at_most(1), of=parts)


def create_messages(bench: Bench) -> Iterator[Figure]:
    """16 clients, each with a thread of its own; with each durability."""
    clients = bench.sized(16, smoke=2)
    case = f"create message, {clients} clients"
    found = _messages(bench, clients, "full")
    hello, ours, raw = _rates(found)
    lower = [min(pair) for pair in zip(hello, raw, strict=True)]
    yield compared(case, "/s", ours, lower, "lower of raw append, hello-world POST", at_least(0.6), **_details(found))
    found = _messages(bench, clients, "relaxed")
    hello, ours, _ = _rates(found)
    yield compared(f"{case}, relaxed", "/s", ours, hello, "hello-world POST", at_least(0.65), **_details(found))


def _messages(bench: Bench, clients: int, durability: str) -> dict[str, list[Any]]:
    data_dir, folder = bench.folder(), bench.folder()
    store = bench.store(data_dir)
    threads = [stored.a_thread(store).thread_id for _ in range(clients)]
    requests = [http_request("POST", f"/v1/threads/{thread}/messages", _MESSAGE) for thread in threads]
    options = {"connections": clients, "seconds": bench.seconds, "each_its_own": True}
    with bench.server(data_dir, durability=durability) as server:
        return interleaved(
            bench.rounds,
            hello=lambda: under_load(bench.hello, [HELLO_POST], **options),
            ours=lambda: under_load(server, requests, **options),
            raw=lambda: references.rate(folder, references.appending, clients, bench.seconds / 2),
        )


def create_threads(bench: Bench) -> Iterator[Figure]:
    """8 clients that create threads."""
    clients = bench.sized(8, smoke=2)
    data_dir, folder = bench.folder(), bench.folder()
    create, hello_post = http_request("POST", "/v1/threads", _THREAD), http_request("POST", "/hello", _THREAD)
    options = {"connections": clients, "seconds": bench.seconds}
    with bench.server(data_dir) as server:
        found = interleaved(
            bench.rounds,
            hello=lambda: under_load(bench.hello, [hello_post], **options),
            ours=lambda: under_load(server, [create], **options),
            raw=lambda: references.rate(folder, references.making_folders, clients, bench.seconds / 2),
        )
    hello, ours, raw = _rates(found)
    least = [min(0.45 * one, 0.6 * other) for one, other in zip(hello, raw, strict=True)]
    against = "lower of 45 % of hello-world POST, 60 % of raw folder"
    yield compared(f"create thread, {clients} clients", "/s", ours, least, against, at_least(1), **_details(found))


def _rates(found: dict[str, list[Any]]) -> tuple[list[float], list[float], list[float]]:
    return [load.rate for load in found["hello"]], [load.rate for load in found["ours"]], found["raw"]


def _details(found: dict[str, list[Any]]) -> dict[str, float]:
    cpu = {f"{name}_cpu_us": median_of(found[name], "cpu_us") for name in ("ours", "hello")}
    return {"raw": round(median(found["raw"])), "hello": round(median_of(found["hello"], "rate")), **cpu}
