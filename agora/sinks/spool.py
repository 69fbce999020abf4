"""Rows on their way into a Parquet part: Arrow IPC streams, one behind the other, in a file that can be cut
back.

A Parquet file can't be appended to, and a part a checkpoint would make thousands of small ones. So rows wait
in a file that is appended and cut back like any other, until there are enough of them for a part.
"""

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from agora import seam
from agora.sinks.partfile import GROUP_BYTES, GROUP_ROWS, PartFile

__all__ = ["packed", "write_part"]


def packed(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> bytes:
    """One whole IPC stream."""
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(buffer.getvalue())


def write_part(spool: Path | None, part: Path, schema: pa.Schema, compression: str) -> int:
    """Blocking. The spool's rows (none without one) as a durable Parquet file; its size in bytes."""
    file = PartFile(part, schema, compression)
    try:
        with contextlib.closing(_batches(spool)) as batches:
            for group in _groups(batches):
                file.write(group)
        return file.finish()
    finally:
        file.discard()


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches for one row group after the other."""
    group: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        group.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def _batches(spool: Path | None) -> Generator[pa.RecordBatch]:
    if spool is None:
        return
    handle = seam.current().files.open(spool, "rb")
    with pa.PythonFile(handle, "r") as content:
        while content.tell() < content.size():
            with pa.ipc.open_stream(content) as stream:
                yield from stream
