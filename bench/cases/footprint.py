"""Memory: of a web worker and of the runner, and whether it grows with the requests served."""

from __future__ import annotations

from collections.abc import Iterator

from bench import stored
from bench.cases.runs import check_ended, requests_on_fresh_threads
from bench.client import Connection
from bench.load import drive, http_request
from bench.report import Figure, at_most, itself
from bench.servers import Bench, memory

_WORKERS = 2


def footprint(bench: Bench) -> Iterator[Figure]:
    """Resident memory behind a mixture of 20,000 requests and some runs, against behind the first tenth of them."""
    data_dir = bench.folder()
    store = bench.store(data_dir)
    requests, runs = [], bench.sized(50, smoke=2)
    for _ in range(20):
        at = f"/v1/threads/{stored.a_thread(store, 20).thread_id}"
        requests += [http_request("GET", at), http_request("GET", f"{at}/messages")]
        requests += [http_request("POST", at, {"metadata": {"topic": "rain"}})]
    requests += [http_request("POST", "/v1/threads", {"messages": [{"role": "user", "content": stored.TEXT}]})]
    total = bench.sized(20_000, smoke=50, full=100_000)
    streams = requests_on_fresh_threads(store, "instant-50", 2 * runs)
    with bench.server(data_dir, bench.engine.base_url) as server, Connection(server.port) as connection:

        def serve(answers: int, share: list[bytes]) -> dict[str, dict[str, float]]:
            while answers > 0:
                answers -= drive(server.port, requests, connections=16, seconds=bench.seconds * 2).answers
            for request in share:
                check_ended(connection.stream(request)[1], "instant-50")
            return {role: memory(server, [role]) for role in ("web-worker", "runner")}

        early, late = serve(total // 10, streams[:runs]), serve(total - total // 10, streams[runs:])
    for role, count, most in (("web-worker", _WORKERS, 60), ("runner", 1, 120)):
        grown = early[role]["rss"] / count, late[role]["rss"] / count
        kinds = {kind: round(megabytes / count, 1) for kind, megabytes in late[role].items()}
        name = role.replace("-", " ")
        yield Figure(f"{name} after {total:,} requests (RSS)", grown[1], "MB", itself(at_most(most)), details=kinds)
        yield Figure(f"{name}, growth", grown[1], "MB", at_most(1.05), grown[0], f"after {total // 10:,}", grown[1] / grown[0])
