"""Fails the n-th operation on the disk, or call of a part, for any n, so that no place has to be picked by hand.

The operations of a run are counted first, by a `Failpoints` that fails nothing; then each of them is failed in
a run of its own. With everything else repeatable (a virtual clock, a seam whose ids and times are), the n-th
operation is the same one every time.
"""

import enum
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import apsw
import attrs

from agora.testing.faults.calls import Call
from agora.testing.faults.operations import Operation
from agora.testing.faults.watched import observing

__all__ = ["Crash", "Failpoints", "Fault"]

T = TypeVar("T")


class Crash(BaseException):
    """The process is dead. Whatever it still does on its way out reaches nothing."""


class Fault(enum.Enum):
    """What happens at the n-th operation."""

    ENOSPC = "no space, once"
    FULL = "no space, from then on"
    EIO = "an error of the device"
    SHORT_WRITE = "half a write, then no space"
    CRASH_BEFORE = "a crash just before"
    CRASH_WITHIN = "a crash after half a write"
    CRASH_AFTER = "a crash just after"

    def suits(self, operation: Operation | Call) -> bool:
        """Whether it can happen to this operation, and isn't the same as another fault there."""
        if isinstance(operation, Call):
            return self in (Fault.EIO, Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
        if self in (Fault.SHORT_WRITE, Fault.CRASH_WITHIN):
            return operation.name in {"write", "copy"} and len(operation.data) > 1
        if self is Fault.FULL:
            return operation.takes_space
        # SQLite says of nothing but a write that the disk is full.
        return self is not Fault.ENOSPC or operation.layer == "files" or operation.name == "write"

    @property
    def crashes(self) -> bool:
        return self in (Fault.CRASH_BEFORE, Fault.CRASH_WITHIN, Fault.CRASH_AFTER)


@attrs.define(eq=False)
class Failpoints:
    """A context manager: operations are counted in it, and the one with number `at`, from 1, is failed. So are the
    calls of parts that it observes (`observed`), in the same sequence.

    A `Crash` ends at the block, as a process does that nobody outlives; `crashed` tells of it. Errors come out.
    """

    at: int | None = None
    fault: Fault = Fault.EIO
    seen: list[Operation | Call] = attrs.field(factory=list, init=False)
    """All operations up to now, in order, the failed one too, those of a dead process not."""
    crashed: bool = attrs.field(default=False, init=False)
    _full: bool = attrs.field(default=False, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _stack: ExitStack = attrs.field(factory=ExitStack, init=False)

    @property
    def struck(self) -> Operation | Call | None:
        """The operation that was failed; `None` if it didn't come to that."""
        return self.seen[self.at - 1] if self.at is not None and self.at <= len(self.seen) else None

    def __enter__(self) -> Self:
        self._stack.enter_context(observing(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        self._stack.close()
        return self.crashed and error is not None and _is_crash(error)

    def perform(self, operation: Operation, act: Callable[[Operation], T]) -> T:
        """Count it; do it, fail it, or die of it."""
        strikes = self._count(operation)
        if self._full and operation.takes_space and not strikes:
            raise _no_space(operation)
        return self._strike(operation, act) if strikes else act(operation)

    async def perform_call(self, call: Call, act: Callable[[], Awaitable[T]]) -> T:
        """Count it; make it, fail it with an `OSError`, or die of it."""
        strikes = self._count(call)
        if not strikes:
            return await act()
        if not self.fault.crashes:
            raise OSError(errno.EIO, f"injected: {call}")
        try:
            await act()
        finally:
            self._die(call)

    def _count(self, operation: Operation | Call) -> bool:
        """Whether it is the one to be failed."""
        with self._lock:
            if self.crashed:
                raise Crash(f"dead before {operation}")
            self.seen.append(operation)
            strikes = len(self.seen) == self.at
            if strikes and self.fault is Fault.CRASH_BEFORE:
                self._die(operation)
        return strikes

    def _strike(self, operation: Operation, act: Callable[[Operation], T]) -> T:
        half = attrs.evolve(operation, data=operation.data[: len(operation.data) // 2])
        match self.fault:
            case Fault.EIO:
                raise _broken(operation)
            case Fault.ENOSPC | Fault.FULL:
                self._full = self.fault is Fault.FULL
                raise _no_space(operation)
            case Fault.SHORT_WRITE:
                act(half)
                raise _no_space(operation)
            case Fault.CRASH_WITHIN:
                act(half)
            case _:
                act(operation)
        self._die(operation)

    def _die(self, operation: Operation | Call) -> NoReturn:
        self.crashed = True
        raise Crash(f"at operation {self.at}, {self.fault.value}: {operation}")


def _no_space(operation: Operation) -> Exception:
    """As the operating system, or SQLite, says it."""
    if operation.layer == "sqlite":
        return apsw.FullError(f"injected: {operation}") if operation.name == "write" else _broken(operation)
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(operation.path))


def _broken(operation: Operation) -> Exception:
    if operation.layer == "sqlite":
        opening = operation.name in {"open", "create"}
        return (apsw.CantOpenError if opening else apsw.IOError)(f"injected: {operation}")
    return OSError(errno.EIO, os.strerror(errno.EIO), str(operation.path))


def _is_crash(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_crash(each) for each in error.exceptions)
    return isinstance(error, Crash)
