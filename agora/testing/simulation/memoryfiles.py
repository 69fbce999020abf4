"""`agora.seam.Files` in memory, with the errors of an operating system and a disk that can lose power.

There are no links, no permissions and no other file systems. What each call does and raises is held against a real
directory by a property test.
"""

import contextlib
import errno
import glob
import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from agora import seam
from agora.sources.paths import match, split
from agora.testing.faults.nodes import DirectoryNode, FileNode, Loss, Node, Tree, planted, survivors
from agora.testing.simulation.handles import MemoryHandle

__all__ = ["MemoryFiles"]


class MemoryFiles(seam.Files):
    """Everything below `root`, which is the working directory of this process by default; nothing else exists, the
    directories above it aside. What is in `tree` is durable."""

    def __init__(self, tree: Tree | None = None, *, root: Path | None = None) -> None:
        self.root = Path(os.path.abspath(root or Path.cwd()))
        self._top = planted({} if tree is None else tree)
        self._base: DirectoryNode = self._top
        for name in reversed(self.root.parts[1:]):
            self._base = DirectoryNode({name: self._base}, {name: self._base})
        self._handles: weakref.WeakSet[MemoryHandle] = weakref.WeakSet()

    def after(self, loss: Loss) -> Tree:
        """What is found after the power failed just now: what was fsynced, and of the rest what `loss` says."""
        return survivors(self._top, loss)

    def tree(self) -> Tree:
        """What is there now."""
        return dict(_walk(self._top, Path()))

    @property
    def still_open(self) -> list[str]:
        """Names of the files that are open."""
        return sorted(handle.name for handle in self._handles if not handle.closed)

    # --- agora.seam.Files ---

    def open(self, path: Path, mode: str) -> IO[bytes]:
        parent, name, node = self._find(path)
        if isinstance(node, DirectoryNode):
            raise _error(errno.EEXIST if mode[0] == "x" else errno.EISDIR, path)
        if node is None:
            if mode[0] == "r":
                raise _error(errno.ENOENT, path)
            node = FileNode()
            parent.change({name: node})
        elif mode[0] == "x":
            raise _error(errno.EEXIST, path)
        elif mode[0] == "w" and node.now:
            node.truncate(0)
        handle = MemoryHandle(node, str(path), mode)
        self._handles.add(handle)
        return cast("IO[bytes]", handle)

    def fsync(self, handle: IO[bytes]) -> None:
        _node_of(handle).sync()

    def sync_directory(self, path: Path) -> None:
        self._directory(path).sync()

    def replace(self, source: Path, target: Path) -> None:
        try:
            before, old, moved = self._find(source)
            parent, name, there = self._find(target)
        except OSError as error:
            raise _error(error.errno or 0, source, target) from None
        if there is moved is not None:
            return
        code = _refusal(moved, there, _absolute(source), _absolute(target))
        if code is not None:
            raise _error(code, source, target)
        if before is parent:
            parent.change({old: None, name: moved})
        else:
            parent.change({name: moved})
            before.change({old: None})

    def copy(self, source: Path, target: Path) -> None:
        found = self._look(source)
        if found is not None and found is self._look(target):
            raise shutil.SameFileError(f"{source!r} and {target!r} are the same file")
        with self.open(source, "rb") as old, self.open(target, "w+b") as new:
            self.write(new, bytes(_node_of(old).now))

    def unlink(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            parent, name, node = self._find(path)
            if isinstance(node, DirectoryNode):
                raise _error(errno.EISDIR, path)
            if node is not None:
                parent.change({name: None})

    def make_directory(self, path: Path) -> None:
        directory = self._base
        names = _absolute(path).parts[1:]
        for number, name in enumerate(names, 1):
            node = directory.now.get(name)
            if node is None:
                node = DirectoryNode()
                directory.change({name: node})
            elif isinstance(node, FileNode):
                raise _error(errno.EEXIST if number == len(names) else errno.ENOTDIR, path)
            directory = node

    def remove_directory(self, path: Path) -> None:
        parent, name, node = self._find(path)
        if not isinstance(node, DirectoryNode):
            raise _error(errno.ENOENT if node is None else errno.ENOTDIR, path)
        if node.now:
            raise _error(errno.ENOTEMPTY, path)
        parent.change({name: None})

    def remove_tree(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            parent, name, node = self._find(path)
            if isinstance(node, DirectoryNode):
                parent.change({name: None})

    def exists(self, path: Path) -> bool:
        return self._look(path) is not None

    def is_taken(self, path: Path) -> bool:
        return self.exists(path)

    def is_directory(self, path: Path) -> bool:
        return isinstance(self._look(path), DirectoryNode)

    def status(self, path: Path) -> seam.Status:
        _, _, node = self._find(path)
        if node is None:
            raise _error(errno.ENOENT, path)
        return _status(node)

    def status_of(self, handle: IO[bytes]) -> seam.Status:
        return _status(_node_of(handle))

    def names(self, path: Path) -> list[str]:
        return list(self._directory(path).now)

    def matches(self, pattern: str) -> list[str]:
        if not glob.has_magic(pattern):
            return [pattern] if isinstance(self._look(Path(pattern)), FileNode) else []
        fixed, magic = split(pattern)
        top = self._look(fixed)
        if not isinstance(top, DirectoryNode):
            return []
        files = (path for path, content in _walk(top, Path()) if content is not None)
        return [str(fixed / path) for path in files if match(path.parts, magic)]

    def real(self, path: Path) -> Path:
        return _absolute(path)

    # --- looking up ---

    def _find(self, path: Path) -> tuple[DirectoryNode, str, Node | None]:
        """The directory that the path is in, its name there, what that stands for; `OSError` where there can't be
        anything."""
        parts = _absolute(path).parts[1:]
        if not parts:
            return self._base, "", self._base
        directory = self._base
        for name in parts[:-1]:
            node = directory.now.get(name)
            if not isinstance(node, DirectoryNode):
                raise _error(errno.ENOENT if node is None else errno.ENOTDIR, path)
            directory = node
        return directory, parts[-1], directory.now.get(parts[-1])

    def _look(self, path: Path) -> Node | None:
        try:
            return self._find(path)[2]
        except OSError:
            return None

    def _directory(self, path: Path) -> DirectoryNode:
        _, _, node = self._find(path)
        if not isinstance(node, DirectoryNode):
            raise _error(errno.ENOENT if node is None else errno.ENOTDIR, path)
        return node


def _refusal(moved: Node | None, there: Node | None, source: Path, target: Path) -> int | None:
    """Why a rename can't be."""
    if moved is None:
        return errno.ENOENT
    if target.is_relative_to(source):
        return errno.EINVAL
    if source.is_relative_to(target):
        return errno.ENOTEMPTY
    if isinstance(there, DirectoryNode):
        if isinstance(moved, FileNode):
            return errno.EISDIR
        return errno.ENOTEMPTY if there.now else None
    return errno.ENOTDIR if there is not None and isinstance(moved, DirectoryNode) else None


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _node_of(handle: IO[bytes]) -> FileNode:
    assert isinstance(handle, MemoryHandle), "opened past the files in memory"
    if handle.closed:
        raise ValueError("I/O operation on closed file")
    return handle.node


def _status(node: Node) -> seam.Status:
    return seam.Status(len(node.now) if isinstance(node, FileNode) else 0, (0, node.number))


def _walk(directory: DirectoryNode, path: Path) -> Iterator[tuple[Path, bytes | None]]:
    for name, node in sorted(directory.now.items()):
        if isinstance(node, FileNode):
            yield path / name, bytes(node.now)
        else:
            yield path / name, None
            yield from _walk(node, path / name)


def _error(code: int, path: Path, target: Path | None = None) -> OSError:
    if target is None:
        return OSError(code, os.strerror(code), str(path))
    return OSError(code, os.strerror(code), str(path), None, str(target))
