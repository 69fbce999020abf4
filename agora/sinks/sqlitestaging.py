"""Staged rows: tried when they are written, moved into the table as one.

A row is tried against the table by inserting it there and undoing that, so whatever the table refuses (unique,
NOT NULL, CHECK, foreign keys, types) is known while it can still be that record's failure. What it has to be
tried with besides, the constraints themselves tell (`Table.check`).
"""

# ruff: noqa: S608 - names can't be bound as parameters; every one is quoted or a constant
from collections.abc import Mapping, Sequence

import apsw
import attrs

from agora.errors import ConfigError, SinkChanged
from agora.sinks.encode import Rejections
from agora.sinks.sqlitedb import Database, quoted
from agora.sinks.sqliterows import SqlRow
from agora.sinks.sqlitetable import Table, create_table, insert, look
from agora.sinks.sqlitetoken import Mark, TableToken

__all__ = ["Fit", "Staging", "count_staged", "move"]

_SEQ = "seq"
_ALL = 2**63 - 1
_REFUSALS = (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError)


@attrs.frozen(kw_only=True)
class Fit:
    """How rows go into a table."""

    table: Table | None
    """`None`: it will be made, and takes what has the types of the columns."""
    columns: Mapping[str, str]
    """Names and types; `""` where the table decides."""
    key: Sequence[str]
    """Of an upsert; empty: rows are appended."""
    valued: Sequence[str]
    """Columns that always have a value."""
    replaces: bool
    """The rows that are there go when the first are moved."""

    @property
    def check(self) -> str:
        return "none" if self.table is None else self.table.check(self.columns, self.key, self.valued)


@attrs.frozen
class Staging:
    """The staged rows of one run, and how they are tried. Every call is inside a transaction."""

    db: Database
    where: str
    """The table of staged rows, with its schema, as SQL."""
    shown: str

    def create(self, fit: Fit) -> None:
        """The columns take the affinities of the table, and its unique constraints, so that what collides there
        collides here."""
        self.db.connection.execute(f"CREATE TABLE {self.where} ({_SEQ} INTEGER PRIMARY KEY)")
        for number, name in enumerate(fit.columns):
            self.add_column(number, "" if fit.table is None else fit.table.affinities[name])
        if fit.table is not None and fit.check == "rows":
            self._add_uniques(fit, fit.table)

    def add_column(self, number: int, affinity: str = "") -> None:
        """By number, since not every name can be added to a table (`rowid`)."""
        self.db.connection.execute(f"ALTER TABLE {self.where} ADD COLUMN c{number} {affinity}")

    def accept(self, rows: Mapping[int, SqlRow], fit: Fit, *, after: int) -> Rejections:
        """Stage, behind number `after`, all that the table will take; the others' errors."""
        if not rows:
            return {}
        try:
            self._together(list(rows.values()), fit, after)
        except _REFUSALS as error:
            self._refuse_rollback(error)
            return self._one_by_one(rows, fit, after)
        return {}

    def try_all(self, fit: Fit) -> None:
        """Raise what moving all that is staged would raise."""
        if fit.check != "none":
            with self.db.savepoint(keep=False):
                self._make_ready(fit, staged=True)
                _refuse_deferred(self.db.connection)

    def drop_behind(self, seq: int) -> None:
        """Keep the rows up to this number."""
        self.db.connection.execute(f"DELETE FROM {self.where} WHERE {_SEQ} > ?", (seq,))

    def _together(self, rows: Sequence[SqlRow], fit: Fit, after: int) -> None:
        """All of them, or an error of `_REFUSALS` and none."""
        connection, tried = self.db.connection, self._try_sql(fit)
        if tried is not None:
            with self.db.savepoint(keep=False):
                self._make_ready(fit, staged=fit.check == "order")
                connection.executemany(tried, rows)
                _refuse_deferred(connection)
        with self.db.savepoint(keep=True):
            self._stage(rows, fit, after)

    def _one_by_one(self, rows: Mapping[int, SqlRow], fit: Fit, after: int) -> Rejections:
        connection, tried = self.db.connection, self._try_sql(fit)
        stage = self._stage_sql(fit)
        accepted: list[SqlRow] = []
        rejected: Rejections = {}
        with self.db.savepoint(keep=False):
            if tried is not None:
                self._make_ready(fit, staged=fit.check == "order")
            for index, row in rows.items():
                try:
                    with self.db.savepoint(keep=True):
                        if tried is not None:
                            connection.execute(tried, row)
                            _refuse_deferred(connection)
                        connection.execute(stage, (after + len(accepted) + 1, *row))
                except _REFUSALS as error:
                    self._refuse_rollback(error)
                    rejected[index] = ValueError(f"{self.shown} refuses it: {error}")
                else:
                    accepted.append(row)
        self._stage(accepted, fit, after)
        return rejected

    def _refuse_rollback(self, error: apsw.Error) -> None:
        if not self.db.connection.in_transaction:
            raise ConfigError(
                f"a trigger of {self.shown} rolls back more than its row ({error}): let it RAISE(ABORT, ...)"
            ) from error

    def _make_ready(self, fit: Fit, *, staged: bool) -> None:
        """Make the table, in a trial, what it will be when the next row comes."""
        assert fit.table is not None
        if fit.replaces:
            self.db.connection.execute(f"DELETE FROM main.{quoted(fit.table.name)}")
        if staged:
            sql = insert(fit.table.name, list(fit.columns), fit.key, _select(self.where, fit.columns))
            self.db.connection.execute(sql, (_ALL,))

    def _stage(self, rows: Sequence[SqlRow], fit: Fit, after: int) -> None:
        numbered = ((number, *row) for number, row in enumerate(rows, after + 1))
        self.db.connection.executemany(self._stage_sql(fit), numbered)

    def _stage_sql(self, fit: Fit) -> str:
        names = ", ".join([_SEQ, *_numbered(fit.columns)])
        return f"INSERT INTO {self.where} ({names}) VALUES (?{', ?' * len(fit.columns)})"

    def _try_sql(self, fit: Fit) -> str | None:
        if fit.table is None or fit.check == "none":
            return None
        return insert(fit.table.name, list(fit.columns), fit.key)

    def _add_uniques(self, fit: Fit, table: Table) -> None:
        schema, _, name = self.where.partition(".")
        columns = dict(zip(fit.columns, _numbered(fit.columns), strict=True))
        for number, unique in enumerate(table.others(fit.key)):
            if all(column in columns for column, _ in unique):
                parts = ", ".join(f"{columns[column]} COLLATE {quoted(how)}" for column, how in unique)
                index = f'"{name[1:-1]}_{number}"'
                self.db.connection.execute(f"CREATE UNIQUE INDEX {schema}.{index} ON {name} ({parts})")


def move(db: Database, token: TableToken, mark: Mark, where: str, table: Table | None, shown: str) -> Mark:
    """Move the staged rows of the token into the table, which is made if need be; the mark after that."""
    connection = db.connection
    if token.created and table is not None and mark.number == 0:
        raise SinkChanged(f"{shown} wasn't there when the run began, and is now: drop it, then run again")
    if table is None:
        connection.execute(create_table(token.table, token.types, token.key))
        table = look(connection, token.table)
        assert table is not None
    elif token.replaces and mark.number == 0:
        connection.execute(f"DELETE FROM main.{quoted(table.name)}")
    before = _last(connection, table)
    rows_sql = _select(where, token.types)
    connection.execute(insert(table.name, list(token.types), token.key, rows_sql), (token.seq,))
    count = connection.changes()
    connection.execute(f"DELETE FROM {where} WHERE {_SEQ} <= ?", (token.seq,))
    first = mark.first if mark.rows else before + 1
    last = _last(connection, table)
    rows = mark.rows + count
    strangers = (mark.rows and before != mark.last) or last - first + 1 != rows
    return Mark(
        fence=mark.fence,
        number=token.number,
        rows=rows,
        first=first,
        last=last,
        mixed=mark.mixed or bool(strangers),
    )


def count_staged(connection: apsw.Connection, token: TableToken, where: str) -> int:
    count: int = connection.execute(f"SELECT count(*) FROM {where} WHERE {_SEQ} <= ?", (token.seq,)).get
    return count


def _numbered(columns: Mapping[str, str]) -> list[str]:
    return [f"c{number}" for number in range(len(columns))]


def _select(where: str, columns: Mapping[str, str]) -> str:
    return f"SELECT {', '.join(_numbered(columns))} FROM {where} WHERE {_SEQ} <= ? ORDER BY {_SEQ}"


def _last(connection: apsw.Connection, table: Table) -> int:
    if table.rowid is None:
        return 0
    sql = f"SELECT max({quoted(table.rowid)}) FROM main.{quoted(table.name)}"
    found: int | None = connection.execute(sql).get
    return found or 0


def _refuse_deferred(connection: apsw.Connection) -> None:
    """A deferred foreign key would be refused at the commit, which is too late."""
    if connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
        raise apsw.ConstraintError("FOREIGN KEY constraint failed")
