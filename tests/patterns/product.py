"""Every regular expression of the product, and how each is used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.process_control import ROOT

_USES = frozenset({"search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer"})
#: These try every beginning in the text; the others try one.
_TRY_EVERY_BEGINNING = _USES - {"match", "fullmatch"}


@dataclass(frozen=True)
class Pattern:
    """One pattern.

    Attributes:
        where: file and line.
        text: str or bytes, as it stands in the source.
        flags: those of `re`.
        is_searched: whether a match may begin anywhere in the text, or only at its beginning.
    """

    where: str
    text: str | bytes
    flags: int
    is_searched: bool

    @property
    def compiled(self) -> re.Pattern[str] | re.Pattern[bytes]:
        return re.compile(self.text, self.flags)


def patterns() -> tuple[list[Pattern], list[str]]:
    """All patterns that stand in the source as they are, and the places where one is put together when the program runs."""
    found: list[Pattern] = []
    made: list[str] = []
    for path in sorted((ROOT / "oxillama").rglob("*.py")):
        for one in _of(path, ast.parse(path.read_text())):
            if isinstance(one, Pattern):
                found.append(one)
            else:
                made.append(one)
    return found, made


def _of(path: Path, tree: ast.Module) -> Iterator[Pattern | str]:
    methods = _methods(tree)
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    names = {id(node.value): target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)}
    relative = str(path.relative_to(ROOT))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg == "pattern" and isinstance(keyword.value, ast.Constant):
                # A field's, which must match its whole value.
                yield Pattern(f"{relative}:{node.lineno}", keyword.value.value, 0, is_searched=False)
        function = node.func
        if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "re"):
            continue
        if function.attr not in _USES | {"compile"}:
            continue
        text = node.args[0]
        if not isinstance(text, ast.Constant):
            yield f"{relative}: {ast.unparse(text)}"
            continue
        uses = {function.attr} if function.attr in _USES else methods.get(names.get(id(node), ""), {"search"})
        yield Pattern(f"{relative}:{node.lineno}", text.value, _flags(node), bool(uses & _TRY_EVERY_BEGINNING))


def _methods(tree: ast.Module) -> dict[str, set[str]]:
    """What is called on each name. One that is passed around may be searched for."""
    found: dict[str, set[str]] = {}
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in _USES:
            found.setdefault(node.value.id, set()).add(node.attr)
            called.add(id(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in called:
            found.setdefault(node.id, set()).add("search")
    return found


def _flags(call: ast.Call) -> int:
    behind = call.args[1:] if isinstance(call.func, ast.Attribute) and call.func.attr == "compile" else []
    flags = [*behind, *(keyword.value for keyword in call.keywords if keyword.arg == "flags")]
    return sum(int(getattr(re, node.attr)) for one in flags for node in ast.walk(one) if isinstance(node, ast.Attribute))
