"""One open file that always ends with a whole record, whatever fails.

Apart from `AppendFile`, which decides where it is and what it stands for: here is only how bytes get into it.
All of it blocks, and is called in a thread. The file is known by its inode: one that another runner has put
under the same name, after taking over, is never written or cut.
"""

from pathlib import Path
from typing import IO

import attrs

from agora import seam
from agora.errors import SinkChanged
from agora.sinks.compress import Compression, compress
from agora.sinks.disk import edges
from agora.sinks.recovery import EDGE, fingerprint

__all__ = ["Appender"]


@attrs.define(eq=False, repr=False)
class Appender:
    """A new file, made by the first write, at `at`; `Appender.found` for one that is there."""

    at: Path
    packing: Compression
    exists: bool = attrs.field(init=False, default=False)
    offset: int = attrs.field(init=False, default=0)
    """Bytes, at the end of the last whole record."""
    torn: bool = attrs.field(init=False, default=False)
    """Bytes beyond `offset` may be on disk."""
    unsynced: bool = attrs.field(init=False, default=False)
    _head: bytes = attrs.field(init=False, default=b"")
    _tail: bytes = attrs.field(init=False, default=b"")
    _handle: IO[bytes] | None = attrs.field(init=False, default=None)
    _identity: tuple[int, int] = attrs.field(init=False, default=(0, 0))
    _new_entries: list[Path] = attrs.field(init=False, factory=list)  # directories to sync
    _lost: OSError | None = attrs.field(init=False, default=None)  # an fsync that failed can't be made good

    @classmethod
    def found(cls, at: Path, packing: Compression, size: int) -> "Appender":
        """To go on behind the first `size` bytes."""
        appender = cls(at, packing)
        appender._head, appender._tail = edges(at, size)
        appender._identity = seam.current().files.status(at).identity
        appender.exists, appender.offset = True, size
        return appender

    @property
    def edges(self) -> str:
        return fingerprint(self._head, self._tail)

    @property
    def needs_sync(self) -> bool:
        return self.unsynced or self.torn or self._lost is not None

    def write(self, data: bytes | memoryview) -> None:
        """Whole records, all or none: after a failure the file is cut back, at the latest by the next
        write."""
        packed = compress(data, self.packing)
        handle = self._open()
        self.unsynced = True
        try:
            seam.current().files.write(handle, packed)
        except BaseException:
            self._cut_back()
            raise
        self.offset += len(packed)
        if len(self._head) < EDGE:
            self._head += packed[: EDGE - len(self._head)]
        self._tail = (self._tail + packed[-EDGE:])[-EDGE:]

    def sync(self) -> None:
        """What was written is durable, the file's name too. After one failure it never succeeds again."""
        files = seam.current().files
        if self._lost is not None:
            text = f"{self.at}: an earlier fsync failed, so what was written can't be relied on"
            raise OSError(text) from self._lost
        handle = self._open()
        try:
            files.fsync(handle)
            while self._new_entries:
                files.sync_directory(self._new_entries[-1])
                self._new_entries.pop()
        except OSError as error:
            self._lost = error
            raise
        self.unsynced = False

    def must_be_ours(self) -> None:
        """`SinkChanged` where another runner has put a file there, or removed this one."""
        if not self._is_ours():
            raise _taken(self.at)

    def discard(self, size: int | None) -> None:
        """Cut to `size`, or remove for `None`; not a file that another runner has put there meanwhile."""
        if self._handle is None and not self._is_ours():
            return
        files = seam.current().files
        if size is None:
            if self._is_ours():
                files.unlink(self.at)
            return
        self.offset, self.torn = size, True
        files.truncate(self._open(), size)

    def release(self) -> None:
        """Close the file."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def _open(self) -> IO[bytes]:
        """The open file, at the end of the last whole record, with nothing behind it."""
        if self._handle is None:
            handle = self._reopen() if self.exists else self._make()
            try:
                files = seam.current().files
                if self.torn or files.status_of(handle).size != self.offset:
                    files.truncate(handle, self.offset)
                handle.seek(self.offset)
            except BaseException:
                handle.close()
                raise
            self._handle, self.torn = handle, False
        return self._handle

    def _reopen(self) -> IO[bytes]:
        files = seam.current().files
        handle = files.open(self.at, "r+b")
        if files.status_of(handle).identity != self._identity:
            handle.close()
            raise _taken(self.at)
        return handle

    def _make(self) -> IO[bytes]:
        files = seam.current().files
        made = [parent for parent in self.at.parents if not files.exists(parent)]
        if made:
            files.make_directory(self.at.parent)
            self._new_entries.extend(parent.parent for parent in made)
        try:
            handle = files.open(self.at, "x+b")
        except FileExistsError as error:
            raise SinkChanged(
                f"{self.at} has appeared since this run began: another one writes it"
            ) from error
        self.exists, self._identity = True, files.status_of(handle).identity
        self._new_entries.append(self.at.parent)
        return handle

    def _cut_back(self) -> None:
        handle, self._handle = self._handle, None
        if handle is None:
            return
        try:
            seam.current().files.truncate(handle, self.offset)
        except OSError:
            self.torn = True
        finally:
            handle.close()

    def _is_ours(self) -> bool:
        try:
            return self.exists and seam.current().files.status(self.at).identity == self._identity
        except FileNotFoundError:
            return False


def _taken(at: Path) -> SinkChanged:
    return SinkChanged(f"{at} was replaced or removed since this run began: another one has taken over")
