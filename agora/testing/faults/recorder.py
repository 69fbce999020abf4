"""Logs what a run does to the disk, and says what would be left of any moment of it after a loss of power."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import attrs

from agora.testing.faults.disk import Disk
from agora.testing.faults.nodes import Loss, Tree
from agora.testing.faults.operations import Operation
from agora.testing.faults.watched import observing

__all__ = ["DiskRecorder"]

T = TypeVar("T")


@attrs.define(eq=False)
class DiskRecorder:
    """A context manager: what is done below `root` in it is done, and logged with its data.

    What is below `root` when the block begins is taken for durable. Only what changes content or names is
    logged, and opening.
    """

    root: Path
    log: list[Operation] = attrs.field(factory=list, init=False)
    """Operations that succeeded, in order."""
    _before: Tree = attrs.field(factory=dict, init=False)
    _lock: threading.RLock = attrs.field(factory=threading.RLock, init=False)
    _stack: ExitStack = attrs.field(factory=ExitStack, init=False)

    def __enter__(self) -> Self:
        self.root = self.root.absolute()
        self._before = {
            path.relative_to(self.root): None if path.is_dir() else path.read_bytes()
            for path in self.root.rglob("*")
        }
        self._stack.enter_context(observing(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stack.close()

    def perform(self, operation: Operation, act: Callable[[Operation], T]) -> T:
        """Do it and log it."""
        with self._lock:
            result = act(operation)
            self.log.append(operation)
        return result

    def disk(self, operations: int | None = None) -> Disk:
        """The disk after so many operations of the log; all of them by default."""
        disk = Disk.of(self.root, self._before)
        for operation in self.log[:operations]:
            disk.apply(operation)
        return disk

    def after(self, operations: int, loss: Loss) -> Tree:
        """What is found when the power failed after so many operations of the log."""
        return self.disk(operations).after(loss)
