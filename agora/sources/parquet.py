"""`ParquetSource`: records of Parquet files, the values those of pyarrow's `to_pylist()`.

It goes to a row group at once and to a row in it by decoding, and counts rows against the footer, since
pyarrow's readers end early on some damaged files without a word.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from agora.errors import ConfigError
from agora.records import Json, Position, Record
from agora.seam import Files
from agora.sources.base import Block, Demand
from agora.sources.convert import Conversion, convert, load_schema, structurer
from agora.sources.filerun import FileRun, OpenedFile
from agora.sources.paths import InputFile, PathOption
from agora.sources.resume import FilePosition
from agora.sources.rows import rows_of

__all__ = ["ParquetSource"]


@attrs.define(eq=False)
class ParquetSource:
    """Reads Parquet files. Checkpointable: it resumes at a row of a row group.

    Building one does no I/O; `ConfigError` where the options can't be what was meant. Reading raises
    `AgoraError` for a path that doesn't exist and for a file that isn't whole; a row with a value that
    Python has no type for is a `Malformed`.
    """

    path: PathOption = attrs.field(
        metadata={"doc": "A path, a glob, or a list of them; globs are read in name order."}
    )
    columns: Sequence[str] | None = attrs.field(
        default=None,
        kw_only=True,
        metadata={"doc": "Names of the columns to read, in this order; all by default."},
    )
    schema: Any = attrs.field(
        default=None,
        kw_only=True,
        metadata={"doc": 'An attrs class, or its name as "module:Class": records are instances of it.'},
    )
    missing: Literal["error", "ok"] = attrs.field(
        default="error",
        kw_only=True,
        metadata={"doc": "A path that doesn't exist or a glob without a match: an error, or no records."},
    )
    allow_change: bool = attrs.field(default=False, init=False)
    """Set before `prepare_resume`: go on at the position though the files aren't what they were."""
    base: Path | None = attrs.field(default=None, init=False)
    """Set by a config file, to its directory: what is below it is named relative to it in identity and positions."""
    supports_checkpoint: ClassVar[bool] = True
    _schema: Conversion | None = attrs.field(init=False, repr=False)
    _run: FileRun = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        problems = []
        if self.missing not in ("error", "ok"):
            problems.append(f'missing must be "error" or "ok", not {self.missing!r}')
        columns = self.columns
        if columns is not None and (
            isinstance(columns, str) or not columns or len(set(columns)) != len(columns)
        ):
            problems.append(f"columns must be a list of names, each once, not {columns!r}")
        if problems:
            raise ConfigError(*problems)
        schema = load_schema(self.schema)
        self._schema = None if schema is None else structurer(schema)
        self._run = FileRun.of(self.path, missing_ok=self.missing == "ok", open=partial(_open, self))

    def stream(self) -> AsyncGenerator[Record]:
        """Yield the records one by one; see `agora.sources.base`."""
        return rows_of(self._run.blocks(Demand(rows=1)), self._run.place)

    def blocks(self, demand: Demand) -> AsyncGenerator[Block]:
        """Yield the records of up to 4,096 rows at a time, or of 65,536 where columns are wanted; whatever the number
        of rows asked for. A trio checkpoint a block."""
        return self._run.blocks(demand)

    def checkpoint(self) -> Position:
        """The position after what was yielded last."""
        return self._run.place.position()

    async def prepare_resume(self, position: Position) -> None:
        """Open the first file at `position`; `SourceChanged` where it isn't the file that was read."""
        await self._run.prepare(position, allow_change=self.allow_change, base=self.base)

    async def close(self) -> None:
        """Close what `prepare_resume` opened and no stream has taken over."""
        self._run.close()

    def identity(self) -> Json:
        """The paths. Columns and schema may change between two runs."""
        return {"type": "parquet", "paths": self._run.names(self.base)}

    def convert(self, record: Mapping[str, Any]) -> Record:
        """A row with today's schema; raises `ValueError` where it doesn't fit."""
        return convert(record, {}, self._schema)

    def explain(self) -> str:
        return "seeks to a row group and reads on at the row"

    def paths(self) -> list[Path]:
        """The files that there are now. Blocks."""
        return self._run.paths()

    def covers(self, path: Path) -> bool:
        """Whether a file of this name would be read. Blocks."""
        return self._run.covers(path)


def _open(
    source: ParquetSource, files: Files, file: InputFile, start: FilePosition | None, *, allow_change: bool
) -> OpenedFile:
    from agora.sources.parquetfile import open_parquet  # noqa: PLC0415 - pyarrow: imported by the first file

    return open_parquet(
        files, file, start, allow_change=allow_change, columns=source.columns, schema=source._schema
    )
