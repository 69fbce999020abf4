"""`JsonLinesSource`: records of JSON-lines files, one object a line.

msgspec reads them because it keeps integers exact; what is no object, or no JSON, becomes a `Malformed` with
its place.
"""

from collections.abc import AsyncGenerator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from agora.errors import ConfigError
from agora.records import Json, Position, Record
from agora.sources.base import Block, Demand
from agora.sources.convert import Conversion, conversions, convert, load_schema, structurer
from agora.sources.filerun import FileRun
from agora.sources.jsontext import JsonLinesParser
from agora.sources.paths import PathOption
from agora.sources.reader import ByteReader
from agora.sources.rows import rows_of
from agora.sources.textfile import TextParser, open_text

__all__ = ["JsonLinesSource"]


@attrs.define(eq=False)
class JsonLinesSource:
    """Reads JSON-lines files, plain or compressed with gzip or zstd. Checkpointable: it resumes at a byte
    offset.

    Building one does no I/O; `ConfigError` where the options can't be what was meant. Reading raises
    `AgoraError` for a path that doesn't exist and, behind the records before it, for damaged compression; a
    line that can't be read is a `Malformed` in place of the record.
    """

    path: PathOption = attrs.field(
        metadata={"doc": "A path, a glob, or a list of them; globs are read in name order."}
    )
    types: Mapping[str, Any] | None = attrs.field(
        default=None,
        kw_only=True,
        metadata={
            "doc": "Type of a key where a record has it: str, int, float, bool, decimal, date, datetime, time "
            "or uuid, with ? where null and empty text mean none; from Python also the types themselves and functions."
        },
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
    _types: Mapping[str, Conversion] = attrs.field(init=False, repr=False)
    _schema: Conversion | None = attrs.field(init=False, repr=False)
    _run: FileRun = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.missing not in ("error", "ok"):
            raise ConfigError(f'missing must be "error" or "ok", not {self.missing!r}')
        schema = load_schema(self.schema)
        self._types = conversions(self.types)
        self._schema = None if schema is None else structurer(schema)
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
        """The paths. Types may change between two runs."""
        return {"type": "jsonl", "paths": self._run.names(self.base)}

    def convert(self, record: Mapping[str, Any]) -> Record:
        """A decoded object with today's types and schema; raises `AgoraError` or `ValueError` where one
        doesn't fit."""
        return convert(record, self._types, self._schema)

    def explain(self) -> str:
        return "seeks to a byte offset; compressed input is decompressed up to it, without parsing"

    def paths(self) -> list[Path]:
        """The files that there are now. Blocks."""
        return self._run.paths()

    def covers(self, path: Path) -> bool:
        """Whether a file of this name would be read. Blocks."""
        return self._run.covers(path)

    def _parser(self, reader: ByteReader) -> TextParser:
        return JsonLinesParser.of_file(reader, self._types, self._schema, self.types or {})
