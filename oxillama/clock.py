"""The time, in one replaceable place."""

import time


def now() -> int:
    """Whole seconds since 1970, the unit of every `…_at` field of the API."""
    return int(time.time())


def microseconds() -> int:
    """Microseconds since 1970, from which ids are made."""
    return time.time_ns() // 1000
