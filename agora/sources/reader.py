"""The content of one file as bytes from any offset: plain, gzip or zstd, told apart by the content.

Offsets and fingerprints are of the content, so that one rule of resuming serves all three. Everything here
blocks: it is called in a worker thread.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import attrs

from agora.errors import AgoraError
from agora.seam import Files
from agora.sources.compression import DamagedError, decompressed, kind_of

__all__ = ["HEAD", "TAIL", "ByteReader", "open_file", "size_of"]

HEAD = 64 * 1024
TAIL = 4 * 1024
_PIECE = 256 * 1024


def open_file(files: Files, path: Path) -> IO[bytes]:
    """Open to read; `AgoraError` where the path can't be read at all."""
    try:
        return files.open(path, "rb")
    except (FileNotFoundError, IsADirectoryError, PermissionError, NotADirectoryError) as error:
        raise AgoraError(f"{path} can't be read: {error.strerror}") from error


def size_of(handle: IO[bytes]) -> int:
    """Size in bytes as it is now; the handle's place is kept."""
    place = handle.tell()
    size = handle.seek(0, 2)
    handle.seek(place)
    return size


@attrs.define
class ByteReader:
    """Reads forward; `close()` is the owner's."""

    path: Path
    head: bytes
    """The first bytes of the content, 64 KiB of them if there are so many."""
    size: int
    """Size of the file in bytes (not of the content) when last looked at."""
    at_end: bool = False
    """Nothing is left behind what `read` gave last."""
    damage: AgoraError | None = None
    """Why the content ends before its time; what was read before it is good."""
    _handle: IO[bytes] = attrs.field(kw_only=True)
    _more: Callable[[int], bytes] = attrs.field(kw_only=True)
    """Bytes that come next, about so many; none at the end."""
    _seekable: bool = attrs.field(kw_only=True)
    _pending: bytes = b""
    _start: int = 0
    """Bytes of `_pending` that are handed out: to move the rest for every block would take as long as reading it."""

    @classmethod
    def open(cls, files: Files, path: Path) -> "ByteReader":
        """At the start of the content, with `head` read."""
        handle = open_file(files, path)
        try:
            start = handle.read(4) or b""
            while len(start) < 4 and (rest := handle.read(4 - len(start))):
                start += rest
            handle.seek(0)
            kind = kind_of(start)
            more = _filled(handle) if kind is None else _pieces(decompressed(kind, _filled(handle)))
            reader = cls(path, b"", size_of(handle), handle=handle, more=more, seekable=kind is None)
            reader.head = reader.peek(HEAD)[:HEAD]
        except BaseException:
            handle.close()
            raise
        return reader

    def peek(self, size: int) -> bytes:
        """The bytes that come next, `size` or more unless the content ends before."""
        self._fill(size)
        if self._start:
            self._pending, self._start = self._pending[self._start :], 0
        return self._pending

    def has(self, size: int) -> bool:
        """Whether `read(size)` gives what is in memory already."""
        return len(self._pending) - self._start > size

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer where the content ends; sets `at_end`, and `damage` where it is
        reached."""
        self._fill(size + 1)
        block = self._pending[self._start : self._start + size]
        self._start += len(block)
        if self._start == len(self._pending):
            self._go_on(b"")
        return block

    def block(self, size: int) -> bytes:
        """As `read`, but of about `size` bytes: as they came from the file, which saves copying large ones."""
        block = self.peek(1)
        self._go_on(self._next(size))
        return block

    def skip_to(self, offset: int) -> tuple[int, bytes]:
        """From the start of the content to `offset`: where it came to (less if the content is shorter), and
        the last 4 KiB before that."""
        pending = self.peek(0)
        if offset <= len(pending):
            self._pending = pending[offset:]
            return offset, pending[max(0, offset - TAIL) : offset]
        if self._seekable:
            offset = min(offset, size_of(self._handle))
            self._handle.seek(max(0, offset - TAIL))
            self._pending = b""
            pending = self.peek(min(offset, TAIL))
            before, self._pending = pending[: min(offset, TAIL)], pending[min(offset, TAIL) :]
            return offset, before
        passed, tail = 0, b""
        while passed < offset and self.peek(1):
            step = min(offset - passed, len(self._pending))
            tail = (tail + self._pending[:step][-TAIL:])[-TAIL:]
            self._pending = self._pending[step:]
            passed += step
        return passed, tail

    def close(self) -> None:
        self._handle.close()

    def _fill(self, size: int) -> None:
        """Have `size` bytes pending, fewer only where the content ends."""
        have = len(self._pending) - self._start
        if have >= size:
            return
        pieces = [self._pending[self._start :]]
        while have < size and (piece := self._next()):
            pieces.append(piece)
            have += len(piece)
        self._pending, self._start = b"".join(pieces), 0

    def _go_on(self, pending: bytes) -> None:
        """Behind what is handed out comes this."""
        self._pending, self._start = pending, 0
        if not pending:
            self.at_end = True
            self.size = size_of(self._handle)

    def _next(self, size: int = _PIECE) -> bytes:
        if self.damage is not None:
            return b""
        try:
            return self._more(size)
        except DamagedError as error:
            self.damage = AgoraError(f"{self.path} can't be read to its end: {error}")
            self.damage.__cause__ = error.__cause__
            return b""


def _filled(handle: IO[bytes]) -> Callable[[int], bytes]:
    return lambda size: handle.read(size) or b""


def _pieces(pieces: Iterator[bytes]) -> Callable[[int], bytes]:
    return lambda _: next(pieces, b"")
