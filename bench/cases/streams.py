"""Streams: how late a token reaches the client."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from statistics import median

from bench import stored
from bench.cases.runs import streamed_run
from bench.client import follow
from bench.load import http_request
from bench.report import Figure, at_most, itself
from bench.servers import Bench

_DELTA = re.compile(rb"event: thread\.message\.delta\ndata: ([^\n]*)\n\n")
_CHUNK = re.compile(rb"data: ([^\n]*)\n\n")
_STAMP = re.compile(rb"@([0-9.]+)@")


def latencies(pieces: Sequence[tuple[float, bytes]], event: re.Pattern[bytes]) -> list[float]:
    """Milliseconds from a token's sending to its coming, for each token in a stream."""
    found, rest = [], b""
    for arrived, data in pieces:
        rest += data
        end = 0
        for match in event.finditer(rest):
            found += [(arrived - float(stamp)) * 1000 for stamp in _STAMP.findall(match[1])]
            end = match.end()
        rest = rest[end:]
    return found


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
                engine = _all(bench.engine.port, direct, _CHUNK, tokens)
                through = _all(server.port, ours, _DELTA, tokens)
                for name, part in (("p50", 50), ("p99", 99)):
                    found[name].append([_percentile(through, part), _percentile(engine, part)])
            for name, goal in (("p50", itself(at_most(3)) if streams == 1 else None), ("p99", itself(at_most(15 if streams == 1 else 60)))):
                added = median(one - other for one, other in found[name])
                through, direct = (round(median(column), 2) for column in zip(*found[name], strict=True))
                details = {"through": through, "direct": direct}
                yield Figure(f"token to delta, {streams} streams, added {name}", added, "ms", goal, details=details)


def _all(port: int, requests: Sequence[bytes], event: re.Pattern[bytes], tokens: int) -> list[float]:
    streams = follow(port, requests, seconds=90, spread=min(1.0, len(requests) * 0.005))
    found = sorted(one for pieces in streams for one in latencies(pieces, event))
    assert len(found) == tokens, f"{len(found)} of {tokens} tokens came"
    return found


def _percentile(values: Sequence[float], part: int) -> float:
    return values[min(len(values) - 1, len(values) * part // 100)]
