"""All cases by name. Each is a function that takes the running Bench and yields figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.cases import footprint, model, reads, runs, sizes, streams, writes
from bench.report import Figure
from bench.servers import Bench

Case = Callable[[Bench], Iterator[Figure]]

CASES: dict[str, Case] = {
    "get": reads.get_objects,
    "list": reads.list_messages,
    "message": writes.create_message_alone,
    "messages": writes.create_messages,
    "threads": writes.create_threads,
    "first-event": runs.first_event,
    "deltas": streams.deltas,
    "run-cpu": runs.processor_time,
    "runs": runs.throughput,
    "model": model.speed,
    "second-turn": model.second_turn,
    "readers": streams.readers,
    "many-threads": sizes.threads_on_disk,
    "many-runs": sizes.runs_and_steps,
    "memory": footprint.footprint,
}
