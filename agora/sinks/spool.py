"""Rows on their way into a Parquet part: Arrow IPC streams, one behind the other, in a file that can be cut
back.

A Parquet file can't be appended to, and a part a checkpoint would make thousands of small ones. So rows wait
in a file that is appended and cut back like any other, until there are enough of them for a part.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from agora import seam

__all__ = ["packed", "write_part"]

_GROUP_ROWS = 128 * 1024
_GROUP_BYTES = 64 * 1024 * 1024


def packed(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> bytes:
    """One whole IPC stream."""
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(buffer.getvalue())


class _Out(io.RawIOBase):
    """The file as pyarrow is to see it: every write whole, and through the seam."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        seam.current().files.write(self._handle, data)
        return len(data)

    def tell(self) -> int:
        return self._handle.tell()


def write_part(spool: Path | None, part: Path, schema: pa.Schema, compression: str) -> int:
    """Blocking. The spool's rows (none without one) as a durable Parquet file; its size in bytes."""
    files = seam.current().files
    with contextlib.closing(files.open(part, "w+b")) as handle:
        with pq.ParquetWriter(pa.PythonFile(_Out(handle), "w"), schema, compression=compression) as writer:
            for group in _groups(spool):
                writer.write_table(pa.Table.from_batches(group, schema), row_group_size=_GROUP_ROWS)
        files.fsync(handle)
    return part.stat().st_size


def _groups(spool: Path | None) -> Iterator[list[pa.RecordBatch]]:
    """Batches for one row group after the other."""
    group: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in _batches(spool) if spool is not None else ():
        group.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def _batches(spool: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(spool), "rb") as content:
        while content.tell() < content.size():
            with pa.ipc.open_stream(content) as stream:
                yield from stream
