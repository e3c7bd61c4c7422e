"""Schemas as somebody writes them who wants the engine dead: what grammars multiply, repeat and follow, more of it than is good.

They come from a seed, so that one which does harm can be made again.
"""

from __future__ import annotations

import random
from typing import Any

_LETTERS = ["!", "a", '"', "\\", "\n", "é", "漢", "😀", " ", "-", "/", "]", "^", "\x00", "%"]
_ATOMS = ["a", ".", "[a-z]", "(a|b)", "(a|aa)", r"\d", "(ab?)", "[^\\]]", "(?:x)", "é", '"']
_QUANTIFIERS = ["*", "+", "?", "{3}", "{2,}", "{0,50}", "{99}", "{1000}", "{1,1999}", "{9999999999}", "", ""]


def hostile_schema(seed: int) -> Any:
    """A schema. Most are too much for the embedded engine, some only nearly."""
    return _Writer(random.Random(seed)).schema(6) if seed % 4 else _Writer(random.Random(seed)).around()


class _Writer:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._scale = chance.choice([3, 20, 200, 1000])
        #: Schemas still to be written, one in another.
        self._left = 60

    def around(self) -> dict[str, Any]:
        """Definitions that refer to one another."""
        count = self._count(60)
        definitions: dict[str, Any] = {}
        for number in range(count):
            to = self._chance.choice([number + 1, number + 1, self._chance.randrange(count)])
            reference = {"$ref": f"#/$defs/d{min(to, count - 1)}"}
            how = self._chance.choice(["anyOf", "allOf", "oneOf", "properties", "items", "ref"])
            parts = [reference] * self._chance.choice([1, 2, 5])
            definitions[f"d{number}"] = {
                "properties": {"properties": {"next": reference}},
                "items": {"type": "array", "items": reference, "maxItems": self._count()},
                "ref": reference,
            }.get(how, {how: [*parts, self.schema(0)]})
        return {**self._chance.choice([{"$ref": "#/$defs/d0"}, {"allOf": [{"$ref": "#/$defs/d0"}]}]), "$defs": definitions}

    def schema(self, levels: int) -> dict[str, Any]:
        kinds = [self._string, self._values, self._number]
        self._left -= 1
        if levels > 0 and self._left > 0:
            kinds += [self._object, self._list, self._several, self._types] * 2
        return self._chance.choice(kinds)(levels - 1)

    def _count(self, most: int = 3000) -> int:
        return min(most, 1 + int(self._chance.expovariate(1 / self._scale)))

    def _name(self) -> str:
        return self._chance.choice(_LETTERS) * self._chance.choice([1, 5, 200, 256, self._count(100_000)]) + str(self._chance.random())

    def _string(self, _levels: int) -> dict[str, Any]:
        bounds = {
            key: self._chance.choice([self._count(), 1999, 10**9, -1]) for key in ("minLength", "maxLength") if self._chance.random() < 0.4
        }
        pattern = "".join(self._chance.choice(_ATOMS) + self._chance.choice(_QUANTIFIERS) for _ in range(self._count(300)))
        if self._chance.random() < 0.3:
            pattern = f"({pattern}){self._chance.choice(_QUANTIFIERS)}"
        chosen = self._chance.choice(
            [{}, {"pattern": f"^{pattern}$"}, {"pattern": pattern}, {"format": self._chance.choice(["date", "uuid", "x"])}]
        )
        return {"type": "string", **bounds, **chosen}

    def _values(self, _levels: int) -> dict[str, Any]:
        if self._chance.random() < 0.2:
            return {"const": self._chance.choice([self._name(), [1] * self._count(), {self._name(): None}])}
        name = self._name()[: self._chance.choice([4, 40])]
        return {"enum": [f"{name}{number}" for number in range(self._count())]}

    def _number(self, _levels: int) -> dict[str, Any]:
        bounds = {key: self._chance.choice([0, -1, 1.5, 10 ** self._chance.randrange(25), -(2**63)]) for key in ("minimum", "maximum")}
        return {"type": self._chance.choice(["integer", "number", "boolean", "null"]), **bounds}

    def _object(self, levels: int) -> dict[str, Any]:
        few = [self._name() if number < 2 else f"p{number}" for number in range(self._count(4000))]
        inner = self._string(0)
        properties = {name: inner if number else self.schema(levels) for number, name in enumerate(few)}
        required = few if self._chance.random() < 0.5 else few[: len(few) // 2]
        more = self._chance.choice(
            [{}, {"additionalProperties": False}, {"additionalProperties": True}, {"additionalProperties": {"type": "string"}}]
        )
        return {"type": "object", "properties": properties, "required": required, **more}

    def _list(self, levels: int) -> dict[str, Any]:
        bounds = {key: self._count() for key in ("minItems", "maxItems") if self._chance.random() < 0.5}
        items = self._chance.choice([self.schema(levels), [self._string(0)] * self._count(200)])
        return {"type": "array", "items": items, **bounds}

    def _several(self, levels: int) -> dict[str, Any]:
        return {self._chance.choice(["anyOf", "oneOf", "allOf"]): [self.schema(levels) for _ in range(self._count(6))]}

    def _types(self, levels: int) -> dict[str, Any]:
        kinds = [self._chance.choice(["array", "string", "null", "object"]) for _ in range(self._count(8))]
        return {"type": kinds, "items": self.schema(levels)}
