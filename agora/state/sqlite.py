"""State in one SQLite file: write-ahead log, synchronous FULL, so that what `apply` returned for survives
power loss.

Plain apsw connections in `seam.in_thread`, one thread call per operation, rather than apsw's asynchronous
ones. Both were measured (per durable commit: 255 against 205 µs of CPU, 2,600 against 3,200 a second, of
which SQLite and its fsync are 100 µs): a call that a thread has begun is never interrupted, so a cancelled
`apply` has happened not at all instead of perhaps, and under a virtual clock the seam runs it in place, where
apsw's own thread would let time run away.
"""

import functools
import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeVar

import apsw
import attrs
import trio

import agora.seam
from agora.errors import StateError
from agora.state.base import Change, Delete, Put, Transaction
from agora.state.locks import FileLock
from agora.state.sqlitefile import backup, connect, disconnect, explain, lock_directory
from agora.state.sqlitesql import apply_changes, read_page, read_value
from agora.state.transaction import buffered, not_open
from agora.threaded import threaded

__all__ = ["SQLiteBackend"]

T = TypeVar("T")


@attrs.define(eq=False)
class SQLiteBackend:
    """A `StateBackend` in a file, for any number of processes of one machine.

    Every call is a trio checkpoint before it begins; once begun it runs to its end, so cancelled means not
    done. `StateError` names the file and what to do.
    """

    path: Path = attrs.field(
        converter=Path, metadata={"doc": "The state file; made with its directory when it isn't there."}
    )
    _users: int = attrs.field(default=0, init=False)
    _connection: apsw.Connection | None = attrs.field(default=None, init=False, repr=False)
    _place: str = attrs.field(default="", init=False, repr=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether someone has it open."""
        return self._users > 0

    async def open(self) -> None:
        """Open or make the file, and count a user. `StateError`: not a state file, damaged, of a newer
        agora."""
        await agora.seam.current().in_thread(self._open)

    async def close(self) -> None:
        """Uncount a user; the last one closes the file. Also when cancelled."""
        with trio.CancelScope(shield=True):
            await agora.seam.current().in_thread(self._close)

    async def get(self, namespace: str, key: str) -> bytes | None:
        """The value, or `None` where there is none or it has expired."""
        now = _now()
        return await self._run(lambda connection: read_value(connection, namespace, key, now))

    async def put(self, namespace: str, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Set one value, durably; `ttl` in seconds."""
        await self.apply([Put(namespace, key, value, ttl)])

    async def delete(self, namespace: str, key: str) -> None:
        """Remove one key, durably."""
        await self.apply([Delete(namespace, key)])

    async def scan(self, namespace: str, prefix: str = "") -> AsyncGenerator[tuple[str, bytes]]:
        """Keys with this prefix and their values, in key order, page by page; holds nothing between two."""
        after: str | None = None
        while True:
            page, after = await self._run(
                functools.partial(read_page, namespace=namespace, prefix=prefix, after=after, now=_now())
            )
            for item in page:
                yield item
            if after is None:
                return

    @threaded
    def apply(self, changes: Sequence[Change]) -> None:
        """All changes in one durable transaction or, with `ExpectationFailed`, none.

        After any other `StateError` it may have happened (a failed fsync tells nothing): whole or not at all.
        """
        now = _now()

        def change(connection: apsw.Connection) -> None:
            self._check_place()
            apply_changes(connection, changes, now, str(self.path))

        self._locked(change)

    async def backup(self, path: Path) -> None:
        """Copy the file, as it is at one moment, to `path`, while it is in use or not. `StateError`: it isn't there or
        is damaged, `path` is there already, or can't be written; then nothing is left there."""
        await agora.seam.current().in_thread(backup, self.path, path)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Buffered changes, applied when the block is left without an error."""
        return buffered(self)

    def identity(self) -> str:
        """Equal for two objects on one real file, whatever names they were given for it."""
        try:
            found = os.stat(self.path)
        except OSError:
            return f"sqlite:{os.path.realpath(self.path)}"
        return f"sqlite:{found.st_dev}:{found.st_ino}"

    def holder_lock(self, name: str) -> FileLock:
        """The lock that a lease's holder keeps, as a file beside the state file."""
        return FileLock(lock_directory(self.path) / f"{name}.lock")

    async def _run(self, operation: Callable[[apsw.Connection], T]) -> T:
        return await agora.seam.current().in_thread(self._locked, operation)

    def _locked(self, operation: Callable[[apsw.Connection], T]) -> T:
        with self._lock:
            if self._connection is None:
                raise not_open(f"the state file {self.path}")
            try:
                return operation(self._connection)
            except apsw.Error as error:
                raise explain(error, self.path) from error
            except UnicodeDecodeError as error:  # by apsw, of text in a row
                raise explain(apsw.CorruptError(str(error)), self.path) from error

    def _open(self) -> None:
        with self._lock:
            if self._connection is None:
                self._connection = connect(self.path)
                self._place = self.identity()
            self._users += 1

    def _check_place(self) -> None:
        """What is saved to a file that was removed or replaced meanwhile would be lost without a word."""
        if self.identity() != self._place:
            raise StateError(
                f"the state file {self.path} was moved, removed or replaced while it was open: nothing more"
                " is saved to it; put it back with its -wal, then run again"
            )

    def _close(self) -> None:
        with self._lock:
            if not self._users:
                raise not_open(f"the state file {self.path}")
            self._users -= 1
            if self._users == 0:
                connection, self._connection = self._connection, None
                assert connection is not None
                disconnect(connection, self.path)


def _now() -> float:
    return agora.seam.current().now().timestamp()
