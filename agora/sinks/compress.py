"""Compressed output in whole members: each piece that is written can be read, and cut off, by itself.

One compressor over the whole file would leave nothing to cut back to; a member for each buffer costs a few
bytes in two hundred thousand and makes every offset between two writes a valid end of the file.
"""

import zlib
from pathlib import Path
from typing import Literal

__all__ = ["Compression", "compress", "compression_of"]

Compression = Literal["auto", "none", "gzip", "zstd"]
"""`"auto"`: by the name's suffix, `.gz` or `.zst`."""

_SUFFIXES: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}


def compression_of(path: Path, asked: Compression) -> Compression:
    """What to write: never `"auto"`."""
    return _SUFFIXES.get(path.suffix.lower(), "none") if asked == "auto" else asked


def compress(data: bytes | memoryview, compression: Compression) -> bytes | memoryview:
    """One whole gzip member or zstd frame, with a checksum; the data itself for `"none"`."""
    if compression == "gzip":
        packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        return packer.compress(data) + packer.flush()
    if compression == "zstd":
        import zstandard  # noqa: PLC0415 - only who writes zstd needs it

        return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)
    return data
