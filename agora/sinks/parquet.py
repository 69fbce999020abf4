"""Parquet: typed columns, for analysis.

With checkpoints a directory of parts of a useful size, never a part a checkpoint (`PartDirectory`). Without,
parts are made beside the target and take its place at the end (`StraightParts`), as a directory or, for a name
in `.parquet`, one file.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import pyarrow as pa
import trio

from agora import seam
from agora.context import RunContext
from agora.errors import ConfigError, RecordsRejected, SinkChanged
from agora.records import Json, Record
from agora.sinks.options import IF_EXISTS
from agora.sinks.parts import PartDirectory, next_number, part_name
from agora.sinks.spool import write_part
from agora.sinks.straightparts import StraightParts
from agora.sinks.target import IfExists, as_path

__all__ = ["ParquetSink"]

Codec = Literal["zstd", "snappy", "gzip", "lz4", "none"]


def _as_schema(schema: Any) -> Any:
    """A `pyarrow.Schema`, of a mapping of names to Arrow's names of types too."""
    if schema is None or isinstance(schema, pa.Schema):
        return schema
    if not isinstance(schema, Mapping) or not schema:
        raise ConfigError(
            f"schema = {schema!r}: give a pyarrow.Schema, or names with types such as int64 or string"
        )
    fields = []
    for name, alias in schema.items():
        try:
            fields.append(pa.field(name, pa.type_for_alias(alias)))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"schema: {name} = {alias!r} is no Arrow type: {error}") from error
    return pa.schema(fields)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _check_part_rows(_: object, __: object, rows: int) -> None:
    if rows < 1:
        raise ConfigError(f"part_rows = {rows}: at least 1")


@attrs.define(eq=False)
class ParquetSink:
    """Writes records (dicts, attrs instances) as Parquet, exactly once with checkpoints.

    The schema is given, or that of the records before the first cut; a record with another column or type is
    rejected. `OSError` ends the run. Every method is a trio checkpoint.
    """

    path: Path = attrs.field(
        converter=as_path,
        metadata={
            "doc": "The directory of parts; without checkpoints also one file, if it ends in .parquet."
        },
    )
    schema: dict[str, str] | None = attrs.field(
        default=None,
        kw_only=True,
        converter=_as_schema,
        metadata={
            "doc": "Columns and their Arrow types; or a pyarrow.Schema. Default: told from the first records."
        },
    )
    part_rows: int = attrs.field(
        default=1_000_000,
        kw_only=True,
        validator=_check_part_rows,
        metadata={"doc": "Rows that a part has at least; only the last one of a run may have fewer."},
    )
    compression: Codec = attrs.field(
        default="zstd", kw_only=True, metadata={"doc": '"zstd", "snappy", "gzip", "lz4" or "none".'}
    )
    if_exists: IfExists | None = attrs.field(default=None, kw_only=True, metadata=IF_EXISTS)
    _policy: IfExists | None = attrs.field(init=False, default=None)  # `if_exists` of this run
    _parts: PartDirectory | None = attrs.field(init=False, default=None)  # with checkpoints
    _straight: StraightParts | None = attrs.field(init=False, default=None)  # without

    @property
    def target(self) -> str:
        return f"parquet:{self.path}"

    def explain(self) -> str:
        return "whole parts are renamed by the commit; rows behind them wait in a spool, cut back to the checkpoint"

    def paths(self) -> Sequence[Path]:
        return [self.path]

    async def open(self, context: RunContext) -> None:
        """`ConfigError` where the path can't be what is asked for."""
        # Without checkpoints a target is replaced whole; a replay has only the letters, and adds them.
        self._policy = "append" if context.replay and not context.transactional else self.if_exists
        target = _absolute(self.path)
        await seam.current().in_thread(self._check_target, target, context.transactional)
        self._parts = self._straight = None
        if not context.transactional:
            work = target.with_name(f".{target.name}.{seam.current().random_id()}.tmp")
            part_rows = 1 << 62 if self._single else self.part_rows
            self._straight = StraightParts(work, self.schema, part_rows, self.compression)
            return
        self._parts = PartDirectory(
            path=target,
            shown=str(self.path),
            given_schema=self.schema,
            part_rows=self.part_rows,
            compression=self.compression,
            if_exists=self._policy or "error",
        )
        await self._parts.open(context)

    async def write(self, records: Sequence[Record]) -> None:
        """`RecordsRejected` for those that don't fit the schema, having accepted all others."""
        await trio.lowlevel.checkpoint()
        rejected = await self._taking.write(records)
        if rejected:
            raise RecordsRejected(rejected)

    async def write_columns(self, record_batch: pa.RecordBatch) -> None:
        """The same for rows in columns, whose types are kept where the schema isn't settled yet."""
        await trio.lowlevel.checkpoint()
        rejected = await self._taking.write_columns(record_batch)
        if rejected:
            raise RecordsRejected(rejected)

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._straight is None:
            self._open_parts.finish()

    async def prepare(self) -> Json:
        return await self._open_parts.prepare()

    async def commit(self, token: Json) -> None:
        await self._open_parts.commit(token)

    async def recover(self, token: Json) -> None:
        """`SinkChanged` where the directory isn't what the token says."""
        await self._open_parts.recover(token)

    async def restart(self, token: Json) -> None:
        await self._open_parts.restart(token)

    async def publish(self) -> None:
        straight = self._straight
        if straight is None:
            raise trio.ClosedResourceError(f"{self.target} isn't open for a run without checkpoints")
        await straight.finish()
        await seam.current().in_thread(self._publish, straight.path, _absolute(self.path))

    async def close(self) -> None:
        """Discards what is neither prepared nor published."""
        if self._parts is not None:
            await self._parts.close()
        elif self._straight is not None:
            await self._straight.close()
        else:
            await trio.lowlevel.checkpoint()

    @property
    def _single(self) -> bool:
        return self.path.suffix == ".parquet"

    @property
    def _open_parts(self) -> PartDirectory:
        if self._parts is None:
            raise trio.ClosedResourceError(f"{self.target} isn't open for a run with checkpoints")
        return self._parts

    @property
    def _taking(self) -> PartDirectory | StraightParts:
        return self._open_parts if self._straight is None else self._straight

    # --- blocking ---

    def _check_target(self, target: Path, transactional: bool) -> None:
        files = seam.current().files
        single = not transactional and self._single
        directory = files.is_directory(target)
        if single and directory:
            raise ConfigError(
                f"{self.path} is a directory: without checkpoints a name in .parquet is one file"
            )
        if not single and not directory and files.exists(target):
            raise ConfigError(f"{self.path} is a file: give the name of a directory for the parts")
        if single and self._policy == "append":
            raise ConfigError(
                f"{self.path} is one Parquet file, which can't be appended to: give a directory"
            )
        if not transactional and self._policy == "error":
            self._refuse_existing(target)

    def _refuse_existing(self, target: Path) -> None:
        files = seam.current().files
        if files.exists(target) and (not files.is_directory(target) or files.names(target)):
            raise SinkChanged(
                f'{self.path} exists: move it away, or say if_exists="append" or if_exists="replace"'
            )

    def _publish(self, work: Path, target: Path) -> None:
        files = seam.current().files
        if self._policy == "error":
            self._refuse_existing(target)
        there = files.names(work) if files.exists(work) else []
        names = sorted(name for name in there if not name.startswith("."))
        if self._single:
            self._publish_file(work, target, names)
            return
        if self._policy == "append" and files.exists(target):
            self._publish_behind(work, target, names)
            return
        files.make_directory(work)
        old = target.with_name(f"{work.name}.old")
        if files.exists(target):
            files.replace(target, old)
        files.replace(work, target)
        files.sync_directory(target.parent)
        files.remove_tree(old)

    def _publish_file(self, work: Path, target: Path, names: Sequence[str]) -> None:
        files = seam.current().files
        files.make_directory(work)
        made = work / (names[0] if names else "empty")
        if not names:  # no record came, and no schema was given
            write_part(None, made, pa.schema([]), self.compression)
        files.replace(made, target)
        files.sync_directory(target.parent)

    def _publish_behind(self, work: Path, target: Path, names: Sequence[str]) -> None:
        """Each part whole under a name that sorts behind those that are there."""
        files = seam.current().files
        for number, name in enumerate(names, next_number(files.names(target))):
            files.replace(work / name, target / part_name(number, 0))
        files.sync_directory(target)
