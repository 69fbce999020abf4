"""SQLite's file system, whose every change is an operation that an observer performs.

A VFS in Python over the one that is the default, and the default itself while it is installed: so every
connection is covered, whoever opens it. The write-ahead log goes through it; its index, the `-shm` file, is
shared memory that SQLite maps by itself, and never durable.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from agora.testing.faults.operations import Observer, Operation

__all__ = ["ObservedVfs"]

_serial = itertools.count(1)
_JOURNALS = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL


class ObservedVfs(apsw.VFS):
    """The default VFS until `uninstall`."""

    def __init__(self, observer: Observer, numbers: Iterator[int]) -> None:
        self._observer = observer
        self._numbers = numbers
        self._before = apsw.vfs_names()[0]
        self.name = f"agora-faults-{next(_serial)}"
        super().__init__(self.name, self._before, makedefault=True)

    def uninstall(self) -> None:
        """Connections that are still open go on through it, until they are closed."""
        apsw.set_default_vfs(self._before)
        self.unregister()

    def close_all(self) -> None:
        """Close what was opened through it, as the end of a process does."""
        for connection in apsw.connections():
            if connection.open_vfs == self.name:
                with contextlib.suppress(BaseException):  # what the dead process says on its way out
                    connection.close(True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  - SQLite's name
        number = next(self._numbers)
        path = Path("/(temporary)") / str(number)
        if name is not None:
            path = Path(name if isinstance(name, str) else name.filename())
        new = name is None or (bool(flags[0] & apsw.SQLITE_OPEN_CREATE) and not path.exists())
        operation = Operation(name="create" if new else "open", layer="sqlite", path=path, file=number)
        durable = new and bool(flags[0] & _JOURNALS)

        def act(_: Operation) -> "_ObservedFile":
            return _ObservedFile(self._observer, operation, durable, self._before, name, flags)

        return self._observer.perform(operation, act)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802  - SQLite's name
        operation = Operation(name="unlink", layer="sqlite", path=Path(name), durable=syncdir)
        self._observer.perform(operation, lambda _: super(ObservedVfs, self).xDelete(name, False))


class _ObservedFile(apsw.VFSFile):
    def __init__(
        self, observer: Observer, opened: Operation, durable: bool, base: str, name: Any, flags: list[int]
    ) -> None:
        self._observer = observer
        self._file, self._path = opened.file, opened.path
        self._durable = durable  # SQLite fsyncs the directory with the first fsync of a new journal or log
        super().__init__(base, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  - SQLite's name
        operation = Operation(
            name="write", layer="sqlite", path=self._path, file=self._file, data=bytes(data), offset=offset
        )
        self._observer.perform(operation, lambda it: super(_ObservedFile, self).xWrite(it.data, it.offset))

    def xTruncate(self, size: int) -> None:  # noqa: N802  - SQLite's name
        operation = Operation(name="truncate", layer="sqlite", path=self._path, file=self._file, size=size)
        self._observer.perform(operation, lambda _: super(_ObservedFile, self).xTruncate(size))

    def xSync(self, flags: int) -> None:  # noqa: N802  - SQLite's name
        operation = Operation(
            name="fsync", layer="sqlite", path=self._path, file=self._file, durable=self._durable
        )
        self._observer.perform(operation, lambda _: None)
        self._durable = False
