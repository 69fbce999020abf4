"""Decompression in pieces that says exactly what was whole: gzip members and zstd frames, one behind another.

Both libraries throw away what a call has decompressed when that call finds damage, and python-zstandard
takes a truncated frame for a whole one. So gzip is fed again byte by byte up to the damage, and zstd block
by block.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from agora.errors import AgoraError

if TYPE_CHECKING:
    import zstandard

__all__ = ["DamagedError", "decompressed", "kind_of"]

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"  # behind a byte 0x50 to 0x5f
_PIECE = 64 * 1024
_MOST = 256 * 1024  # bytes that one call may decompress to


class DamagedError(AgoraError):
    """Compressed data is truncated, fails its checksum, or has something else behind it."""


def kind_of(start: bytes) -> str | None:
    """`"gzip"`, `"zstd"` or `None`, by the first four bytes of a file."""
    if start[:2] == _GZIP:
        return "gzip"
    if start[:4] == _ZSTD or _is_skippable(start[:4]):
        return "zstd"
    return None


def decompressed(kind: str, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield the content in pieces of bounded size; `DamagedError` where it stops being whole.

    `read(n)` gives up to `n` bytes, fewer only at the end.
    """
    data = _Input(read)
    return _gzip(data) if kind == "gzip" else _zstd(data)


class _Input:
    """Compressed bytes, with those that were read too far put back."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._rest = b""

    def some(self) -> bytes:
        """Up to 64 KiB, empty at the end."""
        if self._rest:
            piece, self._rest = self._rest, b""
            return piece
        return self._read(_PIECE)

    def put_back(self, data: bytes) -> None:
        self._rest = data + self._rest

    def exactly(self, size: int, what: str) -> bytes:
        """`size` bytes, or `DamagedError`."""
        while len(self._rest) < size:
            piece = self._read(max(_PIECE, size - len(self._rest)))
            if not piece:
                raise DamagedError(f"the zstd data ends within {what}")
            self._rest += piece
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def skip_padding(self) -> bool:
        """Skip zeros between members; false at the end of the data."""
        while piece := self.some():
            if rest := piece.lstrip(b"\0"):
                self.put_back(rest)
                return True
        return False


def _gzip(data: _Input) -> Iterator[bytes]:
    while data.skip_padding():
        member = zlib.decompressobj(31)
        while not member.eof:
            piece = data.some()
            if not piece:
                raise DamagedError("the gzip data is truncated")
            while piece and not member.eof:
                before = member.copy()
                try:
                    out = member.decompress(piece, _MOST)
                except zlib.error as error:
                    yield _up_to_damage(before, piece)
                    raise DamagedError(f"the gzip data is damaged ({error})") from error
                if out:
                    yield out
                piece = member.unconsumed_tail
        data.put_back(member.unused_data)


def _up_to_damage(member: "zlib._Decompress", piece: bytes) -> bytes:
    out = bytearray()
    for at in range(len(piece)):
        try:
            out += member.decompress(piece[at : at + 1])
        except zlib.error:
            break
    return bytes(out)


def _is_skippable(magic: bytes) -> bool:
    return len(magic) == 4 and magic[0] >> 4 == 5 and magic[1:] == _SKIPPABLE


def _zstd(data: _Input) -> Iterator[bytes]:
    import zstandard  # noqa: PLC0415 - only who reads zstd pays for its import

    while data.skip_padding():
        magic = data.exactly(4, "the mark of a frame")
        if _is_skippable(magic):
            _skip(data, int.from_bytes(data.exactly(4, "a skippable frame"), "little"))
            continue
        if magic != _ZSTD:
            raise DamagedError("the zstd data has something else behind it")
        try:
            yield from _frame(data, zstandard.ZstdDecompressor().decompressobj())
        except zstandard.ZstdError as error:
            raise DamagedError(f"the zstd data is damaged ({error})") from error


def _skip(data: _Input, size: int) -> None:
    while size:
        size -= len(data.exactly(min(size, _PIECE), "a skippable frame"))


def _frame(data: _Input, frame: "zstandard.ZstdDecompressionObj") -> Iterator[bytes]:
    """One frame behind its magic number: RFC 8878, 3.1.1. A call sees one block, so it makes at most 128
    KiB."""
    descriptor = data.exactly(1, "the header of a frame")
    flags = descriptor[0]
    single = flags >> 5 & 1
    size = (not single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    yield from _some(frame.decompress(_ZSTD + descriptor + data.exactly(size, "the header of a frame")))
    last = False
    while not last:
        head = data.exactly(3, "a frame")
        number = int.from_bytes(head, "little")
        last = bool(number & 1)
        block = data.exactly(1 if number >> 1 & 3 == 1 else number >> 3, "a frame")
        yield from _some(frame.decompress(head + block))
    if flags >> 2 & 1:
        yield from _some(frame.decompress(data.exactly(4, "a checksum")))
    if not frame.eof:
        raise DamagedError("the zstd data is truncated")


def _some(piece: bytes) -> Iterator[bytes]:
    if piece:
        yield piece
