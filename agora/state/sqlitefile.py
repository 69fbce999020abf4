"""The state file itself: made whole or not at all, recognised, migrated, and refused with a reason.

A new file is built under another name and renamed into place, so that a crash leaves none rather than an
empty one; an empty file under the name is therefore damage, and reported, where SQLite would quietly take it
for a new database.
"""

import contextlib
import fcntl
import os
import stat
from pathlib import Path

import apsw

import agora.seam
from agora.errors import StateError
from agora.state.sqliterow import register

__all__ = [
    "FORMAT",
    "STATE_TABLES",
    "backup",
    "connect",
    "disconnect",
    "explain",
    "is_state",
    "lock_directory",
]

_APPLICATION_ID = 0x41474F52  # "AGOR"; tells a state file from any other SQLite database
_SMALLEST = 512  # bytes; a shorter file is an empty database to SQLite
_CHECKED = 4 << 20  # bytes; up to here the tree's structure is checked whole at each opening, in milliseconds
_BUSY_MILLISECONDS = 5_000  # transactions last milliseconds; who waits longer is told who is in the way

_MIGRATIONS = (
    """
    CREATE TABLE entries (
        namespace TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        expires REAL,
        PRIMARY KEY (namespace, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX entries_by_expiry ON entries (expires) WHERE expires IS NOT NULL;
    """,
    "UPDATE entries SET value = agora_sealed(namespace, key, expires, value)",
)
"""The n-th turns format n into format n + 1; format 0 is an empty database. Format 2: each value has a checksum."""

FORMAT = len(_MIGRATIONS)
"""The format that this agora writes, kept as `PRAGMA user_version`."""


STATE_TABLES = ("entries",)
"""What is in a state file; other tables in it are nobody's of agora's state."""


def is_state(connection: apsw.Connection) -> bool:
    """Whether this database is a state file."""
    return bool(connection.pragma("application_id") == _APPLICATION_ID)


def lock_directory(path: Path) -> Path:
    """Where the locks of a state file are, equal for every name of the file."""
    real = Path(os.path.realpath(path))
    return real.with_name(real.name + ".locks")


def connect(path: Path) -> apsw.Connection:
    """A connection to the state file, which is made when it isn't there. Blocks. `StateError` names file and
    remedy."""
    try:
        real = Path(os.path.realpath(path))
        _create_if_missing(real, path)
        return _connect(real, path)
    except apsw.Error as error:
        raise explain(error, path) from error
    except OSError as error:
        raise StateError(f"the state file {path} can't be opened: {error}") from error


def disconnect(connection: apsw.Connection, path: Path) -> None:
    """Close the connection; the last one of all processes moves the log into the file. Blocks."""
    try:
        connection.close()
    except apsw.Error as error:
        raise explain(error, path) from error


def backup(path: Path, copy: Path) -> None:
    """Copy the state file as it is at one moment, log and all, while others use it. Blocks. `StateError`: it isn't
    there or is damaged, the copy is there already, or can't be written. The copy is made whole or not at all."""
    if not path.exists():
        raise StateError(f"the state file {path} doesn't exist, so there is nothing to copy")
    if copy.exists():
        raise StateError(f"{copy} is there already: give another name, or remove it")
    files = agora.seam.current().files
    connection = connect(path)
    draft = copy.with_name(copy.name + ".new")
    try:
        files.make_directory(copy.parent)
        files.unlink(draft)
        with files.open(draft, "x+b") as handle:
            os.fchmod(handle.fileno(), 0o600)
            _copy(connection, draft)
            files.fsync(handle)
        files.replace(draft, copy)
        files.sync_directory(copy.parent)
    except OSError as error:
        raise StateError(f"the copy {copy} can't be written: {error}") from error
    except apsw.Error as error:
        raise explain(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            files.unlink(draft)
        disconnect(connection, path)


def _copy(connection: apsw.Connection, draft: Path) -> None:
    target = apsw.Connection(str(draft), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        with target.backup("main", connection, "main") as copying:
            copying.step()
        damage = target.pragma("integrity_check", 1)
        if damage != "ok":
            raise apsw.CorruptError(damage)
    finally:
        target.close()


def explain(error: apsw.Error, path: Path) -> StateError:
    """What SQLite said, as what it means for this file."""
    match error:
        case apsw.NotADBError():
            what = "isn't a SQLite database: give another path, or move it away"
        case apsw.CorruptError():
            what = (
                "is damaged: restore it from a backup, or move it away with its -wal and -shm to start anew"
            )
        case apsw.BusyError() | apsw.LockedError():
            what = "is kept locked by another process: end that, then run again"
        case apsw.FullError():
            what = "can't grow, the disk is full: make room, then run again"
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError():
            what = "can't be opened for writing: check it and its directory"
        case _:
            what = "can't be read or written"
    return StateError(f"the state file {path} {what} ({type(error).__name__}: {error})")


def _create_if_missing(real: Path, shown: Path) -> None:
    if _is_there(real, shown):
        return
    files = agora.seam.current().files
    files.make_directory(real.parent)
    files.make_directory(lock_directory(real))
    with files.open(lock_directory(real) / "create.lock", "ab") as guard:
        fcntl.flock(guard.fileno(), fcntl.LOCK_EX)  # ends with the process, so it is held for milliseconds
        if not _is_there(real, shown):
            _create(real)


def _is_there(real: Path, shown: Path) -> bool:
    try:
        found = real.stat()
    except FileNotFoundError:
        log = _log(real)
        if _size(log):
            raise StateError(
                f"the state file {shown} is missing but its write-ahead log {log} is there:"
                " put the file back, or move the log away to start anew"
            ) from None
        return False
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise StateError(
            f"the state file {shown} has {found.st_nlink} names (hard links), and SQLite keeps a log beside"
            " each, so that two users of it would destroy it: copy it, or use a symbolic link"
        )
    if found.st_size < _SMALLEST:
        length = f"only {found.st_size} bytes long" if found.st_size else "empty"
        raise StateError(
            f"the state file {shown} is {length}, which agora never leaves it: it was cut short or made"
            " by something else; restore it from a backup, or delete it to start anew"
        )
    return True


def _log(real: Path) -> Path:
    return real.with_name(real.name + "-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _create(real: Path) -> None:
    files = agora.seam.current().files
    draft = real.with_name(real.name + ".new")
    for suffix in ("", "-wal", "-shm"):  # of a creation that was cut off
        files.unlink(draft.with_name(draft.name + suffix))
    with files.open(draft, "x+b") as handle:
        os.fchmod(handle.fileno(), 0o600)  # SQLite gives its -wal and -shm the mode of the file
    connection = apsw.Connection(str(draft), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        _configure(connection)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        _migrate(connection)
    finally:
        connection.close()  # moves the log into the file and removes it
    with files.open(draft, "r+b") as handle:
        files.fsync(handle)
    files.replace(draft, real)
    files.sync_directory(real.parent)


def _connect(real: Path, shown: Path) -> apsw.Connection:
    connection = apsw.Connection(str(real), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        _check(connection, real, shown)
        _configure(connection)
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: apsw.Connection, real: Path, shown: Path) -> None:
    if connection.pragma("application_id") != _APPLICATION_ID:
        raise StateError(
            f"{shown} is a SQLite database of another application: give another path for the state"
        )
    found = connection.pragma("user_version")
    if found > FORMAT:
        raise StateError(
            f"the state file {shown} has format {found}, this agora knows up to {FORMAT}:"
            " it was written by a newer agora; upgrade, or give another path"
        )
    size = real.stat().st_size
    if size % connection.pragma("page_size") and not _size(_log(real)):
        raise apsw.CorruptError("it ends inside a page")  # which SQLite would read as if zeros followed
    if size <= _CHECKED and (damage := connection.pragma("integrity_check", 1)) != "ok":
        raise apsw.CorruptError(damage)


def _configure(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(_BUSY_MILLISECONDS)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "FULL")
    connection.pragma("journal_size_limit", 16 << 20)


def _migrate(connection: apsw.Connection) -> None:
    """To the format of this agora, in one transaction; of two processes one does it."""
    if connection.pragma("user_version") == FORMAT:
        return
    register(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migration in _MIGRATIONS[connection.pragma("user_version") :]:
            connection.execute(migration)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    except BaseException:
        if not connection.get_autocommit():
            connection.execute("ROLLBACK")
        raise
