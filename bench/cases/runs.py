"""Runs against an engine that costs nothing: how soon they begin to stream, how many a second, and what one costs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from bench import references, stored
from bench.cases.writes import HELLO_POST, alternating
from bench.client import Connection
from bench.load import http_request
from bench.report import Figure, at_least, at_most, compared, itself
from bench.servers import Bench, cpu_seconds
from oxillama.store import Store

_ROLES = ("web-worker", "runner")


def streamed_run(thread_id: str, assistant_id: str, model: str) -> bytes:
    """The request for a run on a thread, streamed, with what the engine's `model` says."""
    return http_request("POST", f"/v1/threads/{thread_id}/runs", {"assistant_id": assistant_id, "model": model, "stream": True})


def requests_on_fresh_threads(store: Store, model: str, threads: int) -> list[bytes]:
    """Requests for runs, each on another thread with a message."""
    assistant = stored.an_assistant(store)["id"]
    return [streamed_run(stored.a_thread(store, 1).thread_id, assistant, model) for _ in range(threads)]


def check_ended(answer: bytes, model: str) -> None:
    """Raise unless the stream ended with a completed run, and had all its tokens on the way."""
    assert b"event: thread.run.completed" in answer, answer[-2000:]
    tokens = int(model.split("-")[1])
    assert answer.count(b" @") >= tokens, f"{answer.count(b' @')} of {tokens} tokens were streamed"


def first_event(bench: Bench) -> Iterator[Figure]:
    """From sending the request for a run until the first event of its stream."""
    data_dir, folder = bench.folder(), bench.folder()
    times = bench.sized(40, smoke=2)
    requests = iter(requests_on_fresh_threads(bench.store(data_dir), "instant-1", times * (bench.rounds + 1)))
    firsts: list[float] = []
    with bench.server(data_dir, bench.engine.base_url) as server, Connection(bench.hello.port) as hello, Connection(server.port) as ours:

        def run() -> None:
            began = time.monotonic()
            first, answer = ours.stream(next(requests))
            firsts.append((first - began) * 1000)
            check_ended(answer, "instant-1")

        took = alternating(bench.rounds, times, hello=lambda: hello.ask(HELLO_POST), create=references.replacing(folder), run=run)
    rounds = [median(firsts[start : start + times]) for start in range(times, len(firsts), times)]
    allowed = [2 * one + 4 * other for one, other in zip(took["hello"], took["create"], strict=True)]
    parts = {"hello": round(median(took["hello"]), 2), "raw_create": round(median(took["create"]), 2), "run": round(median(took["run"]), 2)}
    case = "create run to first event, 1 client"
    yield Figure(case, median(rounds), "ms", itself(at_most(15)))
    yield compared(case, "ms", rounds, allowed, "2 hello-world POSTs + 4 raw creates", at_most(1), of=parts)


def processor_time(bench: Bench) -> Iterator[Figure]:
    """Processor time of web workers and runner for a run of 50 tokens that come one by one, 10 ms apart."""
    data_dir = bench.folder()
    runs, model = bench.sized(16, smoke=2), "paced-50-10"
    requests = requests_on_fresh_threads(bench.store(data_dir), model, runs * (bench.rounds + 1))
    costs = []
    with bench.server(data_dir, bench.engine.base_url) as server, ThreadPoolExecutor(4) as clients:
        for start in range(0, len(requests), runs):
            share = requests[start : start + runs]
            before = {role: cpu_seconds(server, [role]) for role in _ROLES}
            for answer in clients.map(lambda request: _stream(server.port, request), share):
                check_ended(answer, model)
            costs.append({role: (cpu_seconds(server, [role]) - before[role]) * 1000 / runs for role in _ROLES})
    costs = costs[1:]
    parts = {role: round(median(cost[role] for cost in costs), 1) for role in _ROLES}
    yield Figure(
        "processor time of a run of 50 tokens", median(sum(cost.values()) for cost in costs), "ms", itself(at_most(35)), details=parts
    )


def throughput(bench: Bench) -> Iterator[Figure]:
    """8 clients that stream one run after another, 50 tokens each, against an instant engine; the runner may execute 8 at once."""
    data_dir, clients, model = bench.folder(), 8, "instant-50"
    requests = requests_on_fresh_threads(bench.store(data_dir), model, bench.sized(100, smoke=8))
    seconds = bench.sized(3, smoke=1)
    rates, costs = [], []
    with bench.server(data_dir, bench.engine.base_url, run_concurrency=str(clients)) as server, ThreadPoolExecutor(clients) as pool:
        for _ in range(bench.rounds):
            deadline, before = time.monotonic() + seconds, cpu_seconds(server, _ROLES)

            def keep_going(number: int, deadline: float = deadline) -> int:
                done = 0
                # No two clients meet in one thread.
                mine = itertools.cycle(requests[number::clients])
                while time.monotonic() < deadline:
                    check_ended(_stream(server.port, next(mine)), model)
                    done += 1
                return done

            began = time.monotonic()
            done = sum(pool.map(keep_going, range(clients)))
            rates.append(done / (time.monotonic() - began))
            costs.append((cpu_seconds(server, _ROLES) - before) * 1000 / done)
    yield Figure(
        f"runs of 50 tokens, {clients} clients", median(rates), "/s", itself(at_least(25)), details={"cpu_ms": round(median(costs), 1)}
    )


def _stream(port: int, request: bytes) -> bytes:
    with Connection(port) as connection:
        return connection.stream(request)[1]
