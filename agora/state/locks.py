"""The locks that tell whether a lease's holder is alive.

An operating-system lock ends with its process, however that ends, where pids, host names and clocks only
guess (containers share neither). `flock` over POSIX record locks: those are dropped when any handle on the
file is closed.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import IO, Protocol

import attrs

import agora.seam

__all__ = ["FileLock", "HolderLock", "MemoryLock"]


class HolderLock(Protocol):
    """Held by one holder at a time, and never longer than it lives. Both methods may block for a moment."""

    def take(self) -> bool:
        """Whether it was free and is now held through this object."""
        ...

    def release(self) -> None:
        """Give it back; no error if it isn't held."""
        ...


@attrs.define(eq=False)
class MemoryLock:
    """A name in a set: for a backend that lives in one process."""

    _locked: set[str]
    _name: str
    _held: bool = attrs.field(default=False, init=False)

    def take(self) -> bool:
        """Whether the name was in nobody's hands."""
        if self._name in self._locked:
            return False
        self._locked.add(self._name)
        self._held = True
        return True

    def release(self) -> None:
        """Take the name out of the set."""
        if self._held:
            self._held = False
            self._locked.discard(self._name)


@attrs.define(eq=False)
class FileLock:
    """An exclusive `flock` on a file of its own, which is made by `take` and removed by `release`."""

    path: Path
    _handle: IO[bytes] | None = attrs.field(default=None, init=False)

    def take(self) -> bool:
        """Whether no process held it. `OSError` where the directory can't be written."""
        files = agora.seam.current().files
        files.make_directory(self.path.parent)
        while True:
            handle = files.open(self.path, "ab")
            try:
                if not _lock_now(handle):
                    handle.close()
                    return False
                if _is_at(handle, self.path):
                    self._handle = handle
                    return True
            except BaseException:
                handle.close()
                raise
            handle.close()  # its holder removed it meanwhile: a lock on a file without a name is none

    def release(self) -> None:
        """Remove the file while it is still locked, so that it can be nobody else's, then let go."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        with handle, contextlib.suppress(OSError):  # what isn't removed is only litter
            agora.seam.current().files.unlink(self.path)


def _lock_now(handle: IO[bytes]) -> bool:
    try:
        fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False
