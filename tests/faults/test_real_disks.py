"""Real disks under a real server: full, without inodes, read-only, not to be read; and a process that may open no more files."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from oxillama.factory import create_app
from oxillama.settings import read
from oxillama.store.check import check
from tests.faults.confined_server import ConfinedServer, may_confine
from tests.faults.failing_disk import CALLS, FailingDisk
from tests.process_control import Server, wait_until
from tests.raw_http import Http
from tests.scripted_engine import Reply, ScriptedEngine

SECRET = "what nobody but the thread may know"

confined = pytest.mark.skipif(not may_confine(), reason="needs unshare, mount and setpriv, and a kernel that lets us use them")


class Talk:
    """One thread of a server."""

    def __init__(self, server: Server) -> None:
        self.http = Http(server.port)
        self.assistant_id = self.http.post("/v1/assistants", {"model": "local"}).json["id"]
        thread = self.http.post("/v1/threads", {"messages": [{"role": "user", "content": SECRET}]}).json
        self.thread_id = thread["id"]
        self.url = f"/v1/threads/{thread['id']}"

    def say(self, size: int = 1) -> tuple[int, dict]:
        answer = self.http.post(f"{self.url}/messages", {"role": "user", "content": SECRET * size})
        return answer.status, answer.json

    def messages(self) -> int:
        return len(self.http.get(f"{self.url}/messages?limit=100").json["data"])

    def run(self) -> tuple[int, dict]:
        answer = self.http.post(f"{self.url}/runs", {"assistant_id": self.assistant_id})
        return answer.status, answer.json

    def status(self, run_id: str) -> str:
        return self.http.get(f"{self.url}/runs/{run_id}").json["status"]

    def wait_for_end(self, run_id: str) -> str:
        wait_until(lambda: self.status(run_id) in ("completed", "failed"), 20, "the run ends")
        return self.status(run_id)

    def health(self) -> tuple[int, str]:
        answer = self.http.get("/health")
        return answer.status, " ".join(answer.json["problems"])

    def wait_for_problem(self, words: str) -> None:
        """What /health tells was true a moment ago."""

        def is_told() -> bool:
            status, problem = self.health()
            return status == 503 and words in problem

        wait_until(is_told, 5, f"/health says {words}")

    def everything_works(self) -> None:
        wait_until(lambda: self.health() == (200, ""), 20, "healthy again")
        count = self.messages()
        assert self.say()[0] == 200
        status, run = self.run()
        assert status == 200
        assert self.wait_for_end(run["id"]) == "completed"
        assert self.messages() == count + 2


@pytest.fixture
def engine_of_this_test() -> Iterator[ScriptedEngine]:
    with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path, engine_of_this_test: ScriptedEngine) -> Iterator[ConfinedServer]:
    with ConfinedServer(data_dir=tmp_path / "data", options=request.param, engine_url=engine_of_this_test.url, workers=1) as server:
        yield server.wait_ready()


def envelope_of(answer: tuple[int, dict], status: int) -> str:
    assert answer[0] == status, answer
    assert set(answer[1]) == {"error"}
    assert set(answer[1]["error"]) == {"message", "type", "param", "code"}
    assert answer[1]["error"]["type"] == "server_error"
    return answer[1]["error"]["message"]


def assert_told(server: Server, *words: str) -> None:
    """The log says these, a moment later at most, and nothing of what was said in the thread."""
    wait_until(lambda: all(word in server.log() for word in words), 10, f"the log says {words}")
    assert SECRET not in server.log()


def sound(server: ConfinedServer) -> bool:
    return [str(one) for one in check(server.data) if not one.is_note and "ballast" not in one.path] == []


@confined
@pytest.mark.parametrize("server", ["size=2m"], indirect=True)
def test_a_full_disk(server: ConfinedServer, engine_of_this_test: ScriptedEngine):
    talk = Talk(server)
    engine_of_this_test.script(Reply(["It is ", "warm. " * 2000, "Very."], hang_after=1))
    _, run = talk.run()
    wait_until(lambda: talk.messages() == 2, 10, "the message begins")
    idle = Talk(server)
    server.fill()
    assert "full" in envelope_of(idle.say(100), 507)
    assert "full" in envelope_of(idle.run(), 507)
    assert idle.messages() == 1
    talk.wait_for_problem("No space left on device")
    assert_told(server, idle.thread_id, "No space left on device")
    # The engine goes on, and what it says finds no room either.
    engine_of_this_test.release()
    wait_until(lambda: f"run {run['id']}" in server.log(), 10, "the runner cannot go on")
    assert talk.status(run["id"]) == "in_progress"

    (server.data / "ballast").unlink()
    assert talk.wait_for_end(run["id"]) == "failed"
    for one in (talk, idle):
        one.everything_works()
    assert sound(server)


@confined
@pytest.mark.parametrize("server", ["size=8m,nr_inodes=150"], indirect=True)
def test_no_names_left(server: ConfinedServer):
    talk = Talk(server)
    server.use_up_names()
    assert "full" in envelope_of(talk.run(), 507)
    talk.wait_for_problem("No space left on device")
    assert talk.messages() == 1
    shutil.rmtree(server.data / "ballast")
    talk.everything_works()
    assert sound(server)


@confined
@pytest.mark.parametrize("server", ["size=8m"], indirect=True)
def test_read_only(server: ConfinedServer, engine_of_this_test: ScriptedEngine):
    talk, other = Talk(server), Talk(server)
    engine_of_this_test.script(Reply(["It is ", "warm."], hang_after=1))
    _, run = talk.run()
    wait_until(lambda: talk.messages() == 2, 10, "the message begins")
    server.lock()
    envelope_of(other.say(), 503)
    envelope_of(other.run(), 503)
    assert other.messages() == 1
    talk.wait_for_problem("Read-only file system")
    engine_of_this_test.release()
    wait_until(lambda: f"run {run['id']}" in server.log(), 10, "the runner cannot go on")
    server.unlock()
    assert talk.wait_for_end(run["id"]) in ("completed", "failed")
    for one in (talk, other):
        one.everything_works()
    assert_told(server, "Read-only file system")
    assert sound(server)


@confined
@pytest.mark.parametrize("server", ["size=8m"], indirect=True)
@pytest.mark.parametrize("victim", ["meta.json", "messages.jsonl", ""], ids=["file", "log", "folder"])
def test_what_may_not_be_read_is_not_taken_for_missing(server: ConfinedServer, victim: str):
    talk = Talk(server)
    path = server.data / "projects" / "default" / "threads" / talk.thread_id / victim
    mode = path.stat().st_mode
    path.chmod(0)
    for url in ([talk.url] if victim != "messages.jsonl" else []) + [f"{talk.url}/messages"] * (victim != "meta.json"):
        answer = talk.http.get(url)
        envelope_of((answer.status, answer.json), 503)
    if victim != "meta.json":
        envelope_of(talk.say(), 503)
    assert_told(server, talk.thread_id, "Permission denied")
    path.chmod(mode)
    talk.everything_works()


def test_too_few_descriptors(tmp_path: Path, engine_of_this_test: ScriptedEngine):
    with Server(data_dir=tmp_path / "data", engine_url=engine_of_this_test.url, workers=1) as server:
        talk = Talk(server.wait_ready())
        workers = server.find("web-worker")
        used = len(list(Path(f"/proc/{workers[0]}/fd").iterdir()))
        limits = resource.prlimit(workers[0], resource.RLIMIT_NOFILE)
        resource.prlimit(workers[0], resource.RLIMIT_NOFILE, (used + 1, limits[1]))
        for _ in range(10):
            # Where not even a descriptor to look at the connection with is left, gunicorn hangs up.
            with contextlib.suppress(ConnectionError):
                status, answer = talk.say()
                assert status == 200 or envelope_of((status, answer), 503)
        assert_told(server, "Too many open files")
        # Not even one for the connection: it waits, and is served when there is.
        resource.prlimit(workers[0], resource.RLIMIT_NOFILE, (0, limits[1]))
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"GET /v1/assistants HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            resource.prlimit(workers[0], resource.RLIMIT_NOFILE, limits)
            connection.settimeout(20)
            assert connection.recv(12) == b"HTTP/1.1 200"
        # Clients that say nothing have the last ones: they make room.
        resource.prlimit(workers[0], resource.RLIMIT_NOFILE, (used + 8, limits[1]))
        with contextlib.ExitStack() as silent:
            for _ in range(20):
                silent.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            with contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=3)) as client:
                client.request("GET", "/v1/assistants")
                assert client.getresponse().status in (200, 503)
        resource.prlimit(workers[0], resource.RLIMIT_NOFILE, limits)
        talk.everything_works()
        assert server.find("web-worker") == workers
        assert [str(one) for one in check(server.data_dir) if not one.is_note] == []


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_health_and_answers_say_what_is_wrong(error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setitem(CALLS, error, ("open", "mkdir"))
    failing = FailingDisk(monkeypatch)
    client = create_app(read({"OXILLAMA_DATA_DIR": str(tmp_path / "data"), "OXILLAMA_ENGINE_URL": "http://127.0.0.1:1/v1"})).test_client()
    failing.fail(error, at=0, for_good=True)
    health = client.get("/health")
    assert health.status_code == 503
    assert f"the data directory cannot be written: {os.strerror(error)}" in health.json["problems"]
    refused = client.post("/v1/threads", json={"messages": [{"role": "user", "content": SECRET}]})
    envelope_of((refused.status_code, refused.json), 507 if error in (errno.ENOSPC, errno.EDQUOT) else 503)
    assert str(tmp_path / "data" / "tmp") in caplog.text and SECRET not in caplog.text
    failing.heal()
    assert client.post("/v1/threads", json={}).status_code == 200
    wait_until(lambda: not any("written" in problem for problem in client.get("/health").json["problems"]), 5, "it recovers")


@pytest.mark.parametrize("instead", ["nothing", "an empty folder"])
def test_a_data_directory_that_is_moved_away(instead: str, tmp_path: Path, engine_of_this_test: ScriptedEngine):
    """Nothing counts as missing, and nothing is begun where it was; what comes back works."""
    data = tmp_path / "data"
    with Server(data_dir=data, engine_url=engine_of_this_test.url, workers=1) as server:
        talk = Talk(server.wait_ready())
        data.rename(tmp_path / "elsewhere")
        if instead == "an empty folder":
            data.mkdir()
        for url in ("/v1/assistants", f"/v1/assistants/{talk.assistant_id}", talk.url, f"{talk.url}/messages"):
            answer = talk.http.get(url)
            envelope_of((answer.status, answer.json), 503)
        for url, body in (("/v1/assistants", {"model": "local"}), ("/v1/threads", {})):
            answer = talk.http.post(url, body)
            envelope_of((answer.status, answer.json), 503)
        envelope_of(talk.say(), 503)
        envelope_of(talk.run(), 503)
        talk.wait_for_problem("missing")
        assert_told(server, "the data directory is not there")
        assert not any(data.iterdir()) if instead == "an empty folder" else not data.exists()
        assert "Traceback" not in server.log()
        if instead == "an empty folder":
            data.rmdir()
        (tmp_path / "elsewhere").rename(data)
        talk.everything_works()
