"""Waiting for a descriptor. Not `select`, which fails for numbers from 1,024 on, and a long run of tests gets there."""

from __future__ import annotations

import select
import socket


def is_readable(source: int | socket.socket, seconds: float) -> bool:
    """Whether there is something to read, or an end, within so many seconds."""
    waiting = select.poll()
    waiting.register(source, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))
