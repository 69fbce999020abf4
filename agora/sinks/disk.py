"""Small blocking operations on a target, each called in a thread: look at it, cut it.

Apart from `AppendFile`, since the spool of Parquet parts is looked at and cut in the same way.
"""

import contextlib
from pathlib import Path
from typing import IO

from agora import seam
from agora.sinks.recovery import EDGE, FileToken, Found, fingerprint

__all__ = ["cut", "edges", "look_at"]


def edges(path: Path, size: int) -> tuple[bytes, bytes]:
    """The first and the last `EDGE` of the first `size` bytes."""
    with contextlib.closing(seam.current().files.open(path, "rb")) as handle:
        head = _read(handle, min(EDGE, size))
        handle.seek(max(0, size - EDGE))
        return head, _read(handle, min(EDGE, size))


def _read(handle: IO[bytes], count: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < count and (piece := handle.read(count - len(pieces))):
        pieces += piece
    return bytes(pieces)


def look_at(path: Path, token: FileToken) -> Found:
    """What is at `path`, as far as it concerns the token."""
    try:
        size = seam.current().files.status(path).size
    except FileNotFoundError:
        return Found(size=None)
    return Found(size=size, edges=fingerprint(*edges(path, token.size)) if size >= token.size else "")


def cut(path: Path, size: int) -> None:
    """Shorten the file to `size` bytes, durably."""
    files = seam.current().files
    with contextlib.closing(files.open(path, "r+b")) as handle:
        files.truncate(handle, size)
        files.fsync(handle)
