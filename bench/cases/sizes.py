"""What a request costs when there is much: threads on disk, runs in a thread, steps in a run. Not more than when there is little."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench import stored
from bench.load import Load, drive, http_request
from bench.report import Figure, at_most, compared
from bench.rounds import interleaved
from bench.servers import Bench, memory
from tests.process_control import ProcessTree

_CREATE = http_request("POST", "/v1/threads", {})
_SAMPLE = 1000


def threads_on_disk(bench: Bench) -> Iterator[Figure]:
    """GET and create of a thread, start-up and memory, among 100,000 threads against among 1,000."""
    few, many = bench.sized(1000, smoke=10), bench.sized(100_000, smoke=50, full=1_000_000)
    between = [10_000, 100_000] if bench.full and not bench.smoke else []
    folders = {count: bench.folder() for count in (few, *between, many)}
    samples = {count: _threads(bench, folder, count) for count, folder in folders.items()}
    starts: dict[int, list[float]] = {few: [], many: []}
    resident: dict[int, list[float]] = {few: [], many: []}
    for _ in range(min(3, bench.rounds)):
        for count in starts:
            began = time.monotonic()
            with bench.server(folders[count]) as server:
                starts[count].append(time.monotonic() - began)
                resident[count].append(memory(server, ["web-worker"])["rss"] / 2)
    for what, requests in (("GET thread", samples), ("create thread", {count: [_CREATE] for count in folders})):
        with bench.servers(list(folders.values())) as servers:
            measures = {count: _load(bench, server, requests[count]) for count, server in zip(folders, servers, strict=True)}
            yield from curve(bench, what, "threads on disk", measures, 1.2)
    yield compared(f"start-up with {many:,} threads", "s", starts[many], starts[few], f"with {few:,}", at_most(1.2))
    yield compared(f"web worker (RSS) with {many:,} threads", "MB", resident[many], resident[few], f"with {few:,}", at_most(1.1))


def runs_and_steps(bench: Bench) -> Iterator[Figure]:
    """The first page of the runs of a thread and of the steps of a run, long lists against short ones."""
    data_dir = bench.folder()
    store = bench.store(data_dir)
    assistant = stored.an_assistant(store)
    runs = [20, *([1000] if bench.full else []), bench.sized(10_000, smoke=30)]
    steps = [20, *([200] if bench.full else []), bench.sized(1000, smoke=30)]
    requests: dict[str, dict[int, list[bytes]]] = {"runs in the thread": {}, "steps in the run": {}}
    for count in runs:
        thread = stored.a_thread(store, 1)
        stored.add_runs(thread, assistant, count)
        requests["runs in the thread"][count] = [http_request("GET", f"/v1/threads/{thread.thread_id}/runs?limit=20")]
    for count in steps:
        thread = stored.a_thread(store, 1)
        run = stored.a_completed_run(store, thread, assistant)
        stored.add_steps(thread, run, count)
        path = f"/v1/threads/{thread.thread_id}/runs/{run['id']}/steps?limit=20"
        requests["steps in the run"][count] = [http_request("GET", path)]
    with bench.server(data_dir) as server:
        for what, by_count in requests.items():
            measures = {count: _load(bench, server, listed) for count, listed in by_count.items()}
            yield from curve(bench, "list 20", what, measures, 3)


def curve(bench: Bench, what: str, among: str, measures: dict[int, Callable[[], Load]], most: float) -> Iterator[Figure]:
    """What something costs among many, for each number of them but the smallest, against among the fewest. Plots are made of these."""
    found = interleaved(min(3, bench.rounds), **{str(count): measure for count, measure in measures.items()})
    costs = {count: [1000 / load.rate for load in found[str(count)]] for count in measures}
    few = min(costs)
    for count in sorted(costs)[1:]:
        case, against = f"{what}, {count:,} {among}", f"{few:,} {among}"
        details = {"curve": f"{what}, {among}", "size": count, "smallest": few}
        yield compared(case, "ms each", costs[count], costs[few], against, at_most(most), **details)


def _threads(bench: Bench, folder: Path, count: int) -> list[bytes]:
    """Write that many threads, and give requests for some of them."""
    ids = stored.many_threads(bench.store(folder), folder, count)
    sample = random.Random(1).sample(ids, min(_SAMPLE, count))
    return [http_request("GET", f"/v1/threads/{thread_id}") for thread_id in sample]


def _load(bench: Bench, server: ProcessTree, requests: Sequence[bytes]) -> Callable[[], Load]:
    drive(server.port, requests, connections=8, seconds=bench.seconds)
    return lambda: drive(server.port, requests, connections=8, seconds=bench.seconds)
