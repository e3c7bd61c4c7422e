"""The runner's loop: claim what is offered, as much as it may execute at once, and look after runs that nobody works on."""

from __future__ import annotations

import asyncio
import logging
import secrets

from inotify_simple import INotify, flags

from oxillama import clock
from oxillama.engine.interface import Engine
from oxillama.errors import NotFound, OxillamaError, StoreError
from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.overdue import is_due
from oxillama.lifecycle.recovery import recover
from oxillama.recent import Recent
from oxillama.runner.execution import Stopping, execute
from oxillama.runner.offers import Offers
from oxillama.runner.turn import blocking
from oxillama.store import Store
from oxillama.store.active_entries import ActiveEntries
from oxillama.store.pulses import BEAT_SECONDS, Pulses
from oxillama.store.run_queue import ActiveRun

log = logging.getLogger(__name__)

RECOVERY_SECONDS = 1.0
SWEEP_SECONDS = 60.0
#: How long runs that stream may go on when the runner is told to stop.
GRACE_SECONDS = 3.0
#: Troubles that are not told a second time.
_MAX_TOLD = 1000
_POLL_SECONDS = 0.05
_QUEUE, _RECOVERY, _LIFE = "the queue", "what nobody looks after", "the file that shows that this runner moves"


class Runner:
    """Executes runs from one data directory on one engine.

    Args:
        store: the data directory; any number of runners may share it.
        engine: who answers.
        concurrency: runs at once.
    """

    def __init__(self, store: Store, engine: Engine, concurrency: int) -> None:
        self._store, self._engine, self._concurrency = store, engine, concurrency
        self._id = secrets.token_hex(8)
        self._working: dict[str, asyncio.Task[None]] = {}
        self._unoffered: set[str] = set()
        self._told: Recent[str, str] = Recent(_MAX_TOLD)
        self._offers = Offers(store.queue)
        self._entries = ActiveEntries(store.queue, self._tell_once)
        self._pulses = Pulses(store.queue)
        self._stopping = Stopping()
        self._offered = asyncio.Event()

    def stop(self) -> None:
        """Finish soon: runs that nothing was streamed of go back to the queue, the others get a few seconds."""
        self._stopping.soon.set()
        self._offered.set()

    async def serve(self) -> None:
        """Claim and execute runs until stopped."""
        # Held, not closed: the lock on it is how others know that this runner lives.
        self._life = self._store.queue.join(self._id)
        log.info("runner %s executes up to %d runs at once", self._id, self._concurrency)
        recovering = asyncio.create_task(self._recover_for_ever())
        beating = asyncio.create_task(self._beat_for_ever())
        watch = self._watch_offers()
        try:
            while not self._stopping.soon.is_set():
                self._offered.clear()
                try:
                    self._claim_offered()
                    self._told.pop(_QUEUE, None)
                except StoreError as error:
                    self._tell_once(_QUEUE, error)
                await self._wait_for_offer(_POLL_SECONDS if watch is None or self._offers.has_unread else RECOVERY_SECONDS)
        finally:
            recovering.cancel()
            if watch is not None:
                asyncio.get_running_loop().remove_reader(watch.fileno())
                watch.close()
        await self._finish()
        beating.cancel()

    async def _beat_for_ever(self) -> None:
        """Show others that this runner moves: from the loop, for one whose loop is blocked works on nothing."""
        while True:
            try:
                await blocking(self._store.queue.beat, self._life)
                self._told.pop(_LIFE, None)
            except StoreError as error:
                self._tell_once(_LIFE, error)
            await asyncio.sleep(BEAT_SECONDS)

    def _claim_offered(self) -> None:
        """Begin to work on offered runs, in turns among projects. Claiming itself waits for disks, so each does it in its own task."""
        self._offers.look()
        while len(self._working) < self._concurrency and (run_id := self._offers.take()) is not None:
            self._working[run_id] = asyncio.create_task(self._work_on(run_id), name=run_id)

    async def _work_on(self, run_id: str) -> None:
        try:
            claim = await blocking(Claim.take, self._store, run_id, self._id)
            self._told.pop(run_id, None)
            if claim is not None:
                await execute(claim, self._engine, self._stopping)
        except Exception as error:
            self._tell_once(run_id, error)
            # What is still offered would be claimed again at once, and for as long as the disk is at fault.
            await asyncio.sleep(RECOVERY_SECONDS)
        finally:
            del self._working[run_id]
            self._offers.done(run_id)
            self._offered.set()

    async def _wait_for_offer(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._offered.wait()
        except TimeoutError:
            return

    def _watch_offers(self) -> INotify | None:
        """Wake up when something is offered; None where that cannot be told."""
        try:
            watch = INotify(nonblocking=True)
            watch.add_watch(self._store.queue.waiting_directory, flags.CREATE | flags.MOVED_TO)
        except OSError as error:
            log.warning("no inotify, polling instead: %s", error)
            return None
        asyncio.get_running_loop().add_reader(watch.fileno(), self._on_offer, watch)
        return watch

    def _on_offer(self, watch: INotify) -> None:
        self._offers.found(event.name for event in watch.read(timeout=0))
        self._offered.set()

    async def _recover_for_ever(self) -> None:
        swept = float("-inf")
        loop = asyncio.get_running_loop()
        while True:
            try:
                await blocking(self._recover_all)
                self._told.pop(_RECOVERY, None)
                if loop.time() - swept > SWEEP_SECONDS:
                    swept = loop.time()
                    await blocking(self._store.sweep)
            except Exception as error:
                self._tell_once(_RECOVERY, error)
            await asyncio.sleep(RECOVERY_SECONDS)

    def _recover_all(self) -> None:
        queue = self._store.queue
        offered, unoffered = set(queue.offered()), self._unoffered
        self._unoffered = set()
        self._pulses.look()
        frozen = self._pulses.frozen
        for entry in self._entries.all():
            if self._stopping.soon.is_set():
                return
            run_id = entry.run_id
            if run_id in self._working:
                continue
            try:
                abandoned = entry.runner == self._id or (entry.runner in frozen and is_due(self._store, entry))
                if abandoned or self._needs_care(entry, run_id in offered, run_id in unoffered):
                    recover(self._store, entry, abandoned=abandoned)
                    self._told.pop(run_id, None)
            except Exception as error:
                # One run that cannot be read must not keep the others from being looked after.
                self._tell_once(run_id, error)

    def _tell_once(self, what: str, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}"
        if self._told.get(what) != told:
            self._told[what] = told
            log.error("%s cannot be worked on: %s", what, told, exc_info=not isinstance(error, OxillamaError))

    def _needs_care(self, entry: ActiveRun, offered: bool, was_unoffered: bool) -> bool:
        if entry.runner is not None:
            return not self._store.queue.is_alive(entry.runner)
        if entry.expires_at <= clock.now():
            return True
        if offered or self._is_waiting_for_outputs(entry):
            return False
        # Queued without a marker: somebody may be between the two steps, so look twice before it counts as lost.
        self._unoffered.add(entry.run_id)
        return was_unoffered

    def _is_waiting_for_outputs(self, entry: ActiveRun) -> bool:
        try:
            return self._store.thread(entry.project, entry.thread_id).run_status(entry.run_id) == "requires_action"
        except NotFound:
            return False

    async def _finish(self) -> None:
        """Let what is being worked on come to an end."""
        working = list(self._working.values())
        if working:
            await asyncio.wait(working, timeout=GRACE_SECONDS)
        self._stopping.now.set()
        if working:
            await asyncio.wait(working)
