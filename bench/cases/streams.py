"""Streams: how late a token reaches the client."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from bench import stored
from bench.cases.runs import streamed_run
from bench.client import Connection, Stream, follow
from bench.load import http_request
from bench.report import Figure, Goal, at_least, at_most, itself
from bench.servers import Bench, memory, under_load

DELTA = re.compile(rb"event: thread\.message\.delta\ndata: ([^\n]*)\n")
CHUNK = re.compile(rb"data: ([^\n]*)\n")
_STAMP = re.compile(rb"@([0-9.]+)@")


def tokens(stream: Stream, event: re.Pattern[bytes]) -> list[tuple[float, float]]:
    """When each token of a stream was sent, and how many milliseconds later it came."""
    found = ((arrived, float(stamp)) for arrived, data in events(stream, event) for stamp in _STAMP.findall(data))
    return [(sent, (arrived - sent) * 1000) for arrived, sent in found]


def events(stream: Stream, event: re.Pattern[bytes]) -> Iterator[tuple[float, bytes]]:
    """When each event of a kind was there as a whole, and its data."""
    rest = b""
    for arrived, data in stream.pieces:
        rest += data
        end = 0
        for match in event.finditer(rest):
            yield arrived, match[1]
            end = match.end()
        rest = rest[end:]


def deltas(bench: Bench) -> Iterator[Figure]:
    """What the way through runner, log and web worker adds to the engine's own: for one stream, and for 200 at 20 tokens a second.

    The 200 begin within a second, which is a load of its own. So it is told twice: of tokens sent while all of them stream, and of all.
    """
    data_dir = bench.folder()
    store = bench.store(data_dir)
    assistant = stored.an_assistant(store)["id"]
    many = bench.sized(200, smoke=4)
    loads = [(1, f"paced-{bench.sized(100, smoke=5)}-20"), (many, f"paced-{bench.sized(120, smoke=10)}-50")]
    rounds = {1: bench.rounds, many: min(3, bench.rounds)}
    goals: dict[int, dict[str, Goal | None]] = {
        1: {"p50": itself(at_most(3)), "p99": itself(at_most(15))},
        many: {"p50": None, "p99": itself(at_most(60)), "p99 of all": None},
    }
    with bench.server(data_dir, bench.engine.base_url, run_concurrency=str(many)) as server:
        for streams, model in loads:
            threads = [stored.a_thread(store, 1).thread_id for _ in range(streams)]
            ours = [streamed_run(thread, assistant, model) for thread in threads]
            body = {"model": model, "stream": True, "messages": [{"role": "user", "content": stored.TEXT}]}
            direct = [http_request("POST", "/v1/chat/completions", body)] * streams
            count = int(model.split("-")[1])
            found: list[tuple[dict[str, float], dict[str, float]]] = []
            for _ in range(rounds[streams]):
                engine = _late(bench.engine.port, direct, CHUNK, count)
                found.append((_late(server.port, ours, DELTA, count), engine))
            for name, goal in goals[streams].items():
                added = median(through[name] - engine[name] for through, engine in found)
                details = {what: round(median(one[number][name] for one in found), 2) for number, what in enumerate(("through", "direct"))}
                yield Figure(f"token to delta, {streams} streams, added {name}", added, "ms", goal, details=details)


def _late(port: int, requests: Sequence[bytes], event: re.Pattern[bytes], count: int) -> dict[str, float]:
    """How late tokens came: those that were sent while all streams were under way, and all."""
    streams = [tokens(stream, event) for stream in follow(port, requests, seconds=90, spread=min(1.0, len(requests) * 0.005))]
    assert {len(stream) for stream in streams} == {count}, "not all tokens came"
    first, last = max(stream[0][0] for stream in streams), min(stream[-1][0] for stream in streams)
    every = [late for stream in streams for _, late in stream]
    # On a machine so busy that the first has ended before the last begins, there is no such time.
    meanwhile = [late for stream in streams for sent, late in stream if first <= sent <= last] or every
    return {"p50": _percentile(meanwhile, 50), "p99": _percentile(meanwhile, 99), "p99 of all": _percentile(every, 99)}


def _percentile(values: Sequence[float], part: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * part // 100)]


_READERS, _RUNS = 1000, 10


def readers(bench: Bench) -> Iterator[Figure]:
    """1,000 readers of the events of 10 live runs, 2 tokens a second each: what they cost in memory and of the rate of other requests."""
    data_dir, count = bench.folder(), bench.sized(_READERS, smoke=20)
    store = bench.store(data_dir)
    assistant, threads = stored.an_assistant(store)["id"], [stored.a_thread(store, 1).thread_id for _ in range(_RUNS)]
    model = f"paced-{bench.sized(40, smoke=6)}-500"
    get = [http_request("GET", f"/v1/threads/{thread}") for thread in threads]
    options = {"connections": 16, "seconds": bench.seconds}
    tries = min(3, bench.rounds)
    with bench.server(data_dir, bench.engine.base_url, run_concurrency=str(_RUNS), max_streams=str(count)) as server:
        under_load(server, get, **options)
        alone = [under_load(server, get, **options).rate for _ in range(tries)]
        before = memory(server)
        with Connection(server.port) as connection, ThreadPoolExecutor(1) as beside:
            paths = []
            for thread in threads:
                body = {"assistant_id": assistant, "model": model}
                run = json.loads(connection.ask(http_request("POST", f"/v1/threads/{thread}/runs", body)))
                paths.append(f"/v1/threads/{thread}/runs/{run['id']}/events")
            requests = [http_request("GET", paths[number % _RUNS]) for number in range(count)]
            opening = bench.sized(5, smoke=1)
            following = beside.submit(follow, server.port, requests, seconds=120, spread=opening)
            time.sleep(opening * 1.5)
            busy = [under_load(server, get, **options).rate for _ in range(tries)]
            during = memory(server)
            streams = following.result()
        alone += [under_load(server, get, **options).rate for _ in range(tries)]
    each = int(model.split("-")[1])
    served = sum(len(tokens(stream, DELTA)) == each and b"event: thread.run.completed" in stream.data for stream in streams)
    yield Figure(f"{count:,} readers, served to the end", served, "readers", itself(at_least(count)))
    details = {"before_mb": before["pss"], "rss_mb": during["rss"], "uss_mb": during["uss"]}
    yield Figure(f"{count:,} readers, memory of all processes (PSS)", during["pss"], "MB", itself(at_most(400)), details=details)
    rates = median(busy), median(alone)
    goal = at_least(0.6)
    yield Figure(f"{count:,} readers, rate of GET thread", rates[0], "/s", goal, rates[1], "without readers", rates[0] / rates[1])
