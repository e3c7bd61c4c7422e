"""A real embedded engine outlives its callers' schemas: what would kill it never comes to it, and what comes is done soon."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from embedded_process import HELLO, EmbeddedEngine, embedded_engine
from hostile_schemas import hostile_schema

from oxillama.engine.chat_completions import connect
from oxillama.engine.interface import ChatRequest, Finished
from oxillama.errors import EngineError, EngineRefused, InvalidRequest
from oxillama.web import embedded_bodies

#: How many are tried: some by `make test`, 200 by `make test-generated`.
SCHEMAS = int(os.environ.get("HOSTILE_SCHEMAS", "40"))
MESSAGES = [{"role": "user", "content": "Hello"}]

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    with embedded_engine(tmp_path_factory.mktemp("hostile")) as engine:
        yield engine


def as_function(schema: Any) -> ChatRequest:
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    return ChatRequest("m", MESSAGES, tools=[tool], tool_choice="required", max_tokens=3)


def as_format(schema: Any) -> ChatRequest:
    return ChatRequest("m", MESSAGES, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, max_tokens=3)


def answer(engine: EmbeddedEngine, request: ChatRequest) -> Finished:
    async def run() -> Finished:
        client = connect(engine.settings)
        try:
            async with aclosing(client.stream(request)) as stream:
                last = [delta async for delta in stream][-1]
                assert isinstance(last, Finished)
                return last
        finally:
            await client.close()

    return asyncio.run(run())


KILLERS = {
    "a long name": {"type": "object", "properties": {"!" * 100_000: {"type": "string"}}},
    "a long reference": {"$ref": "#/" + "a" * 150_000},
    "a long enum": {"enum": [str(number) for number in range(20_000)]},
    "a ring": {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "nothing, repeated": {"type": "string", "pattern": "^((a?){99}){99}$"},
}


@pytest.mark.parametrize("make", [as_function, as_format])
@pytest.mark.parametrize("case", KILLERS)
def test_what_would_kill_it_is_refused_in_words_for_the_caller(engine: EmbeddedEngine, case: str, make: Any):
    with pytest.raises(
        EngineRefused,
        match=r"^The embedded engine cannot use the (parameters of the function 'look'|JSON schema of .*): the schema has ",
    ) as raised:
        answer(engine, make(KILLERS[case]))
    assert len(raised.value.message) < 300


@pytest.mark.parametrize("make", [as_function, as_format])
@pytest.mark.parametrize("seed", range(SCHEMAS))
def test_any_schema_is_refused_or_answered_soon(engine: EmbeddedEngine, seed: int, make: Any):
    begun = time.monotonic()
    try:
        answer(engine, make(hostile_schema(seed)))
    except EngineError as error:
        assert isinstance(error, EngineRefused), error
    took = time.monotonic() - begun
    assert engine.process.poll() is None
    # Three tokens, on processors that do other things too. The watch would wait for 25 s.
    assert took < 20
    assert engine.chat(HELLO) == 200


def hostile_body(seed: int) -> dict[str, Any]:
    """A completion with a few of llama.cpp's fields, in amounts that nobody needs."""
    chance = random.Random(seed)
    amounts = [0, -1, 1, 20, 64, 1e-9, 2**31 - 1, -(2**31), 2**62, 1e300, True, "x" * 1000, [], ["x"] * 1000, {}, [[1, 2]], {"1": 1e30}]
    names = "n n_predict max_tokens temperature top_k top_p min_p typical_p repeat_penalty repeat_last_n presence_penalty seed stop echo"
    others = "logit_bias logprobs top_logprobs n_probs dry_penalty_last_n mirostat grammar samplers id_slot lora stream cache_prompt suffix"
    fields = {chance.choice(f"{names} {others}".split()): chance.choice(amounts) for _ in range(chance.randrange(1, 4))}
    return {**HELLO, **fields}


@pytest.mark.parametrize("seed", range(SCHEMAS))
def test_any_body_is_refused_or_answered_soon(engine: EmbeddedEngine, seed: int):
    body = hostile_body(seed)
    try:
        embedded_bodies.check(body)
    except InvalidRequest:
        return
    begun = time.monotonic()
    engine.chat({"max_tokens": 3, **body} if body.get("n_predict", -1) == -1 else body)
    assert time.monotonic() - begun < 20
    assert engine.process.poll() is None
    assert engine.chat(HELLO) == 200
