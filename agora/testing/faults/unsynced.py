"""A machine whose disk nobody waits for: what is synced in it is only with the operating system.

That tells a test as much as the real thing, short of a loss of power of the machine that tests, and spares it most of
the time that a run which commits takes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import apsw

from agora import seam

__all__ = ["UnsyncedFiles", "unsynced_sqlite"]

_NAME = "agora-unsynced"


class UnsyncedFiles(seam.Files):
    """What can't be synced is an error all the same."""

    def fsync(self, handle: IO[bytes]) -> None:
        handle.fileno()

    def sync_directory(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))


@contextmanager
def unsynced_sqlite() -> Iterator[None]:
    """SQLite's default file system syncs nothing, for the length of a block, in the whole process. Nested, it is there
    already."""
    before = apsw.vfs_names()[0]
    if _NAME in apsw.vfs_names():
        yield
        return
    vfs = _UnsyncedVfs(before)
    try:
        yield
    finally:
        apsw.set_default_vfs(before)
        vfs.unregister()


class _UnsyncedVfs(apsw.VFS):
    def __init__(self, base: str) -> None:
        self._base = base
        super().__init__(_NAME, base, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  - SQLite's name
        return _UnsyncedFile(self._base, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802  - SQLite's name
        super().xDelete(name, False)


class _UnsyncedFile(apsw.VFSFile):
    def xSync(self, flags: int) -> None:  # noqa: N802  - SQLite's name
        pass
