"""One thing done to the disk, and who may have a say in it.

An operation is data and the doing of it a function, so that an observer can do it, do half of it, do it and
then raise, or keep it: failing, crashing and recording need no file layers of their own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import attrs

__all__ = ["Layer", "Name", "Observer", "Operation"]

T = TypeVar("T")

Layer = Literal["files", "sqlite"]
"""Who does it: `agora.seam.Files`, or SQLite through its VFS."""
Name = Literal[
    "open",
    "create",
    "write",
    "truncate",
    "fsync",
    "sync_directory",
    "replace",
    "copy",
    "unlink",
    "make_directory",
    "remove_directory",
    "remove_tree",
]
"""`open`: of a file that is there; `create`: of one that isn't, or that is emptied by it."""


@attrs.frozen(kw_only=True)
class Operation:
    """What is to be done. Which fields mean something follows from the name."""

    name: Name
    layer: Layer = "files"
    path: Path
    """Absolute. Temporary files of SQLite have a name of their own below `/(temporary)`."""
    file: int = 0
    """Number of the open file, from 1, that `open` and `create` begin, and `write`, `truncate` and `fsync` act on."""
    target: Path | None = None
    """Of `replace` and `copy`."""
    data: bytes = attrs.field(default=b"", repr=False)
    """Of `write` and `copy`."""
    offset: int = 0
    """Of `write`: where it begins."""
    size: int = 0
    """Of `truncate`."""
    durable: bool = False
    """The operation makes the directory's entries durable too (SQLite's journals)."""

    @property
    def takes_space(self) -> bool:
        """Whether a full disk can refuse it."""
        return self.name in {"create", "write", "copy", "make_directory"}

    def __str__(self) -> str:
        more = {
            "write": f" of {len(self.data)} bytes at {self.offset}",
            "truncate": f" to {self.size} bytes",
            "replace": f" to {self.target}",
            "copy": f" to {self.target}",
        }
        return f"{self.name}{more.get(self.name, '')}: {self.path}"


class Observer(Protocol):
    """Sees every operation."""

    def perform(self, operation: Operation, act: Callable[[Operation], T]) -> T:
        """Do the operation by `act(operation)`, or not at all; or raise. A write may be done in part, or in parts.

        Called in whatever thread does the operation.
        """
        ...
