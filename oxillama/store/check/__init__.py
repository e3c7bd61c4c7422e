"""Check: reads a whole data directory and tells what is wrong with it. Changes nothing and takes no lock; a server may be running."""

from oxillama.store.check.directory import Check, check
from oxillama.store.check.findings import Problem

__all__ = ["Check", "Problem", "check"]
