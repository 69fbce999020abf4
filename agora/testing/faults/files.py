"""`agora.seam.Files` whose every call is an operation that an observer performs."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from agora import seam
from agora.testing.faults.operations import Name, Observer, Operation

__all__ = ["ObservedFiles"]

_PIECE = 1024 * 1024


class ObservedFiles(seam.Files):
    """Works on real files by `base`; `numbers` gives each open file its number.

    Nothing is really fsynced, unless it `syncs`: that costs time, and tells only of a power loss of the machine
    that tests.
    """

    def __init__(
        self,
        observer: Observer,
        base: seam.Files,
        numbers: Iterator[int] | None = None,
        *,
        syncs: bool = False,
    ) -> None:
        self._observer = observer
        self._base = base
        self._syncs = syncs
        self._numbers = itertools.count(1) if numbers is None else numbers
        self._open: dict[IO[bytes], tuple[int, Path]] = {}  # what a dead process left open, too

    def open(self, path: Path, mode: str) -> IO[bytes]:
        path = path.absolute()
        new = mode[0] in "wx" or (mode[0] == "a" and not self._base.exists(path))
        name: Name = "create" if new else "open"
        operation = Operation(name=name, path=path, file=next(self._numbers))

        def act(_: Operation) -> IO[bytes]:
            handle = self._base.open(path, mode)
            self._open = {known: place for known, place in self._open.items() if not known.closed}
            self._open[handle] = operation.file, path
            return handle

        return self._observer.perform(operation, act)

    def write(self, handle: IO[bytes], data: bytes | bytearray | memoryview) -> None:
        file, path = self._known(handle)
        operation = Operation(name="write", path=path, file=file, data=bytes(data), offset=handle.tell())
        self._observer.perform(operation, lambda it: self._base.write(handle, it.data))

    def truncate(self, handle: IO[bytes], size: int) -> None:
        file, path = self._known(handle)
        operation = Operation(name="truncate", path=path, file=file, size=size)
        self._observer.perform(operation, lambda it: self._base.truncate(handle, it.size))

    def fsync(self, handle: IO[bytes]) -> None:
        file, path = self._known(handle)
        operation = Operation(name="fsync", path=path, file=file)
        self._observer.perform(operation, lambda _: self._base.fsync(handle) if self._syncs else None)

    def sync_directory(self, path: Path) -> None:
        operation = Operation(name="sync_directory", path=path.absolute())
        self._observer.perform(operation, lambda _: self._base.sync_directory(path) if self._syncs else None)

    def replace(self, source: Path, target: Path) -> None:
        operation = Operation(name="replace", path=source.absolute(), target=target.absolute())
        self._observer.perform(operation, lambda _: self._base.replace(source, target))

    def copy(self, source: Path, target: Path) -> None:
        with self._base.open(source, "rb") as handle:
            data = b"".join(iter(lambda: handle.read(_PIECE), b""))
        operation = Operation(name="copy", path=source.absolute(), target=target.absolute(), data=data)
        self._observer.perform(operation, self._copy)

    def unlink(self, path: Path) -> None:
        operation = Operation(name="unlink", path=path.absolute())
        self._observer.perform(operation, lambda _: self._base.unlink(path))

    def make_directory(self, path: Path) -> None:
        operation = Operation(name="make_directory", path=path.absolute())
        self._observer.perform(operation, lambda _: self._base.make_directory(path))

    def remove_directory(self, path: Path) -> None:
        operation = Operation(name="remove_directory", path=path.absolute())
        self._observer.perform(operation, lambda _: self._base.remove_directory(path))

    def remove_tree(self, path: Path) -> None:
        operation = Operation(name="remove_tree", path=path.absolute())
        self._observer.perform(operation, lambda _: self._base.remove_tree(path))

    def exists(self, path: Path) -> bool:
        return self._base.exists(path)

    def is_taken(self, path: Path) -> bool:
        return self._base.is_taken(path)

    def is_directory(self, path: Path) -> bool:
        return self._base.is_directory(path)

    def status(self, path: Path) -> seam.Status:
        return self._base.status(path)

    def status_of(self, handle: IO[bytes]) -> seam.Status:
        return self._base.status_of(handle)

    def names(self, path: Path) -> list[str]:
        return self._base.names(path)

    def matches(self, pattern: str) -> list[str]:
        return self._base.matches(pattern)

    def real(self, path: Path) -> Path:
        return self._base.real(path)

    def _known(self, handle: IO[bytes]) -> tuple[int, Path]:
        """Number and path; a file that was opened before this block gets its number now."""
        if handle not in self._open:
            self._open[handle] = next(self._numbers), Path(handle.name).absolute()
        return self._open[handle]

    def _copy(self, operation: Operation) -> None:
        assert operation.target is not None
        with self._base.open(operation.target, "w+b") as handle:
            self._base.write(handle, operation.data)

    def close_all(self) -> None:
        """Close what is still open, as the end of a process does; the locks on it end."""
        for handle in list(self._open):
            with contextlib.suppress(OSError):
                handle.close()
