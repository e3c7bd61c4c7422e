"""Reading: single objects, and pages of messages from short and long threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench import stored
from bench.cases.sizes import curve
from bench.load import Load, drive, http_request
from bench.report import Figure, at_least, at_most, compared
from bench.rounds import interleaved, median_of
from bench.servers import Bench, under_load
from tests.process_control import ProcessTree

_CONNECTIONS = 16
HELLO_GET = [http_request("GET", "/hello")]


def get_objects(bench: Bench) -> Iterator[Figure]:
    """GET of each kind of object, against hello-world."""
    data_dir = bench.folder()
    store = bench.store(data_dir)
    assistant = stored.an_assistant(store)
    paths: dict[str, list[str]] = {"thread": [], "assistant": [], "message": [], "run": [], "step": []}
    for _ in range(bench.sized(100, smoke=2)):
        thread = stored.a_thread(store, 10)
        run = stored.a_completed_run(store, thread, assistant)
        at = f"/v1/threads/{thread.thread_id}"
        paths["thread"].append(at)
        paths["assistant"].append(f"/v1/assistants/{assistant['id']}")
        paths["message"].append(f"{at}/messages/{stored.message_ids(thread)[4]}")
        paths["run"].append(f"{at}/runs/{run['id']}")
        paths["step"].append(f"{at}/runs/{run['id']}/steps/{thread.load_steps(run['id'])[0]['id']}")
    with bench.server(data_dir) as server:
        for noun, listed in paths.items():
            yield from against_hello(bench, server, f"GET {noun}", [http_request("GET", path) for path in listed], 0.85, p99=True)


def list_messages(bench: Bench) -> Iterator[Figure]:
    """Pages of 20 messages: of a thread of 20 against hello-world, of long threads against that of 20."""
    data_dir = bench.folder()
    store = bench.store(data_dir)
    short = [_page(stored.a_thread(store, 20).thread_id) for _ in range(bench.sized(20, smoke=2))]
    lengths = [bench.sized(100_000, smoke=200)]
    if bench.full:
        lengths = [1_000, 10_000, 100_000, 1_000_000]
    newest, middle = {20: short}, {20: short}
    for length in lengths:
        thread = stored.a_thread(store, length)
        newest[length] = [_page(thread.thread_id)]
        middle[length] = [_page(thread.thread_id, cursor) for cursor in _ids_in_the_middle(stored.message_ids(thread))]
    with bench.server(data_dir) as server:
        yield from against_hello(bench, server, "list 20 messages of 20", short, 0.75)
        for what, requests in (("list 20 newest", newest), ("list 20 behind a cursor", middle)):
            measures = {length: _reads(bench, server, listed) for length, listed in requests.items()}
            yield from curve(bench, what, "messages in the thread", measures, 2 if bench.full else 1.5)


def against_hello(
    bench: Bench, server: ProcessTree, case: str, requests: Sequence[bytes], least: float, *, p99: bool = False
) -> Iterator[Figure]:
    """The rate of some reads against that of hello-world, and how long the slowest hundredth takes."""
    # Twice as many as of anything else: from one second to the next the rate of either moves by a fifth.
    found = interleaved(2 * bench.rounds - 1, hello=_reads(bench, bench.hello, HELLO_GET), ours=_reads(bench, server, requests))
    hello, ours = found["hello"], found["ours"]
    rates = [load.rate for load in ours], [load.rate for load in hello]
    yield compared(case, "/s", *rates, "hello-world GET", at_least(least), cpu_us=[median_of(ours, "cpu_us"), median_of(hello, "cpu_us")])
    if p99:
        slowest = [load.p99_ms for load in ours], [load.p99_ms for load in hello]
        yield compared(f"{case}, p99", "ms", *slowest, "hello-world GET", at_most(2))


def _reads(bench: Bench, server: ProcessTree, requests: Sequence[bytes]) -> Callable[[], Load]:
    drive(server.port, requests, connections=_CONNECTIONS, seconds=1)
    return lambda: under_load(server, requests, connections=_CONNECTIONS, seconds=bench.seconds)


def _page(thread_id: str, after: str | None = None) -> bytes:
    cursor = f"&order=asc&after={after}" if after else ""
    return http_request("GET", f"/v1/threads/{thread_id}/messages?limit=20{cursor}")


def _ids_in_the_middle(ids: Sequence[str]) -> list[str]:
    """Some cursors from the middle half of a list."""
    quarter = len(ids) // 4
    return list(ids[quarter : -quarter : max(1, len(ids) // 200)])
