"""`CsvSource`: records of CSV files, `dict`s of text unless `types=` or `schema=` say more.

What it reads is what Python's `csv.reader(strict=True)` reads, and nothing that it can't read is passed
over: a row that is no record becomes a `Malformed` with its place and its text.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from agora.errors import ConfigError
from agora.records import Json, Position, Record
from agora.sources.base import Block, Demand
from agora.sources.convert import Conversion, conversions, convert, load_schema, structurer
from agora.sources.csvparser import CsvParser, Dialect
from agora.sources.csvtext import check_encoding
from agora.sources.filerun import FileRun
from agora.sources.paths import PathOption
from agora.sources.rows import rows_of
from agora.sources.textfile import TextParser, open_text

__all__ = ["CsvSource"]


@attrs.define(eq=False)
class CsvSource:
    """Reads CSV files, plain or compressed with gzip or zstd. Checkpointable: it resumes at a byte offset.

    Building one does no I/O; `ConfigError` where the options can't be what was meant. Reading raises
    `AgoraError` for a path that doesn't exist, a header that can't be used and damaged compression, the last
    behind the records before it; all else that can't be read is a `Malformed` in place of the record.
    """

    path: PathOption = attrs.field(
        metadata={"doc": "A path, a glob, or a list of them; globs are read in name order."}
    )
    types: Mapping[str, Any] | None = attrs.field(
        default=None,
        kw_only=True,
        metadata={
            "doc": "Type of a column: str, int, float, bool, decimal, date, datetime, time or uuid, with ? "
            "where an empty field means none; from Python also the types themselves and functions of the text."
        },
    )
    schema: Any = attrs.field(
        default=None,
        kw_only=True,
        metadata={"doc": 'An attrs class, or its name as "module:Class": records are instances of it.'},
    )
    columns: Sequence[str] | None = attrs.field(
        default=None, kw_only=True, metadata={"doc": "Names of the columns of files without a header."}
    )
    header: bool = attrs.field(
        default=True,
        kw_only=True,
        metadata={"doc": "Whether each file begins with the names of its columns."},
    )
    delimiter: str = attrs.field(
        default=",", kw_only=True, metadata={"doc": "The character between two fields."}
    )
    encoding: str = attrs.field(default="utf-8", kw_only=True, metadata={"doc": "Encoding of the text."})
    ragged: Literal["error", "pad"] = attrs.field(
        default="error",
        kw_only=True,
        metadata={"doc": "A row that is too short: an error of that record, or filled up with empty fields."},
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
    _types: Mapping[str, Conversion] = attrs.field(init=False, repr=False)
    """Those of the dialect take any value for text; these are for records that come from elsewhere."""
    _dialect: Dialect = attrs.field(init=False, repr=False)
    _run: FileRun = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._dialect = _dialect(self)
        self._types = conversions(self.types)
        self._run = FileRun.of(
            self.path, missing_ok=self.missing == "ok", open=partial(open_text, self._parser)
        )

    def stream(self) -> AsyncGenerator[Record]:
        """Yield the records one by one; see `agora.sources.base`."""
        return rows_of(self._run.blocks(Demand(rows=1)), self._run.place)

    def blocks(self, demand: Demand) -> AsyncGenerator[Block]:
        """Yield the records of up to 64 KiB at a time, of 2 MiB where columns are wanted; whatever the number of rows
        asked for. A trio checkpoint every 256 KiB, or a block."""
        return self._run.blocks(demand)

    def checkpoint(self) -> Position:
        """The position after what was yielded last."""
        return self._run.place.position()

    async def prepare_resume(self, position: Position) -> None:
        """Open the first file at `position`; `SourceChanged` where what was read isn't there any more."""
        await self._run.prepare(position, allow_change=self.allow_change, base=self.base)

    async def close(self) -> None:
        """Close what `prepare_resume` opened and no stream has taken over."""
        self._run.close()

    def identity(self) -> Json:
        """Paths and the options that say where a record begins and ends. Types may change between two
        runs."""
        return {
            "type": "csv",
            "paths": self._run.names(self.base),
            "header": self.header,
            "columns": None if self.columns is None else list(self.columns),
            "delimiter": self.delimiter,
            "encoding": self._dialect.encoding,
        }

    def convert(self, record: Mapping[str, Any]) -> Record:
        """A record with today's types and schema; raises `AgoraError` or `ValueError` where one doesn't fit. A value
        needn't be text: a test's input has numbers, too."""
        return convert(record, self._types, self._dialect.schema)

    def explain(self) -> str:
        return "seeks to a byte offset; compressed input is decompressed up to it, without parsing"

    def paths(self) -> list[Path]:
        """The files that there are now. Blocks."""
        return self._run.paths()

    def covers(self, path: Path) -> bool:
        """Whether a file of this name would be read. Blocks."""
        return self._run.covers(path)

    def _parser(self, reader: Any) -> TextParser | None:
        return CsvParser.of_file(reader, self._dialect)


def _dialect(source: CsvSource) -> Dialect:
    problems: list[str] = []
    if len(source.delimiter) != 1 or source.delimiter in '"\r\n\0':
        problems.append(
            f"delimiter must be one character, no quote and no line end, not {source.delimiter!r}"
        )
    if source.header and source.columns is not None:
        problems.append("columns= names the columns of files without a header: give header=False with it")
    if not source.header and not source.columns:
        problems.append("header=False needs columns=, the names of the columns")
    if isinstance(source.columns, str) or len(set(source.columns or ())) != len(source.columns or ()):
        problems.append(f"columns must be a list of names, each once, not {source.columns!r}")
    if source.ragged not in ("error", "pad"):
        problems.append(f'ragged must be "error" or "pad", not {source.ragged!r}')
    if source.missing not in ("error", "ok"):
        problems.append(f'missing must be "error" or "ok", not {source.missing!r}')
    unknown = [name for name in source.types or () if source.columns and name not in source.columns]
    if unknown:
        problems.append(f"types= names columns that aren't in columns=: {', '.join(map(repr, unknown))}")
    if problems:
        raise ConfigError(*problems)
    schema = load_schema(source.schema)
    return Dialect(
        delimiter=source.delimiter,
        encoding=check_encoding(source.encoding),
        pad=source.ragged == "pad",
        columns=source.columns,
        types=conversions(source.types, of_text=True),
        schema=None if schema is None else structurer(schema),
        kinds=source.types or {},
    )
