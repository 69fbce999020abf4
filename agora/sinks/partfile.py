"""A Parquet file that is written one row group after the other. All of it blocks.

A dictionary of values that never come again costs more than the values: pyarrow would make one for a column of ids,
in half of the time that a file takes. So a column whose first values all differ goes without.
"""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from agora import seam
from agora.errors import AgoraError

__all__ = ["GROUP_BYTES", "GROUP_ROWS", "PartFile"]

GROUP_ROWS = 128 * 1024
"""Rows from which on a row group is large enough; it has fewer than twice as many."""
GROUP_BYTES = 32 * 1024 * 1024
_LOOKED_AT = 16 * 1024
"""Values of a column that have to differ, all of them, for a column without a dictionary."""


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


@attrs.define(eq=False)
class PartFile:
    """Made by the first row group, or by `finish`."""

    path: Path
    schema: pa.Schema
    compression: str
    rows: int = attrs.field(init=False, default=0)
    _handle: IO[bytes] | None = attrs.field(init=False, default=None)
    _writer: Any = attrs.field(init=False, default=None)

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        """As one row group, or several where they are many. After a failure there is only `discard`."""
        table = pa.Table.from_batches(batches, self.schema)
        groups = max(1, table.num_rows // GROUP_ROWS)
        try:
            self._open(table).write_table(table, row_group_size=-(-table.num_rows // groups))
        except (pa.ArrowException, ValueError, TypeError, LookupError) as error:
            # Rows of many batches are in it, so it is no failure of the last one's records.
            raise AgoraError(f"{self.path} can't be written as Parquet: {error}") from error
        self.rows += table.num_rows

    def finish(self) -> int:
        """The file is whole and durable, but for its name; its size in bytes."""
        self._open(None).close()
        assert self._handle is not None
        seam.current().files.fsync(self._handle)
        self._handle.close()
        return seam.current().files.status(self.path).size

    def discard(self) -> None:
        """Close what is open; what is in the file then is of no use."""
        if self._writer is not None:
            with contextlib.suppress(Exception):  # it writes the footer, which nobody will read
                self._writer.close()
        if self._handle is not None:
            self._handle.close()

    def _open(self, first: pa.Table | None) -> Any:
        if self._writer is None:
            self._handle = seam.current().files.open(self.path, "w+b")
            self._writer = pq.ParquetWriter(
                pa.PythonFile(_Out(self._handle), "w"),
                self.schema,
                compression=self.compression,
                use_dictionary=True if first is None else _dictionaries(first),
            )
        return self._writer


def _dictionaries(first: pa.Table) -> bool | list[str]:
    """The columns that get dictionaries; `True`: all."""
    if first.num_rows < _LOOKED_AT or any(pa.types.is_nested(field.type) for field in first.schema):
        return True
    looked_at = first.slice(0, _LOOKED_AT)
    return [name for name in first.schema.names if not _all_differ(looked_at.column(name))]


def _all_differ(column: pa.ChunkedArray) -> bool:
    try:
        return bool(pc.count_distinct(column, mode="all").as_py() == len(column))
    except pa.ArrowNotImplementedError:  # of a type that can't be counted
        return False
