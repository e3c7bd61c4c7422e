"""Pairs of operations that may come at the same moment, and which outcomes may come together.

An outcome is `done`, or the name of the error; for whoever claims, `none` when there was nothing to claim. A pair names every combination
that is allowed, with the status in which the run is then. Each of them must be reachable, and nothing else may be.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from oxillama.errors import ClaimLost, NotFound, RequestRefused
from oxillama.lifecycle import runs, threads
from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.recovery import recover
from oxillama.objects import run as run_object
from oxillama.objects.message import text_part
from oxillama.objects.page import PageQuery
from oxillama.objects.stream_event import frames, message_so_far
from oxillama.store import Store
from oxillama.store.event_log import EventReader
from oxillama.store.run_queue import ActiveRun
from oxillama.store.threads import ThreadFolder
from tests.builders import (
    CALLS,
    EXPIRY_SECONDS,
    FUNCTION,
    OUTPUTS,
    PRIVATE,
    PROJECT,
    USAGE,
    Value,
    a_run,
    a_thread,
    an_assistant,
    answer,
    ask_for_tools,
    claimed,
    say,
    told_in,
)
from tests.races import clocks
from tests.races.soundness import Watch, bring_home

LATER = EXPIRY_SECONDS + 100
DONE, NONE, LOST, BUSY, GONE, REFUSED = "done", "none", "ClaimLost", "ThreadBusy", "NotFound", "RunTransitionRefused"


class Scene:
    """A thread as it is before a race. `first` and `second` are the stores of those who race; they may be one."""

    claim: Claim
    successor: Claim
    follower: EventReader
    entry: ActiveRun | None
    run: Value

    def __init__(self, first: Store, second: Store, watch: Watch) -> None:
        self.first, self.second, self.watch = first, second, watch
        self.thread_id = a_thread(first, "Hi").thread_id
        watch.said[self.thread_id] = ["Hi"]
        self._lives: list[int] = []
        self.runners = [self._join(number) for number in (1, 2)]

    def _join(self, number: int) -> str:
        runner_id = f"runner-{number}-of-{self.thread_id}"
        self._lives.append(self.first.queue.join(runner_id))
        return runner_id

    def end(self) -> None:
        """After the race: its runners die, another does all that there is to do, and at last the thread is deleted."""
        self.kill_runners()
        for name in ("claim", "successor", "follower"):
            if hasattr(self, name):
                getattr(self, name).close()
        bring_home(self.first)
        if self.thread_id not in self.watch.deleted:
            self.watch.check(self.thread_id)
            threads.delete_thread(self.first, self.folder(self.first))
            self.watch.deleted.add(self.thread_id)
        self.watch.check(self.thread_id)

    def kill_runners(self) -> None:
        while self._lives:
            os.close(self._lives.pop())

    def folder(self, store: Store) -> ThreadFolder:
        return store.thread(PROJECT, self.thread_id)


Act = Callable[[Scene, Store], object]


@dataclass(frozen=True)
class Pair:
    """Two acts, what comes before them, and the outcomes that may come together with what is then.

    Attributes:
        verdicts: outcomes -> status of the run; None where there was none before, or its thread is gone.
        verify: what else must hold.
    """

    prepare: Callable[[Scene], object]
    first: Act
    second: Act
    verdicts: dict[tuple[str, str], str | None]
    verify: Callable[[Scene, tuple[str, str]], object] = lambda scene, outcomes: None

    def judge(self, scene: Scene, outcomes: tuple[str, str]) -> None:
        """After the race: was this allowed, and is everything as it must be?"""
        assert outcomes in self.verdicts, f"not allowed together: {outcomes}"
        for act, outcome in zip((self.first, self.second), outcomes, strict=True):
            if outcome == DONE and act in SAYS:
                scene.watch.said[scene.thread_id].append(SAYS[act])
            if outcome == DONE and act is delete:
                scene.watch.deleted.add(scene.thread_id)
        scene.watch.check(scene.thread_id)
        status = self.verdicts[outcomes]
        if status is not None:
            assert scene.folder(scene.first).load_run(scene.run["id"])["status"] == status, outcomes
        self.verify(scene, outcomes)


def attempt(act: Act, scene: Scene, store: Store) -> str:
    """The outcome of an act. A runner that lost its claim settles, as it does in `runner.execution`."""
    try:
        return str(act(scene, store) or DONE)
    except ClaimLost:
        scene.claim.settle()
        return LOST
    except (RequestRefused, NotFound) as error:
        return type(error).__name__


# --- before the race -----------------------------------------------------------------------------------------------------------------


def nothing(scene: Scene) -> None:
    pass


def queued(scene: Scene) -> None:
    scene.run = a_run(scene.first, scene.folder(scene.first), an_assistant(tools=[FUNCTION]))


def working(scene: Scene) -> None:
    """The first has claimed it, and has told nothing yet."""
    queued(scene)
    scene.claim = claimed(scene.first, scene.run, scene.runners[0])
    scene.entry = scene.first.queue.load(scene.run["id"])


def speaking(scene: Scene) -> None:
    working(scene)
    scene.claim.begin_message()
    scene.claim.add_text("Well, ")
    scene.follower = scene.claim.thread.events(scene.run["id"]).reader()


def calling(scene: Scene) -> None:
    working(scene)
    scene.claim.begin_calls()


def taken_over(scene: Scene) -> None:
    """The first was believed dead, and the second has claimed the run since."""
    working(scene)
    give_up(scene, scene.first)
    scene.successor = claimed(scene.second, scene.run, scene.runners[1])


def waiting(scene: Scene) -> None:
    working(scene)
    ask_for_tools(scene.claim)
    del scene.claim


def cancelling(scene: Scene) -> None:
    speaking(scene)
    runs.cancel_run(scene.first, scene.folder(scene.first), scene.run["id"])


def dead(before: Callable[[Scene], object]) -> Callable[[Scene], object]:
    """The same, and then its runner is not there any more."""

    def prepare(scene: Scene) -> None:
        before(scene)
        scene.kill_runners()

    return prepare


# --- what races ----------------------------------------------------------------------------------------------------------------------


def finish(scene: Scene, store: Store) -> None:
    scene.claim.add_text("good.")
    scene.claim.finish(USAGE, None)


def finish_at_once(scene: Scene, store: Store) -> None:
    """Without another piece: pieces are told without the thread's lock, and nobody else ends what a living runner works on."""
    scene.claim.finish(USAGE, None)


def speak(scene: Scene, store: Store) -> None:
    scene.claim.begin_message()
    finish(scene, store)


def speak_instead(scene: Scene, store: Store) -> None:
    answer(scene.successor, "Not ", "bad.")
    del scene.successor


def begin(scene: Scene, store: Store) -> None:
    scene.claim.begin_message()


def require_action(scene: Scene, store: Store) -> None:
    scene.claim.open_call(0, {**CALLS[0], "function": {**CALLS[0]["function"], "arguments": ""}})
    scene.claim.require_action(CALLS, USAGE, PRIVATE)


def speak_and_call(scene: Scene, store: Store) -> None:
    scene.claim.add_text("let me see.")
    scene.claim.end_message()
    scene.claim.begin_calls()
    require_action(scene, store)


def fail(scene: Scene, store: Store) -> None:
    scene.claim.stop("failed", last_error={"code": "server_error", "message": "No."})


def expire(scene: Scene, store: Store) -> None:
    scene.claim.stop("expired")


def release(scene: Scene, store: Store) -> None:
    scene.claim.release()


def settle(scene: Scene, store: Store) -> None:
    scene.claim.settle()


def take(scene: Scene, store: Store) -> str:
    claim = Claim.take(store, scene.run["id"], scene.runners[store is scene.second])
    if claim is None:
        return NONE
    claim.close()
    return DONE


def cancel(scene: Scene, store: Store) -> None:
    runs.cancel_run(store, scene.folder(store), scene.run["id"])


def submit(scene: Scene, store: Store) -> None:
    runs.submit_tool_outputs(store, scene.folder(store), scene.run["id"], OUTPUTS)


def modify(scene: Scene, store: Store) -> None:
    runs.modify_run(scene.folder(store), scene.run["id"], {"metadata": {"is": "new"}})


def delete(scene: Scene, store: Store) -> None:
    threads.delete_thread(store, scene.folder(store))


def speak_up(scene: Scene, store: Store) -> None:
    say(scene.folder(store), SAYS[speak_up])


def ask(scene: Scene, store: Store) -> None:
    _ask(scene, store, ask)


def ask_too(scene: Scene, store: Store) -> None:
    _ask(scene, store, ask_too)


def _ask(scene: Scene, store: Store, act: Act) -> None:
    a_run(store, scene.folder(store), additional_messages=[{"role": "user", "content": SAYS[act]}])


#: Acts that add a caller's message when they are done, and its text.
SAYS: dict[Act, str] = {speak_up: "Hello?", ask: "and tell me why", ask_too: "and tell me how"}


SAYS_WHOLE = "Hi, all of you"


def recover_it(scene: Scene, store: Store) -> None:
    """What any runner does when the run's own seems to be dead."""
    entry = store.queue.load(scene.run["id"])
    if entry is not None:
        recover(store, entry)


def give_up(scene: Scene, store: Store) -> None:
    """What the runner itself does when it finds a run of its own that it does not work on."""
    assert scene.entry is not None
    recover(store, scene.entry, abandoned=True)


def _late(act: Act) -> Act:
    def late(scene: Scene, store: Store) -> object:
        with clocks.ahead(LATER):
            return act(scene, store)

    return late


def create_whole(scene: Scene, store: Store) -> None:
    messages = [{"role": "user", "content": SAYS_WHOLE}]
    runs.create_thread_and_run(store, PROJECT, an_assistant(), {"thread": {"messages": messages}}, EXPIRY_SECONDS)


def recover_all_late(scene: Scene, store: Store) -> None:
    """As to a runner to which every entry without a thread is old."""
    with clocks.ahead(EXPIRY_SECONDS // 2):
        for entry in map(store.queue.load, store.queue.active()):
            if entry is not None:
                recover(store, entry)


submit_late, recover_late = _late(submit), _late(recover_it)


def _is_new(scene: Scene, outcomes: tuple[str, str]) -> None:
    metadata = scene.folder(scene.first).load_run(scene.run["id"])["metadata"]
    assert metadata == ({"is": "new"} if outcomes[0] == DONE else {}), "a change that was acknowledged is not undone"


def _queued_once(scene: Scene, outcomes: tuple[str, str]) -> None:
    entry: Any = scene.first.queue.load(scene.run["id"])
    assert (entry.deaths, entry.attempt) == (1, 1)


def _counted_once(scene: Scene, outcomes: tuple[str, str]) -> None:
    run = scene.folder(scene.first).load_run(scene.run["id"])
    assert run["usage"] in (None, USAGE, run_object.usage(0, 0)), "a turn is paid for once"


def _told_whole(scene: Scene, outcomes: tuple[str, str]) -> None:
    """Whoever followed the run had the whole message, though nobody can read it any more."""
    log = scene.follower.read(0)
    name, data, _ = next(frame for frame in frames(log) if frame[0] in ("thread.message.completed", "thread.message.incomplete"))
    message = orjson.loads(data)
    so_far = message_so_far(told_in(log), message["id"])
    assert so_far is not None
    assert so_far["content"] == message["content"]
    assert name == "thread.message.incomplete" or message["content"] == [text_part("Well, good.")]
    assert frames(log)[-1][0] in ("thread.run.completed", "thread.run.cancelled")


def _whole(scene: Scene, outcomes: tuple[str, str]) -> None:
    """The other thread that is there now has a run that somebody will work on."""
    (thread_id,) = set(os.listdir(scene.first._layout.threads(PROJECT))) - {scene.thread_id}
    scene.watch.said[thread_id] = [SAYS_WHOLE]
    for status in ("queued", "completed"):
        scene.watch.check(thread_id)
        run = orjson.loads(scene.first.thread(PROJECT, thread_id).page_runs(PageQuery()).items[0][1])
        assert run["status"] == status
        bring_home(scene.first)
    threads.delete_thread(scene.first, scene.first.thread(PROJECT, thread_id))


def _before_the_run(scene: Scene, outcomes: tuple[str, str]) -> None:
    """A message that was taken is one that the run answers."""
    folder = scene.folder(scene.first)
    run = folder.active_run()
    assert run is not None
    stamps = [orjson.loads(line)["id"].partition("_")[2][:9] for line in folder.messages.newest_first()]
    assert max(stamps) < run["id"].partition("_")[2][:9]


PAIRS: dict[str, Pair] = {
    "finish, cancel": Pair(speaking, finish, cancel, {(DONE, REFUSED): "completed", (LOST, DONE): "cancelled"}),
    "answer, cancel": Pair(working, speak, cancel, {(DONE, REFUSED): "completed", (LOST, DONE): "cancelled"}),
    "begin, cancel": Pair(working, begin, cancel, {(DONE, DONE): "cancelling", (LOST, DONE): "cancelled"}),
    "call tools, cancel": Pair(speaking, speak_and_call, cancel, {(DONE, DONE): "cancelled", (LOST, DONE): "cancelled"}),
    "require action, cancel": Pair(calling, require_action, cancel, {(DONE, DONE): "cancelled", (LOST, DONE): "cancelled"}, _counted_once),
    "fail, cancel": Pair(speaking, fail, cancel, {(DONE, REFUSED): "failed", (LOST, DONE): "cancelled"}),
    "expire, cancel": Pair(speaking, expire, cancel, {(DONE, REFUSED): "expired", (LOST, DONE): "cancelled"}),
    "release, cancel": Pair(working, release, cancel, {(DONE, DONE): "cancelled", (LOST, DONE): "cancelled"}),
    "cancel, cancel": Pair(speaking, cancel, cancel, {(DONE, REFUSED): "cancelling", (REFUSED, DONE): "cancelling"}),
    "cancel, cancel of a waiting run": Pair(waiting, cancel, cancel, {(DONE, REFUSED): "cancelled", (REFUSED, DONE): "cancelled"}),
    "claim, cancel": Pair(queued, take, cancel, {(DONE, DONE): "cancelling", (NONE, DONE): "cancelled"}),
    "claim, claim": Pair(queued, take, take, {(DONE, NONE): "in_progress", (NONE, DONE): "in_progress"}),
    "claim, recover": Pair(queued, take, recover_it, {(DONE, DONE): "in_progress"}),
    "claim, recover late": Pair(queued, take, recover_late, {(DONE, DONE): "in_progress", (NONE, DONE): "expired"}),
    "submit, recover late": Pair(waiting, submit, recover_late, {(DONE, DONE): "expired", (REFUSED, DONE): "expired"}, _counted_once),
    "submit late, recover late": Pair(waiting, submit_late, recover_late, {(REFUSED, DONE): "expired"}, _counted_once),
    "submit late, cancel": Pair(waiting, submit_late, cancel, {(REFUSED, DONE): "cancelled", (REFUSED, REFUSED): "expired"}, _counted_once),
    "submit, cancel": Pair(waiting, submit, cancel, {(DONE, DONE): "cancelled", (REFUSED, DONE): "cancelled"}, _counted_once),
    "submit, submit": Pair(waiting, submit, submit, {(DONE, REFUSED): "queued", (REFUSED, DONE): "queued"}),
    "modify, finish": Pair(speaking, modify, finish, {(DONE, DONE): "completed", (REFUSED, DONE): "completed"}, _is_new),
    "modify, claim": Pair(queued, modify, take, {(DONE, DONE): "in_progress", (REFUSED, DONE): "in_progress"}, _is_new),
    "modify, submit": Pair(waiting, modify, submit, {(DONE, DONE): "queued"}, _is_new),
    "modify, cancel": Pair(waiting, modify, cancel, {(DONE, DONE): "cancelled"}, _is_new),
    "modify, recover late": Pair(waiting, modify, recover_late, {(DONE, DONE): "expired"}, _is_new),
    "message, run": Pair(nothing, speak_up, ask, {(DONE, DONE): None, (BUSY, DONE): None}, _before_the_run),
    "message, finish": Pair(speaking, speak_up, finish, {(DONE, DONE): "completed", (BUSY, DONE): "completed"}),
    "message, cancel": Pair(queued, speak_up, cancel, {(DONE, DONE): "cancelled", (BUSY, DONE): "cancelled"}),
    "run, run": Pair(nothing, ask, ask_too, {(DONE, BUSY): None, (BUSY, DONE): None}, _before_the_run),
    "thread and run, recover": Pair(nothing, create_whole, recover_all_late, {(DONE, DONE): None}, _whole),
    "run, finish": Pair(speaking, ask, finish, {(DONE, DONE): "completed", (BUSY, DONE): "completed"}),
    "delete, answer": Pair(working, delete, speak, {(DONE, DONE): None, (DONE, LOST): None}),
    "delete, finish": Pair(speaking, delete, finish, {(DONE, DONE): None, (DONE, LOST): None}, _told_whole),
    "delete, claim": Pair(queued, delete, take, {(DONE, DONE): None, (DONE, NONE): None}),
    "delete, submit": Pair(waiting, delete, submit, {(DONE, DONE): None, (DONE, GONE): None}),
    "delete, cancel": Pair(working, delete, cancel, {(DONE, DONE): None, (DONE, GONE): None}),
    "delete, run": Pair(nothing, delete, ask, {(DONE, DONE): None, (DONE, GONE): None}),
    "delete, message": Pair(nothing, delete, speak_up, {(DONE, DONE): None, (DONE, GONE): None}),
    "delete, modify": Pair(waiting, delete, modify, {(DONE, DONE): None, (DONE, GONE): None}),
    "delete, recover": Pair(dead(working), delete, recover_it, {(DONE, DONE): None}),
    "delete, delete": Pair(working, delete, delete, {(DONE, GONE): None, (GONE, DONE): None}),
    "recover, recover": Pair(dead(working), recover_it, recover_it, {(DONE, DONE): "queued"}, _queued_once),
    "recover, recover of what had begun": Pair(dead(speaking), recover_it, recover_it, {(DONE, DONE): "failed"}),
    "recover, recover of what is cancelled": Pair(dead(cancelling), recover_it, recover_it, {(DONE, DONE): "cancelled"}),
    "recover late, recover late": Pair(waiting, recover_late, recover_late, {(DONE, DONE): "expired"}, _counted_once),
    "recover, cancel": Pair(dead(speaking), recover_it, cancel, {(DONE, DONE): "cancelled", (DONE, REFUSED): "failed"}),
    "recover, claim": Pair(dead(working), recover_it, take, {(DONE, DONE): "in_progress", (DONE, NONE): "queued"}),
    "recover, finish of the dead": Pair(dead(speaking), recover_it, finish_at_once, {(DONE, DONE): "completed", (DONE, LOST): "failed"}),
    "begin too late, answer": Pair(taken_over, begin, speak_instead, {(LOST, DONE): "completed"}),
    "release too late, answer": Pair(taken_over, release, speak_instead, {(LOST, DONE): "completed"}),
    "fail too late, answer": Pair(taken_over, fail, speak_instead, {(LOST, DONE): "completed"}),
    "give up, finish": Pair(speaking, give_up, finish_at_once, {(DONE, DONE): "completed", (DONE, LOST): "failed"}),
    "give up, release": Pair(working, give_up, release, {(DONE, DONE): "queued", (DONE, LOST): "queued"}),
    "give up, require action": Pair(calling, give_up, require_action, {(DONE, DONE): "requires_action", (DONE, LOST): "failed"}),
    "give up, settle": Pair(cancelling, give_up, settle, {(DONE, DONE): "cancelled"}),
}
