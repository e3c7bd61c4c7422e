"""GET /health says 503 and why while something is missing, and 200 again once it is put right."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.process_control import Runner, Server, Web, wait_until
from tests.raw_http import Http
from tests.scripted_engine import ScriptedEngine

NO_RUNNER = "no runner is alive, so runs stay queued"
NOT_WRITABLE = "the data directory cannot be written"


def health(port: int) -> tuple[int, list[str]]:
    answer = Http(port).get("/health")
    return answer.status, answer.json["problems"]


def wait_for_web(web: Web) -> None:
    def answers() -> bool:
        try:
            return bool(health(web.port))
        except OSError:
            return False

    wait_until(answers, 15, "the web answers")


def test_it_is_healthy_from_the_start(server: Server):
    assert health(server.port) == (200, [])


def test_web_alone_says_that_it_has_no_runner_until_one_comes(engine: ScriptedEngine, tmp_path: Path):
    data = tmp_path / "data"
    with Web(engine_url=engine.url, data_dir=data) as web:
        wait_for_web(web)
        assert health(web.port) == (503, [NO_RUNNER])
        with Runner(engine_url=engine.url, data_dir=data):
            wait_until(lambda: health(web.port) == (200, []), 20, "healthy with a runner")
        wait_until(lambda: health(web.port) == (503, [NO_RUNNER]), 20, "the death of the runner is noticed")


def are_up(server: Server) -> bool:
    """Whether each worker is past its start, behind which it has threads."""
    web = [child for child in psutil.Process(server.pid).children(recursive=True) if "wsgi:application" in child.cmdline()]
    return len(web) == 3 and all(worker.num_threads() > 1 for worker in web if worker.parent() in web)


@pytest.mark.parametrize("harm", ["removed", "replaced by a file", "the whole directory moved away"])
def test_a_data_directory_that_cannot_be_written(server: Server, harm: str):
    wait_until(lambda: are_up(server), 20, "every worker has opened the directory: one that comes later would make what is missing anew")
    data = server.data_dir
    victim = data if harm.startswith("the whole") else data / "tmp"
    aside = data.parent / "aside"
    victim.rename(aside)
    if harm == "replaced by a file":
        victim.write_text("")

    def is_told() -> bool:
        status, problems = health(server.port)
        return status == 503 and any(problem.startswith(NOT_WRITABLE) for problem in problems)

    wait_until(is_told, 5, "both workers say so")
    if victim.is_file():
        victim.unlink()
    aside.rename(victim)
    wait_until(lambda: health(server.port) == (200, []), 20, "healthy again")


def test_two_hundred_questions_write_next_to_nothing(server: Server):
    """Anybody may ask, without a key."""
    http = Http(server.port)
    before = written(server)
    for _ in range(200):
        assert http.get("/health").status == 200
    assert written(server) - before < 200_000


def written(server: Server) -> int:
    """Bytes that the web workers had written to files so far."""
    return sum(psutil.Process(pid).io_counters().write_bytes for pid in server.find("web-worker"))
