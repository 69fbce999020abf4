"""What a file that is to be appended to holds already: how it is packed, its first row, and whether its last line is
ended."""

import csv
import gzip
import io
import zlib
from pathlib import Path
from typing import IO, cast

from agora import seam
from agora.errors import SinkChanged
from agora.sinks.compress import Compression

__all__ = ["check_packing", "ends_whole", "first_row"]

_PIECE = 1024 * 1024


def _packing(path: Path) -> Compression:
    with seam.current().files.open(path, "rb") as plain:
        magic = plain.read(4)
    if magic.startswith(b"\x1f\x8b"):
        return "gzip"
    return "zstd" if magic == b"\x28\xb5\x2f\xfd" else "none"


def check_packing(path: Path, packing: Compression) -> None:
    """`SinkChanged` where the file isn't empty and isn't packed as what is to be appended: nothing could read it."""
    found = _packing(path)
    if found != packing and seam.current().files.status(path).size:
        holds, writes = (kind if kind != "none" else "uncompressed" for kind in (found, packing))
        raise SinkChanged(
            f"{path} holds {holds} content, the sink is to write {writes}: give it the file's compression, or "
            "another path"
        )


def _content(path: Path) -> IO[bytes]:
    """The file, decompressed where its content is gzip or zstd."""
    packing = _packing(path)
    plain = cast("IO[bytes]", io.BufferedReader(cast("io.RawIOBase", seam.current().files.open(path, "rb"))))
    if packing == "gzip":
        return cast("IO[bytes]", _Gunzipped(plain))
    if packing == "zstd":
        import zstandard  # noqa: PLC0415 - only who appends to zstd needs it

        reader = zstandard.ZstdDecompressor().stream_reader(plain, read_across_frames=True, closefd=True)
        return cast("IO[bytes]", io.BufferedReader(cast("io.RawIOBase", reader)))
    return plain


class _Gunzipped(gzip.GzipFile):
    """Closes the file that it reads, which the library does only for one that it has opened itself."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        super().__init__(fileobj=packed, mode="rb")

    def close(self) -> None:
        with self._packed:
            super().close()


def ends_whole(path: Path) -> bool:
    """Whether the file is empty or its last line is ended by a line feed. Reads all of a compressed one."""
    last = b""
    try:
        with _content(path) as content:
            if isinstance(content, io.BufferedReader) and content.seekable():
                content.seek(max(0, content.seek(0, io.SEEK_END) - 1))
            while piece := content.read(_PIECE):
                last = piece[-1:]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SinkChanged(
            f"{path} can't be appended to: it isn't whole compressed content ({error})"
        ) from error
    return last in {b"", b"\n"}


def first_row(path: Path, delimiter: str) -> list[str]:
    """The header of a CSV file; empty where there is none."""
    with _content(path) as content, io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as text:
        try:
            return next(csv.reader(text, delimiter=delimiter), [])
        except (UnicodeDecodeError, csv.Error) as error:
            raise SinkChanged(f"{path} can't be appended to: its header can't be read ({error})") from error
