"""What a disk holds after a loss of power: a pure model of files, directories and what was made durable.

The content of a file and the names in a directory are separate: an fsync of a file keeps its content, an fsync
of a directory its names, and neither the other. That is what POSIX promises; real file systems keep more,
which is nothing to rely on.
"""

import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import attrs

from agora.testing.faults.operations import Operation

__all__ = ["Disk", "Loss", "Tree", "write_tree"]

Tree: TypeAlias = Mapping[Path, bytes | None]
"""Content by path, relative to the root; `None` for a directory."""

_SECTOR = 512
"""Bytes; a write is torn between two of them."""


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


@attrs.define(eq=False)
class _File:
    durable: bytes = b""
    pending: list[_Write | int] = attrs.field(factory=list)
    """Since the last fsync; a number is a size that the file was cut or extended to."""

    def sync(self) -> None:
        self.durable = _changed(self.durable, self.pending)
        self.pending = []

    def survivor(self, chance: random.Random, loss: Loss) -> bytes:
        share = _share(chance, loss)
        kept: list[_Write | int] = []
        for change in self.pending:
            if chance.random() < share:
                kept.append(change)
            elif loss.kept is None and isinstance(change, _Write) and chance.random() < share / 2:
                kept.append(_torn(change, chance))
        return _changed(self.durable, kept)


@attrs.define(eq=False)
class _Directory:
    durable: "dict[str, _Node]" = attrs.field(factory=dict)
    now: "dict[str, _Node]" = attrs.field(factory=dict)
    pending: "list[dict[str, _Node | None]]" = attrs.field(factory=list)
    """Each of one operation: names and what they came to stand for."""

    def change(self, names: "dict[str, _Node | None]") -> None:
        _apply(self.now, names)
        self.pending.append(names)

    def sync(self) -> None:
        self.durable, self.pending = dict(self.now), []

    def survivors(self, chance: random.Random, loss: Loss) -> "dict[str, _Node]":
        share = _share(chance, loss)
        names = dict(self.durable)
        for change in self.pending:
            if chance.random() < share:
                _apply(names, change)
        return names


_Node: TypeAlias = _File | _Directory


@attrs.define(eq=False)
class Disk:
    """A directory, `root`, on a disk; `apply` operations to it, in order, those elsewhere are none of it."""

    root: Path
    """Absolute."""
    _top: _Directory = attrs.field(factory=_Directory, init=False)
    _open: dict[int, tuple[_File, _Directory]] = attrs.field(factory=dict, init=False)

    @classmethod
    def of(cls, root: Path, tree: Tree) -> "Disk":
        """With what is in the tree, all of it durable."""
        disk = cls(root)
        for path in sorted(tree):
            content = tree[path]
            parent = disk._directory(root / path.parent)
            parent.now[path.name] = _Directory() if content is None else _File(content)
            parent.sync()
        return disk

    def apply(self, operation: Operation) -> None:
        """`LookupError` where a file is used that no operation has made: it was made past the observer."""
        inside = [path for path in (operation.path, operation.target) if path and self._covers(path)]
        if not inside and operation.file not in self._open:
            return
        match operation.name:
            case "open" | "create":
                self._begin(operation)
            case "write":
                self._opened(operation)[0].pending.append(_Write(operation.offset, operation.data))
            case "truncate":
                self._opened(operation)[0].pending.append(operation.size)
            case "fsync":
                file, directory = self._opened(operation)
                file.sync()
                if operation.durable:
                    directory.sync()
            case "sync_directory":
                self._directory(operation.path).sync()
            case "copy":
                assert operation.target is not None
                self._make(operation.target).pending.append(_Write(0, operation.data))
            case "replace":
                self._replace(operation)
            case "unlink" | "remove_directory" | "remove_tree":
                self._remove(operation)
            case "make_directory":
                self._make_directories(operation.path)

    def after(self, loss: Loss) -> Tree:
        """What is found when the power is back."""
        chance = random.Random(loss.seed)  # noqa: S311  - it has to be repeatable
        tree: dict[Path, bytes | None] = {}
        _collect(self._top, Path(), tree, chance, loss)
        return tree

    # --- operations ---

    def _begin(self, operation: Operation) -> None:
        parent = self._directory(operation.path.parent)
        file = (self._make if operation.name == "create" else self._file)(operation.path)
        self._open[operation.file] = file, parent

    def _opened(self, operation: Operation) -> tuple[_File, _Directory]:
        if operation.file not in self._open:  # it was opened before anybody looked
            self._begin(operation)
        return self._open[operation.file]

    def _make(self, path: Path) -> _File:
        """A new file, or the one that is there, emptied."""
        parent = self._directory(path.parent)
        there = parent.now.get(path.name)
        if isinstance(there, _File):
            there.pending.append(0)
            return there
        made = _File()
        parent.change({path.name: made})
        return made

    def _replace(self, operation: Operation) -> None:
        assert operation.target is not None
        source, target = self._directory(operation.path.parent), self._directory(operation.target.parent)
        moved = source.now[operation.path.name]
        if source is target:
            source.change({operation.path.name: None, operation.target.name: moved})
        else:
            target.change({operation.target.name: moved})
            source.change({operation.path.name: None})

    def _remove(self, operation: Operation) -> None:
        parent = self._directory(operation.path.parent)
        if operation.path.name in parent.now:
            parent.change({operation.path.name: None})
        if operation.durable:
            parent.sync()

    def _make_directories(self, path: Path) -> None:
        directory = self._top
        for name in path.relative_to(self.root).parts:
            if name not in directory.now:
                directory.change({name: _Directory()})
            directory = _as_directory(directory.now[name], path)

    # --- looking up ---

    def _covers(self, path: Path) -> bool:
        return path.is_relative_to(self.root)

    def _directory(self, path: Path) -> _Directory:
        directory = self._top
        for name in path.relative_to(self.root).parts if path.is_relative_to(self.root) else ():
            directory = _as_directory(directory.now.get(name), path)
        return directory

    def _file(self, path: Path) -> _File:
        found = self._directory(path.parent).now.get(path.name)
        if isinstance(found, _File):
            return found
        raise LookupError(f"{path} was made, or removed, past the observer")


def write_tree(tree: Tree, directory: Path) -> None:
    """Make the directory hold the tree and nothing else."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for path in sorted(tree):
        content = tree[path]
        if content is None:
            (directory / path).mkdir()
        else:
            (directory / path).write_bytes(content)


def _as_directory(node: _Node | None, path: Path) -> _Directory:
    if isinstance(node, _Directory):
        return node
    raise LookupError(f"{path} was made, or removed, past the observer")


def _apply(names: dict[str, _Node], change: Mapping[str, _Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _changed(content: bytes, changes: list[_Write | int]) -> bytes:
    if not changes:
        return content
    now = bytearray(content)
    for change in changes:
        if isinstance(change, int):
            now = now[:change] + bytes(max(0, change - len(now)))
        else:
            end = change.offset + len(change.data)
            now += bytes(max(0, end - len(now)))
            now[change.offset : end] = change.data
    return bytes(now)


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


def _collect(
    directory: _Directory, path: Path, tree: dict[Path, bytes | None], chance: random.Random, loss: Loss
) -> None:
    for name, node in sorted(directory.survivors(chance, loss).items()):
        if isinstance(node, _File):
            tree[path / name] = node.survivor(chance, loss)
        else:
            tree[path / name] = None
            _collect(node, path / name, tree, chance, loss)
