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
from bench.report import Figure, at_least, at_most, itself
from bench.servers import Bench, memory, under_load

DELTA = re.compile(rb"event: thread\.message\.delta\ndata: ([^\n]*)\n")
CHUNK = re.compile(rb"data: ([^\n]*)\n")
_STAMP = re.compile(rb"@([0-9.]+)@")


def latencies(stream: Stream, event: re.Pattern[bytes]) -> list[float]:
    """Milliseconds from a token's sending to its coming, for each token in a stream."""
    return [(arrived - float(stamp)) * 1000 for arrived, data in events(stream, event) for stamp in _STAMP.findall(data)]


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
    """What the way through runner, log and web worker adds to the engine's own: for one stream, and for 200 at 20 tokens a second."""
    data_dir = bench.folder()
    store = bench.store(data_dir)
    assistant = stored.an_assistant(store)["id"]
    many = bench.sized(200, smoke=4)
    loads = [(1, f"paced-{bench.sized(100, smoke=5)}-20"), (many, f"paced-{bench.sized(60, smoke=5)}-50")]
    rounds = {1: bench.rounds, many: min(3, bench.rounds)}
    with bench.server(data_dir, bench.engine.base_url, run_concurrency=str(many)) as server:
        for streams, model in loads:
            threads = [stored.a_thread(store, 1).thread_id for _ in range(streams)]
            ours = [streamed_run(thread, assistant, model) for thread in threads]
            body = {"model": model, "stream": True, "messages": [{"role": "user", "content": stored.TEXT}]}
            direct = [http_request("POST", "/v1/chat/completions", body)] * streams
            tokens = streams * int(model.split("-")[1])
            found: dict[str, list[list[float]]] = {"p50": [], "p99": []}
            for _ in range(rounds[streams]):
                engine = _all(bench.engine.port, direct, CHUNK, tokens)
                through = _all(server.port, ours, DELTA, tokens)
                for name, part in (("p50", 50), ("p99", 99)):
                    found[name].append([_percentile(through, part), _percentile(engine, part)])
            for name, goal in (("p50", itself(at_most(3)) if streams == 1 else None), ("p99", itself(at_most(15 if streams == 1 else 60)))):
                added = median(one - other for one, other in found[name])
                through, direct = (round(median(column), 2) for column in zip(*found[name], strict=True))
                details = {"through": through, "direct": direct}
                yield Figure(f"token to delta, {streams} streams, added {name}", added, "ms", goal, details=details)


def _all(port: int, requests: Sequence[bytes], event: re.Pattern[bytes], tokens: int) -> list[float]:
    streams = follow(port, requests, seconds=90, spread=min(1.0, len(requests) * 0.005))
    found = sorted(one for stream in streams for one in latencies(stream, event))
    assert len(found) == tokens, f"{len(found)} of {tokens} tokens came"
    return found


def _percentile(values: Sequence[float], part: int) -> float:
    return values[min(len(values) - 1, len(values) * part // 100)]


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
    tokens = int(model.split("-")[1])
    served = sum(len(latencies(stream, DELTA)) == tokens and b"event: thread.run.completed" in stream.data for stream in streams)
    yield Figure(f"{count:,} readers, served to the end", served, "readers", itself(at_least(count)))
    details = {"before_mb": before["pss"], "rss_mb": during["rss"], "uss_mb": during["uss"]}
    yield Figure(f"{count:,} readers, memory of all processes (PSS)", during["pss"], "MB", itself(at_most(400)), details=details)
    rates = median(busy), median(alone)
    goal = at_least(0.6)
    yield Figure(f"{count:,} readers, rate of GET thread", rates[0], "/s", goal, rates[1], "without readers", rates[0] / rates[1])
