"""A directory of Parquet parts as part of the barrier.

What is committed is the parts that the token lists and the spool up to the token's offset. A part is written
under a hidden name, becomes visible at the commit after the save that lists it, and is never touched again:
so what is visible is always committed, and a visible part that the token doesn't know shows that the state is
older than it.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa

from agora import seam
from agora.context import RunContext
from agora.errors import SinkChanged
from agora.records import Json, Record
from agora.sinks.arrowrows import ArrowRows
from agora.sinks.encode import Rejections
from agora.sinks.spool import packed, write_part
from agora.sinks.target import AppendFile, IfExists

__all__ = ["PartDirectory", "PartsToken", "next_number", "part_name"]

_PART = re.compile(r"part-(\d{10,})-\d+\.parquet")

_HELD_ROWS = 64 * 1024
_HELD_BYTES = 32 * 1024 * 1024


@attrs.frozen(kw_only=True)
class PartsToken:
    """What the directory has to hold. JSON-able through `to_json`."""

    directory: str
    created: bool
    """The pipeline made the directory: undone, it is removed, if nothing else is in it."""
    number: int
    """Of the next part."""
    parts: list[list[Any]]
    """Name and size in bytes of each part of this pipeline, in order."""
    replaces: list[str]
    """Parts of before that the first commit with rows removes."""
    schema: str | None
    """Arrow IPC, base64; `None` until it is frozen."""
    spool: str
    spool_rows: int
    spool_token: dict[str, Any]

    def to_json(self) -> dict[str, Json]:
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, token: Json) -> "PartsToken":
        """`SinkChanged` for a token that no Parquet sink made."""
        names = {field.name for field in attrs.fields(cls)}
        if not isinstance(token, dict) or token.keys() != names:
            raise SinkChanged(
                f"the checkpoint holds {token!r} for this sink, which isn't a Parquet directory's token: the "
                "sink of this name was of another kind when it was saved. Give it a new name=, or run with "
                "restart=True"
            )
        known: dict[str, Any] = dict(token)
        return cls(**known)

    def begun_anew(self) -> "PartsToken":
        """After a completed run whose parts were all moved away; numbers go on, so that names never
        repeat."""
        return attrs.evolve(self, parts=[], replaces=[], schema=None)


@attrs.define(eq=False)
class PartDirectory:
    """Takes records, makes parts. Every async method is a trio checkpoint; `open` begins anew."""

    path: Path
    shown: str
    """The path as messages and tokens name it."""
    given_schema: pa.Schema | None
    part_rows: int
    compression: str
    if_exists: IfExists

    _context: RunContext = attrs.field(init=False)
    _rows: ArrowRows = attrs.field(init=False, factory=ArrowRows)
    _spool: AppendFile = attrs.field(init=False)
    _spool_rows: int = attrs.field(init=False, default=0)
    _number: int = attrs.field(init=False, default=0)
    _created: bool = attrs.field(init=False, default=True)
    _parts: list[list[Any]] = attrs.field(init=False, factory=list)
    _replaces: list[str] = attrs.field(init=False, factory=list)
    _begun: bool = attrs.field(init=False, default=False)
    _finished: bool = attrs.field(init=False, default=False)

    async def open(self, context: RunContext) -> None:
        self._context = context
        self._begun = self._finished = False
        self._set_new()
        await self._use_spool(self._spool_name())

    async def write(self, records: Sequence[Record]) -> Rejections:
        """The errors of those that don't fit; all others are taken."""
        await self._make_room()
        return self._rows.add(records)

    async def write_columns(self, batch: pa.RecordBatch) -> Rejections:
        """The same for rows in columns."""
        await self._make_room()
        return self._rows.add_columns(batch)

    async def _make_room(self) -> None:
        await self._begin()
        if self._rows.rows >= _HELD_ROWS or self._rows.size >= _HELD_BYTES:
            await self._to_spool()
            if self._spool_rows >= self.part_rows:
                await self._make_part()

    def finish(self) -> None:
        self._finished = True

    async def prepare(self) -> dict[str, Json]:
        await self._begin()
        await self._to_spool()
        empty = self._finished and not self._parts and self._rows.schema is not None
        if self._spool_rows >= self.part_rows or (self._finished and self._spool_rows) or empty:
            await self._make_part()
        spool_token = await self._spool.prepare()
        return self._token(spool_token).to_json()

    async def commit(self, token: Json) -> None:
        """Show the parts that the token lists; remove what they stand for."""
        await seam.current().in_thread(self._commit, PartsToken.from_json(token))

    async def recover(self, token: Json) -> None:
        known = PartsToken.from_json(token)
        if await seam.current().in_thread(self._settle, known):
            known = known.begun_anew()
        await self._use_spool(known.spool)
        await self._spool.recover(known.spool_token)
        self._take_over(known)
        await seam.current().in_thread(self._commit, known)
        if not known.spool_rows:  # the holder before may wake, and begin a file of that name
            await self._use_spool(self._spool_name())
        self._begun = True

    async def restart(self, token: Json) -> None:
        known = PartsToken.from_json(token)
        await seam.current().in_thread(self._undo, known)
        self._set_new()
        await self._use_spool(self._spool_name())
        self._begun = self._finished = False

    async def close(self) -> None:
        await self._spool.close()

    # --- rows to spool, spool to part ---

    async def _use_spool(self, name: str) -> None:
        self._spool = AppendFile(self.path / name, "error", "none", live=True)
        await self._spool.open(
            attrs.evolve(self._context, resumed_from=None)
        )  # what is behind it is always ours

    async def _to_spool(self) -> None:
        if not self._rows.rows:
            return
        count, batches = self._rows.rows, self._rows.take()
        try:
            await self._spool.append(packed(batches, self._rows.schema))
        except BaseException:
            self._rows.put_back(batches)
            raise
        self._spool_rows += count

    async def _make_part(self) -> None:
        """Durable under its hidden name; the rows go on in a new spool, the old one goes at the commit."""
        spool = self._spool.at if self._spool_rows else None
        await self._spool.prepare()
        name = part_name(self._number, self._context.fence)
        size = await seam.current().in_thread(self._write_part, spool, name)
        await self._spool.close()
        self._parts.append([name, size])
        self._number += 1
        self._spool_rows = 0
        await self._use_spool(self._spool_name())

    def _write_part(self, spool: Path | None, name: str) -> int:
        files = seam.current().files
        files.make_directory(self.path)
        if spool is not None:
            self._spool.must_be_ours()
        size = write_part(spool, self._hidden(name), self._rows.schema, self.compression)
        files.sync_directory(self.path)
        files.sync_directory(self.path.parent)
        return size

    # --- before the first write, blocking ---

    async def _begin(self) -> None:
        if not self._begun:
            await seam.current().in_thread(self._settle_existing)
            await self._use_spool(self._spool_name())
            self._begun = True

    def _settle_existing(self) -> None:
        if not seam.current().files.exists(self.path):
            return
        there = _visible(self.path)
        if there and self.if_exists == "error":
            raise SinkChanged(
                f"{self.shown} holds files, and no checkpoint of this pipeline knows it: move it away, or "
                'say if_exists="append" or if_exists="replace"'
            )
        self._drop_hidden(set())
        self._created = False
        parts = [name for name in there if name.endswith(".parquet")]
        self._number = next_number(parts)
        self._replaces = parts if self.if_exists == "replace" else []

    # --- commit and recovery, blocking ---

    def _commit(self, token: PartsToken) -> None:
        files = seam.current().files
        if not files.exists(self.path):
            return
        hidden = set(files.names(self.path))
        pending = [name for name, _ in token.parts if self._hidden(name).name in hidden]
        for name in pending:
            files.replace(self._hidden(name), self.path / name)
        gone = [name for name in token.replaces if name in hidden] if token.parts else []
        old = [name for name in hidden if name.startswith(".spool-") and name < token.spool]
        for name in [*gone, *old]:
            files.unlink(self.path / name)
        if pending or gone:
            files.sync_directory(self.path)
        if token.created and not token.parts and not token.spool_token["exists"]:
            self._remove_if_empty()

    def _settle(self, token: PartsToken, *, undoing: bool = False) -> bool:
        """Whether the directory is begun anew. `SinkChanged` where it isn't what the token says."""
        completed = self._context.resumed_from is not None and self._context.resumed_from.completed
        names = set(self._names())
        sizes = {name: self._size(name, names) for name, _ in token.parts}
        later = sorted(name for name in names if next_number([name]) > token.number)
        gone = bool(token.parts) and not any(size is not None for size in sizes.values())
        if completed and gone and not later:
            return True
        for name, size in token.parts:
            if sizes[name] != size and not (undoing and sizes[name] is None):
                what = "is missing" if sizes[name] is None else f"has {sizes[name]} bytes instead of {size}"
                raise SinkChanged(
                    f"{self.shown}/{name} {what}, though it is committed: put it back as it was; or "
                    "move the directory away and start over with restart=True (`agora run --restart`)"
                )
        if later:
            raise SinkChanged(
                f"{self.shown}/{later[0]} is newer than the checkpoint: the state is older than the "
                "directory. Use the newer state; or move the directory away and start over with restart=True"
            )
        self._drop_hidden({token.spool, *(self._hidden(name).name for name, _ in token.parts)})
        return False

    def _undo(self, token: PartsToken) -> None:
        self._settle(token, undoing=True)
        files = seam.current().files
        for name, _ in token.parts:
            files.unlink(self.path / name)
            files.unlink(self._hidden(name))
        self._drop_hidden(set())
        if token.created and files.exists(self.path):
            self._remove_if_empty()

    def _remove_if_empty(self) -> None:
        files = seam.current().files
        if not files.names(self.path):
            files.remove_directory(self.path)

    def _size(self, name: str, names: set[str]) -> int | None:
        for there in (self.path / name, self._hidden(name)):
            if there.name in names:
                return seam.current().files.status(there).size
        return None

    def _drop_hidden(self, keep: set[str]) -> None:
        """Spools and parts that runs before this one left."""
        for name in self._names():
            if name.startswith((".spool-", ".part-", "..spool-")) and name not in keep:
                seam.current().files.unlink(self.path / name)

    def _names(self) -> list[str]:
        files = seam.current().files
        return files.names(self.path) if files.is_directory(self.path) else []

    # --- bookkeeping ---

    def _set_new(self) -> None:
        self._rows = ArrowRows(self.given_schema, frozen=self.given_schema is not None)
        self._spool_rows = self._number = 0
        self._created = True
        self._parts, self._replaces = [], []

    def _take_over(self, token: PartsToken) -> None:
        self._created, self._number, self._spool_rows = token.created, token.number, token.spool_rows
        self._parts, self._replaces = [list(part) for part in token.parts], list(token.replaces)
        if token.schema is None:
            self._rows = ArrowRows(self.given_schema, frozen=self.given_schema is not None)
            return
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(token.schema)))
        if self.given_schema is not None and not self.given_schema.equals(schema):
            raise SinkChanged(
                f"{self.shown} holds rows of the schema ({_line(schema)}), the sink is to write "
                f"({_line(self.given_schema)}): give it the schema that it had, or another path"
            )
        self._rows = ArrowRows(schema, frozen=True)

    def _hidden(self, name: str) -> Path:
        return self.path / f".{name}.new"

    def _spool_name(self) -> str:
        return f".spool-{self._number:010d}-{self._context.fence}.arrow"

    def _token(self, spool_token: dict[str, Json]) -> PartsToken:
        schema = self._rows.schema if self._rows.frozen else None
        return PartsToken(
            directory=self.shown,
            created=self._created,
            number=self._number,
            parts=[list(part) for part in self._parts],
            replaces=list(self._replaces),
            schema=None if schema is None else base64.b64encode(schema.serialize()).decode(),
            spool=self._spool.path.name,
            spool_rows=self._spool_rows,
            spool_token=spool_token,
        )


def part_name(number: int, fence: int) -> str:
    """Names sort in the order of their rows; the fencing number keeps two holders' parts apart."""
    return f"part-{number:010d}-{fence}.parquet"


def next_number(names: Iterable[str]) -> int:
    """The number behind those of all parts among these files; 0 if there are none."""
    parts = map(_PART.fullmatch, names)
    return max((int(part[1]) + 1 for part in parts if part), default=0)


def _visible(path: Path) -> list[str]:
    return sorted(name for name in seam.current().files.names(path) if not name.startswith("."))


def _line(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
