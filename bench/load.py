"""Load on an HTTP server that is not the bottleneck itself: wrk where there is one, else several processes of our own."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context

from bench import client

#: Processes that make the load where there is no wrk.
_PROCESSES = 2
_WRK = """\
local counter = 0
function setup(thread) thread:set("number", counter); thread:set("threads", THREADS); counter = counter + 1 end
function init(args) position = number end
function request() local text = requests[position % #requests + 1]; position = position + threads; return text end
function done(summary, latency)
  local bad = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    bad.connect + bad.read + bad.write + bad.status + bad.timeout))
end
"""


class LoadFailed(AssertionError):
    """A server answered with an error, or not at all: then its speed says nothing."""


@dataclass(frozen=True)
class Load:
    """What a server did under load.

    Attributes:
        rate: answers a second.
        p50_ms, p99_ms: latency.
        answers: how many.
        cpu_us: processor time of the server's workers for each.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    answers: int
    cpu_us: float = 0


def http_request(method: str, path: str, body: object = None, *, api_key: str | None = None) -> bytes:
    """A request as it goes over the wire."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nOpenAI-Beta: assistants=v2\r\n"
    if api_key is not None:
        head += f"Authorization: Bearer {api_key}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def drive(port: int, requests: Sequence[bytes], *, connections: int, seconds: float, each_its_own: bool = False) -> Load:
    """Send the requests in turn, over and over.

    Args:
        port: of the server, on loopback.
        requests: see `http_request`.
        connections: open at once; each waits for an answer before it asks again.
        seconds: how long.
        each_its_own: whether connection n sends request n only, so that no two clients meet in one object.

    Raises:
        LoadFailed: an answer was an error.
    """
    threads = connections if each_its_own else 1
    tool = shutil.which("wrk")
    if tool is None or seconds < 1:
        # wrk counts whole seconds.
        return _with_our_own(port, requests, connections, seconds, each_its_own)
    listed = ",\n".join(json.dumps(request.decode("ascii")) for request in requests)
    script = f"requests = {{{listed}}}\n" + _WRK.replace("THREADS", str(threads))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = [tool, "-t", str(threads), "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--timeout", "20s"]
        done = subprocess.run(
            [*command, "-s", file.name, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, timeout=seconds + 60
        )
    result = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not result:
        raise LoadFailed(f"wrk said nothing:\n{done.stdout}\n{done.stderr}")
    answers, duration, p50, p99, failed = map(int, result[0])
    if failed or not answers:
        raise LoadFailed(f"{failed} of {answers} requests failed, such as {requests[0][:200]!r}\n{done.stdout}")
    return Load(answers * 1e6 / duration, p50 / 1000, p99 / 1000, answers)


def _with_our_own(port: int, requests: Sequence[bytes], connections: int, seconds: float, each_its_own: bool) -> Load:
    shares = [range(first, connections, _PROCESSES) for first in range(min(_PROCESSES, connections))]
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        running = [pool.submit(client.load, port, list(requests), list(share), seconds, each_its_own) for share in shares]
        told = [one.result(timeout=seconds + 60) for one in running]
    took = sorted(chain.from_iterable(told))
    if not took:
        raise LoadFailed("nothing was answered")
    return Load(len(took) / seconds, took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000, len(took))
