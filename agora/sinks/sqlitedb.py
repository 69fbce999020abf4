"""A SQLite database that others use too: connections, transactions, and what SQLite's errors mean for a sink.

Every transaction takes the write lock when it begins, so that it either waits, for a bounded time, or has
what it read; one that begins as a reader and turns writer fails at once when another process was faster.
"""

import contextlib
import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from agora import seam
from agora.errors import AgoraError, ConfigError, SinkChanged

__all__ = ["Database", "quoted"]

_BUSY_MILLISECONDS = 10_000  # how long a locked database is retried before the run fails

_UNUSABLE: Sequence[tuple[tuple[type[apsw.Error], ...], int, str]] = (
    (
        (apsw.BusyError, apsw.LockedError),
        errno.EBUSY,
        f"stayed locked by others for {_BUSY_MILLISECONDS // 1000} s",
    ),
    ((apsw.FullError,), errno.ENOSPC, "can't grow, the disk is full"),
    (
        (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError),
        errno.EACCES,
        "can't be opened for writing",
    ),
    ((apsw.IOError,), errno.EIO, "can't be read or written"),
)


def quoted(name: str) -> str:
    """The name as an SQL identifier, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


class Database:
    """One connection. Every method blocks; none is called by two threads at once.

    `OSError` where the database can't be used now (locked, full, unreadable), `SinkChanged` where it isn't
    one.
    """

    def __init__(self, path: Path, shown: str) -> None:
        """Open the file, which is made when it isn't there."""
        self.shown = shown
        self._synced = True
        new = not path.exists()
        if new:
            seam.current().files.make_directory(path.parent)
        with self.explained():
            flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if new else 0)
            self.connection = apsw.Connection(str(path), flags=flags)
        try:
            with self.explained():
                self.connection.set_busy_timeout(_BUSY_MILLISECONDS)
                if not self.connection.execute("SELECT EXISTS (SELECT 1 FROM sqlite_schema)").get:
                    # Readers then neither wait nor are waited for; a database of others stays as it is.
                    self.connection.pragma("journal_mode", "wal")
                self.connection.pragma("synchronous", "FULL")
                self.connection.pragma("foreign_keys", True)
            if new:
                seam.current().files.sync_directory(path.parent)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        with self.explained():
            self.connection.close()

    @contextlib.contextmanager
    def transaction(self, *, durable: bool) -> Iterator[apsw.Connection]:
        """A write transaction, committed at the end of the block, undone by an error.

        `durable`: survives power loss when the block is left, with all that was committed before it. Others
        need no fsync where the database has a write-ahead log.
        """
        with self.explained():
            if durable != self._synced:
                self.connection.pragma("synchronous", "FULL" if durable else "NORMAL")
                self._synced = durable
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def savepoint(self, *, keep: bool) -> Iterator[None]:
        """Inside a transaction: an error undoes what the block did. `keep=False`: it is undone in any case."""
        self.connection.execute("SAVEPOINT agora")
        try:
            yield
        except BaseException:
            self._leave_savepoint(undo=True)
            raise
        self._leave_savepoint(undo=not keep)

    def _leave_savepoint(self, *, undo: bool) -> None:
        if not self.connection.in_transaction:  # a failed disk, or a trigger, has ended all of it
            return
        if undo:
            self.connection.execute("ROLLBACK TO agora")
        self.connection.execute("RELEASE agora")

    def others_wrote(self) -> int:
        """A number that changes when another connection commits."""
        version: int = self.connection.pragma("data_version")
        return version

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Errors of SQLite in the block as what they mean for this database."""
        try:
            yield
        except apsw.Error as error:
            raise _explained(error, self.shown) from error


def _explained(error: apsw.Error, shown: str) -> Exception:
    said = f"({type(error).__name__}: {error})"
    for kinds, number, what in _UNUSABLE:
        if isinstance(error, kinds):
            return OSError(number, f"{shown} {what} {said}")
    if isinstance(error, apsw.NotADBError):
        return ConfigError(f"{shown} isn't a SQLite database: give another path {said}")
    if isinstance(error, apsw.CorruptError):
        return SinkChanged(f"{shown} is damaged: restore it from a backup {said}")
    if isinstance(error, apsw.ConstraintError | apsw.SQLError):
        return SinkChanged(
            f"{shown} was changed by someone else since the records were tried, and doesn't take them anymore "
            f"{said}. Nothing is lost: run again; if it stays so, make room for them first"
        )
    return AgoraError(f"{shown} can't be written {said}")
