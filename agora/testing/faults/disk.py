"""What a disk holds after a loss of power: a directory and what operations did to it.

What is kept of a file and of a directory is the business of their nodes; here is only which of them an operation
means.
"""

import shutil
from pathlib import Path

import attrs

from agora.testing.faults.nodes import DirectoryNode, FileNode, Loss, Node, Tree, planted, survivors
from agora.testing.faults.operations import Operation

__all__ = ["Disk", "write_tree"]


@attrs.define(eq=False)
class Disk:
    """A directory, `root`, on a disk; `apply` operations to it, in order, those elsewhere are none of it."""

    root: Path
    """Absolute."""
    _top: DirectoryNode = attrs.field(factory=DirectoryNode)
    _open: dict[int, tuple[FileNode, DirectoryNode]] = attrs.field(factory=dict, init=False)

    @classmethod
    def of(cls, root: Path, tree: Tree) -> "Disk":
        """With what is in the tree, all of it durable."""
        return cls(root, planted(tree))

    def apply(self, operation: Operation) -> None:
        """`LookupError` where a file is used that no operation has made: it was made past the observer."""
        inside = [path for path in (operation.path, operation.target) if path and self._covers(path)]
        if not inside and operation.file not in self._open:
            return
        match operation.name:
            case "open" | "create":
                self._begin(operation)
            case "write":
                self._opened(operation)[0].write(operation.offset, operation.data)
            case "truncate":
                self._opened(operation)[0].truncate(operation.size)
            case "fsync":
                file, directory = self._opened(operation)
                file.sync()
                if operation.durable:
                    directory.sync()
            case "sync_directory":
                self._directory(operation.path).sync()
            case "copy":
                assert operation.target is not None
                self._make(operation.target).write(0, operation.data)
            case "replace":
                self._replace(operation)
            case "unlink" | "remove_directory" | "remove_tree":
                self._remove(operation)
            case "make_directory":
                self._make_directories(operation.path)

    def after(self, loss: Loss) -> Tree:
        """What is found when the power is back."""
        return survivors(self._top, loss)

    # --- operations ---

    def _begin(self, operation: Operation) -> None:
        parent = self._directory(operation.path.parent)
        file = (self._make if operation.name == "create" else self._file)(operation.path)
        self._open[operation.file] = file, parent

    def _opened(self, operation: Operation) -> tuple[FileNode, DirectoryNode]:
        if operation.file not in self._open:  # it was opened before anybody looked
            self._begin(operation)
        return self._open[operation.file]

    def _make(self, path: Path) -> FileNode:
        """A new file, or the one that is there, emptied."""
        parent = self._directory(path.parent)
        there = parent.now.get(path.name)
        if isinstance(there, FileNode):
            there.truncate(0)
            return there
        made = FileNode()
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
                directory.change({name: DirectoryNode()})
            directory = _as_directory(directory.now[name], path)

    # --- looking up ---

    def _covers(self, path: Path) -> bool:
        return path.is_relative_to(self.root)

    def _directory(self, path: Path) -> DirectoryNode:
        directory = self._top
        for name in path.relative_to(self.root).parts if path.is_relative_to(self.root) else ():
            directory = _as_directory(directory.now.get(name), path)
        return directory

    def _file(self, path: Path) -> FileNode:
        found = self._directory(path.parent).now.get(path.name)
        if isinstance(found, FileNode):
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


def _as_directory(node: Node | None, path: Path) -> DirectoryNode:
    if isinstance(node, DirectoryNode):
        return node
    raise LookupError(f"{path} was made, or removed, past the observer")
