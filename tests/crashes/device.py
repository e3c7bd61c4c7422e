"""A device that loses its power. What a file holds is on it once the file was synced, and a name once its directory was.

All the rest may be there or not: each image that a cut may leave is made from what is on the device for certain and what may be.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.crashes.system_calls import SYNCS, Call

#: path -> content of a file; None for a directory
Image = dict[str, bytes | None]

#: Whether what was not synced of a file or directory is there after the cut, asked for each of them.
Fate = Callable[["Node"], bool]


class Node:
    """A file or directory: as processes see it, and as it is on the device."""

    def __init__(self, *, is_directory: bool) -> None:
        self.is_directory = is_directory
        self.names: dict[str, Node] = {}
        self.synced_names: dict[str, Node] = {}
        self.content = self.synced_content = b""

    def sync(self) -> None:
        self.synced_names, self.synced_content = dict(self.names), self.content


def nothing_survives(node: Node) -> bool:
    return False


def names_survive(node: Node) -> bool:
    return node.is_directory


def contents_survive(node: Node) -> bool:
    return not node.is_directory


def some_survive(seed: int) -> Fate:
    """Each file and each directory by the throw of a coin."""
    coin = random.Random(seed)
    thrown: dict[Node, bool] = {}
    return lambda node: thrown.setdefault(node, coin.random() < 0.5)


class Device:
    """Follows the calls of one process below `root`, an empty directory whose own name is safe."""

    def __init__(self, root: str, on_change: Callable[[], None]) -> None:
        self._root, self._on_change = root, on_change
        self._top = Node(is_directory=True)
        self._nodes = {os.stat(root).st_ino: self._top}

    def carry_out(self, call: Call, make: Callable[[], Any]) -> Any:
        path = call.path()
        if call.name in SYNCS:
            node, result = self._nodes[os.fstat(call.args[0]).st_ino], make()
            node.sync()
        elif call.name in ("write", "ftruncate"):
            node, result = self._nodes[os.fstat(call.args[0]).st_ino], make()
            with open(f"/proc/self/fd/{call.args[0]}", "rb") as file:
                node.content = file.read()
        elif call.name in ("unlink", "rmdir"):
            result = make()
            del self._names(path)[os.path.basename(path)]
        elif call.name == "rename":
            result, target = make(), call.path(1)
            self._names(target)[os.path.basename(target)] = self._names(path).pop(os.path.basename(path))
        else:
            is_new, result = os.path.basename(path) not in self._names(path), make()
            if is_new:
                node = Node(is_directory=call.name == "mkdir")
                self._names(path)[os.path.basename(path)] = self._nodes[os.stat(path).st_ino] = node
        self._on_change()
        return result

    def image(self, survives: Fate) -> Image:
        """What a cut leaves just now."""
        return dict(_walk(self._top, "", survives))

    def _names(self, path: str) -> dict[str, Node]:
        """The names in the directory that a path is in."""
        node = self._top
        for name in os.path.relpath(os.path.dirname(path), self._root).split(os.sep):
            node = node if name == "." else node.names[name]
        return node.names


def _walk(node: Node, path: str, survives: Fate) -> Iterator[tuple[str, bytes | None]]:
    for name, below in (node.names if survives(node) else node.synced_names).items():
        if below.is_directory:
            yield f"{path}{name}", None
            yield from _walk(below, f"{path}{name}/", survives)
        else:
            yield f"{path}{name}", below.content if survives(below) else below.synced_content


def restore(image: Image, root: Path) -> None:
    """Make an image into directories and files."""
    for path, content in image.items():
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)
