"""The parts of a run without checkpoints: nobody will ever cut them back, so rows go into row groups as they come.

Made in a directory beside the target, which is discarded unless the run gets to its end.
"""

from collections.abc import Sequence
from pathlib import Path

import attrs
import pyarrow as pa

from agora import seam
from agora.records import Record
from agora.sinks.arrowrows import ArrowRows
from agora.sinks.encode import Rejections
from agora.sinks.partfile import GROUP_BYTES, GROUP_ROWS, PartFile
from agora.sinks.parts import part_name

__all__ = ["StraightParts"]


@attrs.define(eq=False)
class StraightParts:
    """Takes records, makes parts. Every async method is a trio checkpoint; one that is cancelled has done nothing."""

    path: Path
    schema: pa.Schema | None
    part_rows: int
    compression: str
    _rows: ArrowRows = attrs.field(init=False)
    _part: PartFile | None = attrs.field(init=False, default=None)
    _number: int = attrs.field(init=False, default=0)
    """Of the part in hand, or the next one."""

    def __attrs_post_init__(self) -> None:
        self._rows = ArrowRows(self.schema, frozen=self.schema is not None)

    async def write(self, records: Sequence[Record]) -> Rejections:
        """The errors of those that don't fit; all others are taken."""
        await self._make_room()
        return self._rows.add(records)

    async def write_columns(self, batch: pa.RecordBatch) -> Rejections:
        """The same for rows in columns."""
        await self._make_room()
        return self._rows.add_columns(batch)

    async def finish(self) -> None:
        """All rows are in durable parts; a schema makes one, if there are no rows."""
        await seam.current().in_thread(self._finish)

    async def close(self) -> None:
        """Discards all parts."""
        await seam.current().in_thread(self._close)

    async def _make_room(self) -> None:
        if self._rows.rows >= GROUP_ROWS or self._rows.size >= GROUP_BYTES:
            await seam.current().in_thread(self._write_group)

    # --- blocking ---

    def _write_group(self) -> None:
        batches = self._rows.take()
        part = self._part or self._new_part()
        part.write(batches)
        if part.rows >= self.part_rows:
            self._end_part(part)

    def _new_part(self) -> PartFile:
        seam.current().files.make_directory(self.path)
        self._part = PartFile(self.path / part_name(self._number, 0), self._rows.schema, self.compression)
        return self._part

    def _finish(self) -> None:
        if self._rows.rows:
            self._write_group()
        if self._part is not None:
            self._end_part(self._part)
        elif not self._number and self._rows.schema is not None:
            self._end_part(self._new_part())
        if self._number:
            files = seam.current().files
            files.sync_directory(self.path)
            files.sync_directory(self.path.parent)

    def _end_part(self, part: PartFile) -> None:
        part.finish()
        self._part, self._number = None, self._number + 1

    def _close(self) -> None:
        if self._part is not None:
            self._part.discard()
        seam.current().files.remove_tree(self.path)
