"""All cases by name. Each is a function that takes the running Bench and yields figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.cases import reads
from bench.report import Figure
from bench.servers import Bench

Case = Callable[[Bench], Iterator[Figure]]

CASES: dict[str, Case] = {
    "get": reads.get_objects,
    "list": reads.list_messages,
}
