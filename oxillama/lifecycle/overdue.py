"""Runs whose time is over, or that are cancelled, and whose runner does not see to it: anybody may end them.

The attempt's number makes it safe: a frozen runner that goes on finds that the run is not its own any more, and writes nothing.
"""

from __future__ import annotations

import logging

from oxillama import clock
from oxillama.errors import NotFound, OxillamaError
from oxillama.lifecycle.recovery import recover
from oxillama.store import Store
from oxillama.store.active_entries import ActiveEntries
from oxillama.store.pulses import Pulses
from oxillama.store.run_queue import ActiveRun

log = logging.getLogger(__name__)


def is_due(store: Store, entry: ActiveRun) -> bool:
    """Whether a run that is not terminal has to end now: it is expired or being cancelled."""
    if entry.expires_at <= clock.now():
        return True
    try:
        return store.thread(entry.project, entry.thread_id).run_status(entry.run_id) == "cancelling"
    except NotFound:
        return False


def settle_overdue(store: Store, entries: ActiveEntries, pulses: Pulses) -> None:
    """End the runs that are due and that no runner will end: theirs is frozen, or none moves at all.

    Costs a look at the folder of the runners while all is well.

    Args:
        store: where they are.
        entries: of its queue, kept from look to look.
        pulses: as just looked at.

    Raises:
        StoreError: the queue cannot be read.
    """
    frozen = set(pulses.frozen)
    if pulses.moving and not frozen:
        return
    for entry in entries.all():
        try:
            if not (entry.runner in frozen or not pulses.moving) or not is_due(store, entry):
                continue
            recover(store, entry, abandoned=entry.runner in frozen)
            if entry.runner in frozen:
                log.warning("run %s was taken away from runner %s, which does not move", entry.run_id, entry.runner)
        except OxillamaError as error:
            # One run that cannot be read must not keep the others. A runner tells of it in the log.
            log.debug("run %s cannot be looked after: %s", entry.run_id, error)
