"""Clients go away without a word. Runs go on, and nothing is used up."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import psutil

from oxillama.web.streaming import KEEP_ALIVE_SECONDS
from tests.process_control import wait_until
from tests.scenarios.conversation import LISBON, QUESTION, WEATHER, ended, followed, last_message, text_of
from tests.scripted_engine import Reply


def begin(assistant_id: str) -> Any:
    return {"assistant_id": assistant_id, "thread": {"messages": [{"role": "user", "content": QUESTION}]}, "stream": True}


def test_the_run_completes_without_its_client(client, http, thread, assistant, engine):
    engine.script(Reply(["It is ", "warm."], hang_after=1))
    with http.stream("POST", f"/v1/threads/{thread.id}/runs", {"assistant_id": assistant.id, "stream": True}) as stream:
        run_id = stream.until("thread.message.delta")[0].data["id"]
    engine.release()
    run = ended(client, http, client.beta.threads.runs.retrieve(run_id, thread_id=thread.id))
    assert run.status == "completed"
    assert engine.hung_up == 0
    assert text_of(last_message(client, thread.id)) == "It is warm."


def test_a_stream_too_many_is_refused_before_its_run_is_created(strict_client, strict_http, strict_engine):
    assistant = strict_client.beta.assistants.create(model="scripted-chat", instructions="Answer.")
    thread = strict_client.beta.threads.create()
    strict_engine.default = Reply(["It is ", "warm."], hang_after=1, delay=0)
    open_streams = [strict_http.stream("POST", "/v1/threads/runs", begin(assistant.id)) for _ in range(3)]
    entered = []
    try:
        for one in open_streams:
            entered.append((one, one.__enter__()))
            entered[-1][1].until("thread.run.created")
        path = f"/v1/threads/{thread.id}/runs"
        answer = strict_http.post(path, {"assistant_id": assistant.id, "stream": True})
        text = "Too many streams are open on this server. Please try again later."
        assert answer.error == (429, text, "requests", None, "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "1"
        run_id = "run_" + "0" * 24
        assert strict_http.get(f"{path}/{run_id}/events").status == 404, "what does not exist comes first"
        assert strict_client.beta.threads.runs.list(thread.id).data == []
        assert strict_client.beta.threads.retrieve(thread.id).id == thread.id, "requests without a stream are answered"
    finally:
        for one, _ in entered:
            one.__exit__(None, None, None)
    strict_engine.default = Reply(["Hello."])
    strict_engine.release()

    def free_again() -> bool:
        return strict_http.post("/v1/threads/runs", begin(assistant.id)).status == 200

    wait_until(free_again, 20, "a stream is allowed again once the clients have left")


def test_a_hundred_clients_that_vanish_leave_nothing_behind(strict_client, strict_http, strict_engine, strict_server):
    assistant = strict_client.beta.assistants.create(model="scripted-chat", instructions="Answer.")
    (worker,) = map(psutil.Process, strict_server.find("web-worker"))
    (runner,) = map(psutil.Process, strict_server.find("runner"))
    with strict_http.stream("POST", "/v1/threads/runs", begin(assistant.id)) as stream:
        list(stream)
    before = [(process.num_threads(), process.num_fds()) for process in (worker, runner)]
    runs = []
    for number in range(100):
        leave_at = ["thread.run.created", "thread.message.delta"][number % 2]

        def begun(leave_at: str = leave_at) -> Any:
            with strict_http.stream("POST", "/v1/threads/runs", begin(assistant.id)) as stream:
                return stream.until(leave_at)[1].data if stream.status == 200 else None

        # Whether a client has gone is noticed at the next write, so the last one may still hold its place.
        runs.append(wait_until(begun, 20, "a place for the next stream", pause=0.005))
    for run in runs:
        events = followed(strict_http, Run(run))
        assert events[-1].name == "thread.run.completed"

    def as_before() -> bool:
        now = [(process.num_threads(), process.num_fds()) for process in (worker, runner)]
        # The pool of request threads grows to its limit, and stays; connections and logs are closed.
        return all(fds <= old_fds + 8 for (_, fds), (_, old_fds) in zip(now, before, strict=True))

    wait_until(as_before, 30, f"no more descriptors than before: {before}")
    assert worker.num_threads() <= 8 + 3 + 5
    for _ in range(3):
        assert strict_http.post("/v1/threads/runs", begin(assistant.id)).status == 200


def test_clients_that_leave_while_nothing_happens_are_noticed(strict_client, strict_http, strict_engine, strict_server):
    """By a heartbeat: a run that waits for outputs writes nothing for as long as they do not come."""
    strict_engine.script(Reply(calls=[LISBON]))
    assistant = strict_client.beta.assistants.create(model="scripted-chat", tools=[WEATHER])
    with strict_http.stream("POST", "/v1/threads/runs", begin(assistant.id)) as stream:
        run = stream.until("thread.run.requires_action")[-1].data
    path = f"/v1/threads/{run['thread_id']}/runs/{run['id']}/events"

    (worker,) = map(psutil.Process, strict_server.find("web-worker"))

    def nobody_left() -> bool:
        """Whether the server has closed the log behind every stream."""
        return not [file for file in worker.open_files() if file.path.endswith("events.sse")]

    def free_places() -> int:
        """How many streams the server allows just now."""
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(strict_http.stream("GET", path)) for _ in range(4)]
            return len([stream for stream in streams if stream.status == 200])

    def free_places_before_a_heartbeat() -> int | None:
        """The places that are left behind clients who took all and went; None when that took so long that a heartbeat may have come."""
        wait_until(nobody_left, 20, "the clients of before have left")
        begun = time.monotonic()
        assert free_places() == 3
        left = free_places()
        return left if time.monotonic() - begun < KEEP_ALIVE_SECONDS - 0.5 else None

    while (left := free_places_before_a_heartbeat()) is None:
        pass
    assert left == 0, "those who have left are not noticed at once, or this test shows nothing"
    wait_until(nobody_left, 20, "a heartbeat has found out that they have left")
    assert free_places() == 3
    strict_client.beta.threads.runs.cancel(run["id"], thread_id=run["thread_id"])


class Run:
    """A run's address."""

    def __init__(self, run: dict[str, Any]) -> None:
        self.id, self.thread_id = run["id"], run["thread_id"]
