"""What is remembered about texts of callers does not grow without end."""

from __future__ import annotations

import asyncio

from oxillama.engine.dialect import Dialect, ModelDialect
from oxillama.engine.models import ModelChoice
from oxillama.recent import Recent


def test_what_was_set_longest_ago_goes_first() -> None:
    recent: Recent[str, int] = Recent(2)
    recent["a"], recent["b"], recent["a"], recent["c"] = 1, 2, 3, 4
    assert dict(recent) == {"a": 3, "c": 4}


def test_a_stranger_with_many_models_is_forgotten() -> None:
    async def models() -> object:
        return {"data": [{"id": "served"}]}

    async def run() -> int:
        choice = ModelChoice({}, models)
        for number in range(3000):
            assert await choice.instead(f"model-{number}", f"model-{number}") == "served"
        assert choice.served("model-2999") == "served"
        return sum(choice.served(f"model-{number}") == "served" for number in range(3000))

    assert asyncio.run(run()) == 1000


def test_an_engines_model_has_a_name_of_bounded_length() -> None:
    async def models() -> object:
        return {"data": [{"id": "m" * 257}, {"id": "m" * 256}]}

    assert asyncio.run(ModelChoice({}, models).instead("a", "a")) == "m" * 256


def test_what_models_do_not_take_is_remembered_of_so_many() -> None:
    dialect = Dialect()
    for number in range(3000):
        dialect.remember(f"model-{number}", ModelDialect(takes_tools=False))
    assert sum(not dialect.of(f"model-{number}").takes_tools for number in range(3000)) == 1000
