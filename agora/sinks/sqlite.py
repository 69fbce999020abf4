"""SQLite: rows of a table in a database file, appended, or upserted by a key.

Rows are staged in the database when they are written and moved into the table by the commit of a barrier, in
one transaction with a mark, so the table always holds just what the last checkpoint covers: readers see whole
checkpoints, and a stale runner's commit is refused by the database.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import trio

from agora import seam
from agora.context import RunContext
from agora.errors import ConfigError, RecordsRejected, SinkChanged
from agora.records import Json, Record
from agora.sinks.options import IF_EXISTS
from agora.sinks.sqlitecolumns import Given
from agora.sinks.sqliterows import TYPES, check_name
from agora.sinks.sqlitestage import StagedTable
from agora.sinks.sqlitetoken import TableToken
from agora.sinks.target import IfExists, as_path
from agora.threaded import threaded

__all__ = ["SQLiteSink"]


def _names(names: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(names)


def _types(schema: Mapping[str, str] | None) -> dict[str, str] | None:
    if schema is None:
        return None
    return {name: kind.upper() if isinstance(kind, str) else kind for name, kind in schema.items()}


def _check_names(what: str, names: Sequence[object]) -> None:
    folded = set()
    for name in names:
        try:
            check_name(name)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{what}: {error}") from error
        folded.add(str(name).lower())
    if len(folded) < len(names):
        raise ConfigError(f"{what}: {list(names)} names one column twice (SQLite ignores case)")


@attrs.define(eq=False)
class SQLiteSink:
    """Writes records (dicts, attrs instances) as rows, exactly once with checkpoints.

    Text, integers up to 64 bits, floats, bytes and `None` are kept as they are; `True` is 1; dates, Decimal,
    UUID and nested values are the text that they have in JSON lines. A record that the table refuses (a
    constraint, another type, a column that it hasn't) is rejected, its neighbours are written.

    A table that isn't there is made, strict, with the columns and types given, or those of the records before
    the first cut. To a table that is there, missing columns are NULL, and the columns that have a default are
    written if the first record has them. Foreign keys are enforced, against committed rows. Without
    checkpoints the rows appear at the end of a successful run, at once, or not at all; a table that is
    replaced keeps its definition.

    Read the file in the same process through `apsw`, not `sqlite3`: of two copies of SQLite in one process,
    one drops the locks of the other. `OSError` (locked for 10 s, disk full) ends the run. Every method is a
    trio checkpoint; one that is cancelled has done nothing.
    """

    path: Path = attrs.field(
        converter=as_path,
        metadata={"doc": "The database; it is made with its directory when it isn't there."},
    )
    table: str = attrs.field(metadata={"doc": "The table to write."})
    key: tuple[str, ...] | None = attrs.field(
        default=None,
        kw_only=True,
        converter=_names,
        metadata={"doc": "Column, or columns, by which rows are upserted. Default: rows are appended."},
    )
    columns: tuple[str, ...] | None = attrs.field(
        default=None,
        kw_only=True,
        converter=_names,
        metadata={"doc": "The columns to write. Default: told from the records and the table."},
    )
    schema: dict[str, str] | None = attrs.field(
        default=None,
        kw_only=True,
        converter=_types,
        metadata={
            "doc": "Columns with their types, INTEGER, REAL, TEXT, BLOB or ANY, in place of columns. Default: "
            "told from the records before the first cut."
        },
    )
    if_exists: IfExists | None = attrs.field(default=None, kw_only=True, metadata=IF_EXISTS)
    _staged: StagedTable | None = attrs.field(init=False, default=None)
    _work: Path | None = attrs.field(init=False, default=None)  # beside the target, for one that is new

    def __attrs_post_init__(self) -> None:
        _check_names("table", [self.table])
        _check_names("key", self.key or ())
        _check_names("columns", self.columns or ())
        _check_names("schema", list(self.schema or ()))
        if self.schema is not None and self.columns is not None:
            raise ConfigError("schema and columns both say what the columns are: give one of them")
        for name, kind in (self.schema or {}).items():
            if kind not in TYPES:
                raise ConfigError(f"schema: {name} = {kind!r} is none of {', '.join(TYPES)}")
        listed = self.columns or self.schema
        unlisted = [name for name in self.key or () if listed is not None and name not in listed]
        if unlisted or self.columns == () or self.schema == {} or self.key == ():
            raise ConfigError(
                f"key, columns, schema: each names at least one column, and the key is among them; {unlisted} isn't"
            )

    @property
    def target(self) -> str:
        return f"sqlite:{self.path}:{self.table}"

    def explain(self) -> str:
        return "rows are staged, and moved into the table by the commit, in one transaction with a mark"

    def paths(self) -> Sequence[Path]:
        """The table as a path below the file: two sinks may share the file, not the table."""
        return [self.path / self.table.lower()]

    async def open(self, context: RunContext) -> None:
        """Makes nothing yet. `ConfigError` where the path can't be a database, `SinkChanged` where the table
        exists and, without checkpoints, mustn't."""
        await seam.current().in_thread(self._open, context)

    async def write(self, records: Sequence[Record]) -> None:
        """`RecordsRejected` for those that the table refuses, having accepted all others."""
        rejected = await seam.current().in_thread(self._open_table.write, records)
        if rejected:
            raise RecordsRejected(rejected)

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()
        self._open_table.finish()

    @threaded
    def prepare(self) -> Json:
        return self._open_table.prepare().to_json()

    async def commit(self, token: Json) -> None:
        """`PipelineBusy` where a later runner has taken over."""
        await seam.current().in_thread(self._open_table.commit, self._known(token))

    async def recover(self, token: Json) -> None:
        """`SinkChanged` where the table isn't what the token says."""
        await seam.current().in_thread(self._open_table.recover, self._known(token))

    async def restart(self, token: Json) -> None:
        """`SinkChanged` where its rows can't be told from others': upserted ones never."""
        await seam.current().in_thread(self._open_table.restart, self._known(token))

    async def publish(self) -> None:
        await seam.current().in_thread(self._publish)

    async def close(self) -> None:
        """Discards what is neither prepared nor published."""
        if self._staged is None:
            await trio.lowlevel.checkpoint()
        else:
            await seam.current().in_thread(self._close)

    @property
    def _open_table(self) -> StagedTable:
        if self._staged is None:
            raise trio.ClosedResourceError(f"{self.target} isn't open")
        return self._staged

    def _known(self, token: Json) -> TableToken:
        return TableToken.from_json(token, self.table)

    # --- blocking ---

    def _open(self, context: RunContext) -> None:
        target = Path(os.path.abspath(self.path))
        if target.exists() and not target.is_file():
            raise ConfigError(f"{self.path} is no file: give the name of a database")
        policy: IfExists = self.if_exists or ("error" if context.transactional else "replace")
        if context.replay and not context.transactional:
            policy = "append"  # a replay has only the letters, and adds them
        self._work = None
        if not context.transactional and not target.exists():
            self._work = target.with_name(f".{target.name}.{seam.current().random_id()}.tmp")
        given = Given(
            table=self.table,
            key=self.key or (),
            columns=self.columns,
            schema=self.schema,
            if_exists=policy,
        )
        staged = StagedTable(self._work or target, given, context, str(self.path))
        staged.open()
        self._staged = staged

    def _publish(self) -> None:
        staged = self._open_table
        staged.publish()
        if self._work is None or not self._work.exists():
            return
        staged.close()  # which leaves one file, without a log
        files = seam.current().files
        target = Path(os.path.abspath(self.path))
        if target.exists():
            raise SinkChanged(f"{self.path} wasn't there when the run began, and is now: run again")
        with files.open(self._work, "r+b") as handle:
            files.fsync(handle)
        files.replace(self._work, target)
        files.sync_directory(target.parent)

    def _close(self) -> None:
        staged, self._staged = self._staged, None
        try:
            if staged is not None:
                staged.close()
        finally:
            if self._work is not None:
                for suffix in ("", "-wal", "-shm", "-journal"):
                    seam.current().files.unlink(self._work.with_name(self._work.name + suffix))
