"""How long an engine that cannot answer just now is waited for, as long as nothing of its answer was streamed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from oxillama.engine.faults import EngineResponseError
from oxillama.errors import EngineBrokenOff, EngineError, EngineHungUp, EngineUnreachable

logger = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.25
_MAX_PAUSE_SECONDS = 4.0
#: 529 is Anthropic's for an overload (platform.claude.com/docs, "Errors").
_NOT_READY = frozenset({429, 503, 529})


class Patience:
    """The waiting of one request. Its life begins when it is made.

    Args:
        ready_seconds: in all, for an engine that is loading (503) or limits its rate (429).
        restart_seconds: for one that nobody can connect to, from the request on or from when its connection broke.
    """

    def __init__(self, ready_seconds: float, restart_seconds: float) -> None:
        self._restart_seconds = restart_seconds
        self._ready_by = time.monotonic() + ready_seconds
        self._back_by = time.monotonic() + restart_seconds
        self._pauses = 0
        self._broke = False

    def pause(self, failure: EngineResponseError | EngineError) -> float | None:
        """Seconds until the engine should be asked again; None when it is not to be asked again."""
        now = time.monotonic()
        seconds = min(_FIRST_PAUSE_SECONDS * 2 ** min(self._pauses, 10), _MAX_PAUSE_SECONDS)
        if isinstance(failure, EngineResponseError):
            if failure.status not in _NOT_READY or "insufficient_quota" in failure.code:
                return None
            seconds, until = max(asked_to_wait(failure.headers) or seconds, _FIRST_PAUSE_SECONDS), self._ready_by
        elif isinstance(failure, EngineUnreachable):
            seconds, until = _FIRST_PAUSE_SECONDS, self._back_by
        elif isinstance(failure, EngineHungUp | EngineBrokenOff) and not self._broke:
            # Once more only: the request may be what the engine died of.
            self._broke, self._back_by = True, now + self._restart_seconds
            seconds, until = _FIRST_PAUSE_SECONDS, math.inf
        else:
            return None
        if now + seconds > until:
            return None
        if not self._pauses:
            reason = failure.status if isinstance(failure, EngineResponseError) else type(failure).__name__
            logger.info("The engine cannot answer now (%s): it is asked again in %.2f s.", reason, seconds)
        self._pauses += 1
        return seconds


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that the engine wants us to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date. None when it does not say."""
    for name, unit in (("retry-after-ms", 1000), ("Retry-After", 1)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return seconds if 0 < seconds < math.inf else None
    try:
        seconds = parsedate_to_datetime(headers.get("Retry-After", "")).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds > 0 else None
