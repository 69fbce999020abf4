"""Which columns are written, and what must be in them: of what the user gave, the table and the records.

It is decided by the table and the first record, or by all records before the first cut, and never by a batch:
so the same records give the same rows for every batch size.
"""

import contextlib
from collections.abc import Collection, Mapping, Sequence

import attrs

from agora.errors import ConfigError, SinkChanged
from agora.records import Record
from agora.sinks.csvtext import row_fields
from agora.sinks.sqliterows import RowEncoder
from agora.sinks.sqlitetable import Table
from agora.sinks.target import IfExists

__all__ = ["Given"]


@attrs.frozen(kw_only=True)
class Given:
    """What the user asked for."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...] | None
    schema: Mapping[str, str] | None
    if_exists: IfExists

    def check(self, table: Table, shown: str) -> None:
        """`ConfigError` where the table can't be written so."""
        wanted = [*(self.columns or self.schema or ()), *self.key]
        missing = [name for name in wanted if name not in table.columns]
        if missing:
            raise ConfigError(
                f"{shown} has no columns {missing!r} that can be written: it has {list(table.columns)}"
            )
        if self.key and not table.has_key(self.key):
            raise ConfigError(
                f"{shown} has no primary key or unique index of just the columns {list(self.key)}: make one, or "
                "give another key"
            )

    def first_encoder(self, table: Table | None, records: Sequence[Record]) -> RowEncoder:
        """For the first records of all. `table`: one that was there before."""
        if self.schema is not None:
            return RowEncoder(dict(self.schema), self._valued(self.schema, table))
        if table is None:
            types = dict.fromkeys(self.columns or (), "?")
            return RowEncoder(types, self.key, growing=self.columns is None, typing=True)
        names = self.columns or self._written(table, records)
        return RowEncoder(dict.fromkeys(names, ""), self._valued(names, table))

    def next_encoder(
        self, table: Table, types: Mapping[str, str], *, created: bool, shown: str
    ) -> RowEncoder:
        """For records behind a checkpoint with these columns. `SinkChanged` where they can't be written."""
        if self.schema is not None and created and dict(self.schema) != types:
            raise SinkChanged(
                f"{shown} was made with the columns {dict(types)}, the sink is to write {dict(self.schema)}: give "
                "it the schema that it had, or another table"
            )
        now = self.columns or tuple(self.schema or types)
        lost = [name for name in now if name not in table.columns]
        if lost:
            raise SinkChanged(f"{shown} has lost the columns {lost} that are written: put them back")
        known = types if self.schema is None else self.schema
        return RowEncoder({name: known.get(name, "") for name in now}, self._valued(now, table))

    def _written(self, table: Table, records: Sequence[Record]) -> list[str]:
        """All columns for which leaving them out means NULL; of the others the key, and what the first record
        has."""
        first: Collection[str] = ()
        for record in records:
            with contextlib.suppress(TypeError):
                first = row_fields(record)
                break
        return [n for n, special in table.columns.items() if not special or n in first or n in self.key]

    def _valued(self, columns: Collection[str], table: Table | None) -> tuple[str, ...]:
        """Columns that must have a value: the key, and a rowid that is written."""
        alias = None if table is None else table.alias
        return tuple(dict.fromkeys([*self.key, *([alias] if alias in columns and alias else [])]))
