"""One claimed run, from its claim until it is over, waits for tool outputs, or is somebody else's."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from oxillama import clock
from oxillama.engine.interface import Engine
from oxillama.errors import ClaimLost, EngineError, EngineRefused, OxillamaError, StoreFull, StoreUnavailable
from oxillama.lifecycle.claim import Claim
from oxillama.lifecycle.recovery import DIED
from oxillama.runner.turn import Turn, blocking

log = logging.getLogger(__name__)

#: How often a run is asked whether it is still wanted. A cancelled one must end within a second, token or no token.
WATCH_SECONDS = 0.2

_OUR_FAULT = {"code": "server_error", "message": "The server had an error while it worked on this run."}


class Stopping:
    """Whether this runner is about to end: first it lets go of what has not begun, later of everything."""

    def __init__(self) -> None:
        self.soon = asyncio.Event()
        self.now = asyncio.Event()


async def execute(claim: Claim, engine: Engine, stopping: Stopping) -> None:
    """Work on a claimed run until there is nothing more to do for this runner.

    Raises:
        StoreError: the end of the run could not be written; it is left to recovery.
    """
    run_id = claim.run["id"]
    turn = asyncio.create_task(Turn(claim, engine).run(), name=run_id)
    try:
        while not turn.done():
            await asyncio.wait({turn}, timeout=WATCH_SECONDS)
            if turn.done():
                break
            if not await blocking(claim.is_wanted):
                await _abort(turn)
                await blocking(claim.settle)
            elif claim.run["expires_at"] <= clock.now():
                await _abort(turn)
                await blocking(claim.stop, "expired")
            elif stopping.now.is_set() or (stopping.soon.is_set() and not claim.has_streamed):
                await _abort(turn)
                await _let_go(claim)
        if not turn.cancelled():
            turn.result()
    except ClaimLost:
        await blocking(claim.settle)
    except EngineError as error:
        await _engine_failed(claim, error, stopping)
    except (StoreFull, StoreUnavailable) as error:
        # The disk may not take the run's end either. Recovery goes on from what is stored, as soon as it can.
        log.error("run %s: %s", run_id, error)
    except Exception:
        log.exception("run %s failed", run_id)
        # When not even that can be written, recovery ends the run later.
        with contextlib.suppress(OxillamaError):
            await blocking(claim.stop, "failed", last_error=_OUR_FAULT)
    finally:
        await _abort(turn)
        claim.close()


async def _engine_failed(claim: Claim, error: EngineError, stopping: Stopping) -> None:
    # An engine that refuses a request may quote it, and nothing of a thread belongs in a log.
    log.warning("run %s: %s", claim.run["id"], type(error).__name__ if isinstance(error, EngineRefused) else error)
    try:
        if stopping.soon.is_set():
            # The engine was told to stop with us.
            await _let_go(claim)
        else:
            await blocking(claim.stop, "failed", last_error={"code": error.code, "message": error.message})
    except ClaimLost:
        await blocking(claim.settle)


async def _let_go(claim: Claim) -> None:
    """Leave a run to the next runner if nothing of this turn was streamed; else it must fail, for it cannot be told twice."""
    if claim.has_streamed:
        await blocking(claim.stop, "failed", last_error=DIED)
    else:
        await blocking(claim.release)


async def _abort(turn: asyncio.Task[None]) -> None:
    """End a turn, and its connection to the engine with it."""
    turn.cancel()
    await asyncio.wait({turn})
    if not turn.cancelled():
        turn.exception()
