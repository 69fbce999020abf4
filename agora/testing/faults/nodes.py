"""Files and directories as a disk holds them: what is there now, and what of it is durable.

The content of a file and the names in a directory are separate: an fsync of a file keeps its content, an fsync
of a directory its names, and neither the other. That is what POSIX promises; real file systems keep more,
which is nothing to rely on.
"""

import itertools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import attrs

__all__ = ["DirectoryNode", "FileNode", "Loss", "Node", "Tree", "planted", "survivors"]

Tree: TypeAlias = Mapping[Path, bytes | None]
"""Content by path, relative to the root; `None` for a directory."""

_SECTOR = 512
"""Bytes; a write is torn between two of them."""
_numbers = itertools.count(1)


@attrs.frozen
class Loss:
    """What becomes of that which wasn't made durable. Equal losses of equal disks leave equal trees."""

    kept: float | None
    """The share that survives: 0, 1, or `None` for a random one, drawn for each file and each directory."""
    seed: int = 0

    @classmethod
    def total(cls) -> "Loss":
        """Nothing of it survives: as if the disk had written nothing that it wasn't made to."""
        return cls(0)

    @classmethod
    def none(cls) -> "Loss":
        """All of it survives: as after the end of the process alone."""
        return cls(1)

    @classmethod
    def random(cls, seed: int) -> "Loss":
        """A random part of it, in any order: writes whole, torn or not at all, names changed or not."""
        return cls(None, seed)


@attrs.frozen
class _Write:
    offset: int
    data: bytes

    def apply(self, content: bytearray) -> None:
        end = self.offset + len(self.data)
        content += bytes(max(0, end - len(content)))
        content[self.offset : end] = self.data


@attrs.frozen
class _Cut:
    size: int

    def apply(self, content: bytearray) -> None:
        content += bytes(max(0, self.size - len(content)))
        del content[self.size :]


@attrs.define(eq=False)
class FileNode:
    """A file's content, whatever names it has."""

    durable: bytes = b""
    now: bytearray = attrs.field(init=False)
    pending: list[_Write | _Cut] = attrs.field(factory=list, init=False)
    """Since the last fsync."""
    number: int = attrs.field(factory=_numbers.__next__, init=False)
    """What an inode is known by."""

    def __attrs_post_init__(self) -> None:
        self.now = bytearray(self.durable)

    def write(self, offset: int, data: bytes) -> None:
        self._change(_Write(offset, data))

    def truncate(self, size: int) -> None:
        """Cut, or extend with zeros."""
        self._change(_Cut(size))

    def sync(self) -> None:
        self.durable, self.pending = bytes(self.now), []

    def survivor(self, chance: random.Random, loss: Loss) -> bytes:
        """The content after a loss of power."""
        share = _share(chance, loss)
        content = bytearray(self.durable)
        for change in self.pending:
            if chance.random() < share:
                change.apply(content)
            elif loss.kept is None and isinstance(change, _Write) and chance.random() < share / 2:
                _torn(change, chance).apply(content)
        return bytes(content)

    def _change(self, change: _Write | _Cut) -> None:
        change.apply(self.now)
        self.pending.append(change)


@attrs.define(eq=False)
class DirectoryNode:
    """Names, and what they stand for."""

    durable: "dict[str, Node]" = attrs.field(factory=dict)
    now: "dict[str, Node]" = attrs.field(factory=dict)
    pending: "list[dict[str, Node | None]]" = attrs.field(factory=list)
    """Each of one operation: names and what they came to stand for."""
    number: int = attrs.field(factory=_numbers.__next__, init=False)

    def change(self, names: "dict[str, Node | None]") -> None:
        """One operation's changes: after a loss of power they are there together, or not at all."""
        _apply(self.now, names)
        self.pending.append(names)

    def sync(self) -> None:
        self.durable, self.pending = dict(self.now), []

    def survivors(self, chance: random.Random, loss: Loss) -> "dict[str, Node]":
        """The names after a loss of power."""
        share = _share(chance, loss)
        names = dict(self.durable)
        for change in self.pending:
            if chance.random() < share:
                _apply(names, change)
        return names


Node: TypeAlias = FileNode | DirectoryNode


def planted(tree: Tree) -> DirectoryNode:
    """A directory that holds the tree, all of it durable."""
    top = DirectoryNode()
    for path in sorted(tree):
        content, directory = tree[path], top
        for name in path.parent.parts:
            inner = directory.now[name]
            assert isinstance(inner, DirectoryNode)
            directory = inner
        directory.now[path.name] = DirectoryNode() if content is None else FileNode(content)
        directory.sync()
    return top


def survivors(top: DirectoryNode, loss: Loss) -> Tree:
    """What is found below the directory when the power is back."""
    return dict(_survivors(top, Path(), random.Random(loss.seed), loss))  # noqa: S311  - it has to be repeatable


def _survivors(
    directory: DirectoryNode, path: Path, chance: random.Random, loss: Loss
) -> Iterator[tuple[Path, bytes | None]]:
    for name, node in sorted(directory.survivors(chance, loss).items()):
        if isinstance(node, FileNode):
            yield path / name, node.survivor(chance, loss)
        else:
            yield path / name, None
            yield from _survivors(node, path / name, chance, loss)


def _apply(names: dict[str, Node], change: Mapping[str, Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _share(chance: random.Random, loss: Loss) -> float:
    return chance.choice((0.0, 0.5, 1.0)) if loss.kept is None else loss.kept


def _torn(write: _Write, chance: random.Random) -> _Write:
    """Its beginning or its end, cut at a sector of the disk."""
    first = -write.offset % _SECTOR
    borders = list(range(first, len(write.data) + 1, _SECTOR)) or [0]
    border = chance.choice(borders)
    if chance.random() < 0.5:
        return _Write(write.offset, write.data[:border])
    return _Write(write.offset + border, write.data[border:])
