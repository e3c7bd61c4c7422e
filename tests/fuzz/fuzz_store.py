"""Any bytes in any file of a thread: read, paged, recovered and appended to. Nothing but the store's own errors, and no line lost.

python -m tests.fuzz.fuzz_store CORPUS -max_total_time=300
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["oxillama"]):
    from oxillama import ids
    from oxillama.errors import OxillamaError
    from oxillama.lifecycle import runs, threads
    from oxillama.lifecycle.recovery import recover
    from oxillama.objects.page import PageQuery
    from oxillama.store.disk import Disk
    from oxillama.store.lines import Lines

from tests import builders

NAMES = [
    "messages.jsonl", "runs.log", "runs/{run}/events.sse", "runs/{run}/additional_messages.jsonl", "runs/{run}/status.json", "meta.json",
    "runs/{run}/steps/{step}.json", "messages/{message}.json", "queue",
]  # fmt: skip


PIECES = [b"\n", b"{", b"}", b'{"id":"', b'"}', b'"', b",", b"event: ", b"data: ", b":", b"[", b"]", b"null", b"0"]


class Situation:
    """A thread with a message and a run, whose files are as they were written before each attempt."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="oxillama-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.store = builders.open_store(self.root)
        self.folder = builders.a_thread(self.store, "Hi", "There")
        run = builders.waiting_run(self.store, self.folder)
        self.run_id, self.thread = run["id"], Path(self.folder._layout.folder)
        self.message_id = self.folder.messages.last_id() or ""
        self.step_id = self.folder.load_steps(self.run_id)[0]["id"]
        self.entry = self.store.queue.load(self.run_id)
        self.files = {path: path.read_bytes() for path in (self.root / "data").rglob("*") if path.is_file()}

    def restore(self) -> None:
        for path in [path for path in (self.root / "data").rglob("*") if path.is_file() and path not in self.files]:
            path.unlink()
        for path, content in self.files.items():
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)

    def path(self, name: str) -> Path:
        if name == "queue":
            return self.root / "data" / "queue" / "active" / self.run_id
        return self.thread / name.format(run=self.run_id, step=self.step_id, message=self.message_id)


situation: Situation | None = None
made = 0


def ready() -> Situation:
    global situation, made
    if situation is None or made % 2000 == 0:
        if situation is not None:
            shutil.rmtree(situation.root)
        situation = Situation()
    made += 1
    situation.restore()
    return situation


def allowed(act: Callable[[], object], *forgiven: type[Exception]) -> None:
    with contextlib.suppress(OxillamaError, *forgiven):
        act()


def content(data: Any, now: Situation, path: Path) -> bytes:
    """What the file is to hold: bytes of any kind, or its own with some of them changed."""
    old = now.files.get(path, b'{"id":"%s","object":"thread.message"}\n' % now.message_id.encode())
    match data.ConsumeIntInRange(0, 3):
        case 0:
            return data.ConsumeBytes(data.remaining_bytes())
        case 1:
            at = data.ConsumeIntInRange(0, len(old))
            return old[:at] + data.ConsumeBytes(data.ConsumeIntInRange(0, 40)) + old[at + data.ConsumeIntInRange(0, 60) :]
        case 2:
            return old[: data.ConsumeIntInRange(0, len(old))]
        case _:
            known = [*PIECES, now.message_id.encode(), now.run_id.encode(), old]
            count = data.ConsumeIntInRange(0, 20)
            return b"".join(data.PickValueInList(known) if data.ConsumeIntInRange(0, 5) else data.ConsumeBytes(6) for _ in range(count))


def one(raw: bytes) -> None:
    data = atheris.FuzzedDataProvider(raw)
    now = ready()
    name = data.PickValueInList(NAMES)
    path = now.path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = content(data, now, path)
    path.write_bytes(written)
    folder, run_id = now.folder, now.run_id
    cursor = data.PickValueInList([now.message_id, run_id, ids.new_id("message"), "msg_" + "0" * 32, "msg_" + "0" * 24])
    order = data.PickValueInList(["asc", "desc"])
    for query in (PageQuery(2, order, None, None), PageQuery(2, order, cursor, None), PageQuery(2, order, None, cursor)):
        allowed(lambda query=query: folder.page_messages(query).wire_form())  # type: ignore[misc]
        allowed(lambda query=query: folder.page_messages(query, run_id).wire_form())  # type: ignore[misc]
        allowed(lambda query=query: folder.page_runs(query).wire_form())  # type: ignore[misc]
        allowed(lambda query=query: folder.page_steps(run_id, query).wire_form())  # type: ignore[misc]
    # Of a run and a step the names and statuses are checked, and not that every field is there: who takes one away gets a KeyError.
    forgiven = (KeyError, TypeError) if name.endswith(("status.json", "{step}.json")) else ()
    for act in (
        folder.read,
        lambda: folder.read_message(now.message_id),
        lambda: folder.load_run(run_id),
        lambda: list(folder.messages.newest_first()),
        lambda: folder.events(run_id).read_all(),
        lambda: threads.create_message(folder, {"role": "user", "content": "Hi"}),
        lambda: threads.modify_message(folder, now.message_id, {"metadata": {}}),
        lambda: threads.modify_thread(folder, {"metadata": {}}),
        lambda: runs.modify_run(folder, run_id, {"metadata": {}}),
        lambda: _settle(folder, run_id),
        lambda: recover(now.store, now.store.queue.load(run_id) or now.entry, abandoned=data.ConsumeBool()),  # type: ignore[arg-type]
        lambda: runs.cancel_run(now.store, folder, run_id),
    ):
        allowed(act, *forgiven)
    if name in ("messages.jsonl", "runs.log"):
        appended(now, written)


def _settle(folder: Any, run_id: str) -> None:
    with folder.locked() as thread:
        thread.settle_messages(run_id)


def appended(now: Situation, written: bytes) -> None:
    """Whole lines outlive whatever is appended behind them, and what is cut off is kept."""
    path, torn = str(now.root / "log"), str(now.root / "torn")
    Path(path).write_bytes(written)
    Path(torn).unlink(missing_ok=True)
    new = b'{"id":"%s"}' % ids.new_id("message").encode()
    Lines(Disk(str(now.root), durable=False), path, torn).append([new])
    after = Path(path).read_bytes()
    whole = written[: written.rfind(b"\n") + 1]
    assert after.startswith(whole) and after.endswith(new + b"\n")
    tail = written[len(whole) :]
    kept = Path(torn).read_bytes() if Path(torn).exists() else b""
    assert tail == b"" or kept == tail + b"\n" or after == written + b"\n" + new + b"\n"


def main() -> None:
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
