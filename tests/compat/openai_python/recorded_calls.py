"""Notes which of the SDK's methods the programs call themselves, as against those that the SDK calls on their behalf."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import openai

#: `AsyncRuns.with_raw_response.create` and the like.
called: set[str] = set()

_PREFIXES = {"_legacy_response.py": "with_raw_response.", "_response.py": "with_streaming_response."}


def resources() -> Iterator[Any]:
    """assistants, threads, messages, runs and steps, of the sync and of the async client."""
    for client in (openai.OpenAI(api_key="unused"), openai.AsyncOpenAI(api_key="unused")):
        yield client.beta.assistants
        yield client.beta.threads
        yield client.beta.threads.messages
        yield client.beta.threads.runs
        yield client.beta.threads.runs.steps


def offered() -> set[str]:
    """Every method there is, in the three forms in which the SDK has it."""
    found = set()
    for resource in resources():
        kind = type(resource).__name__
        found |= {f"{kind}.{name}" for name in _methods(type(resource))}
        for form in _PREFIXES.values():
            wrapped = getattr(resource, form.removesuffix("."))
            found |= {f"{kind}.{form}{name}" for name, value in vars(wrapped).items() if callable(value) and not name.startswith("_")}
    return found


def record_from(folder: str) -> None:
    """From now on, calls that come out of files in `folder` are in `called`. The raw forms count by the SDK's file that makes the call."""
    for resource in resources():
        kind = type(resource)
        for name in _methods(kind):
            setattr(kind, name, _recording(kind.__name__, name, vars(kind)[name], folder))


def _recording(kind: str, name: str, method: Callable[..., Any], folder: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def recorded(*args: Any, **options: Any) -> Any:
        caller = sys._getframe(1).f_code.co_filename
        if caller.startswith(folder):
            called.add(f"{kind}.{name}")
        for file, form in _PREFIXES.items():
            if caller.endswith(f"openai/{file}"):
                called.add(f"{kind}.{form}{name}")
        return method(*args, **options)

    return recorded


def _methods(kind: type) -> list[str]:
    return [name for name, value in vars(kind).items() if inspect.isfunction(value) and not name.startswith("_")]
