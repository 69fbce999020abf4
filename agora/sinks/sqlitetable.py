"""What a table of a SQLite database is, as far as it decides whether a row will be taken.

A row must be refused when it is written, though it moves into the table only at the commit. What the
constraints of the table look at tells how: nothing, the row and the table alone, or all staged rows before it.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Any, Literal

import apsw
import attrs

from agora.sinks.sqlitedb import quoted

__all__ = ["Table", "create_table", "insert", "look"]

Check = Literal["none", "rows", "order"]


@attrs.frozen(kw_only=True)
class Table:
    """A table that is there."""

    name: str
    """As the database writes it."""
    columns: Mapping[str, bool]
    """Name → whether leaving the column out is something else than NULL (a default, an automatic id)."""
    affinities: Mapping[str, str]
    alias: str | None
    """The column that is the rowid (`INTEGER PRIMARY KEY`)."""
    rowid: str | None
    """A name under which the rowid can be read."""
    uniques: Sequence[Sequence[tuple[str, str]]]
    """Columns, with their collations, of each plain unique constraint."""
    foreign_keys: bool
    strict: bool
    required: Set[str]
    """Columns that must not be NULL."""
    checked: bool
    """Has CHECK constraints or generated columns."""
    odd: bool
    """Has constraints that only trying all rows in order can tell."""

    def check(self, columns: Mapping[str, str], key: Sequence[str], valued: Sequence[str]) -> Check:
        """What a row has to be tried against. `columns` are written (with their types, `""` where the table
        decides), `valued` always have a value; `key` is that of an upsert, `()` for appending."""
        if self.odd or any(self._hangs_on_others(unique, columns, key) for unique in self.uniques):
            return "order"
        alone = (
            self.checked
            or self.foreign_keys
            or not self.required <= set(valued)
            or (self.strict and "" in columns.values())
        )
        return "rows" if alone or self.others(key) else "none"

    def others(self, key: Sequence[str]) -> Sequence[Sequence[tuple[str, str]]]:
        """Unique constraints beside the key."""
        return [unique for unique in self.uniques if not _same(unique, key)]

    def has_key(self, key: Sequence[str]) -> bool:
        return any(_same(unique, key) for unique in self.uniques)

    def _hangs_on_others(
        self, unique: Sequence[tuple[str, str]], columns: Mapping[str, str], key: Sequence[str]
    ) -> bool:
        """Whether rows collide that don't among the staged ones: a row replaced by an upsert, a default."""
        if _same(unique, key):
            return False
        defaults = [
            n for n, _ in unique if n not in columns and n != self.alias and self.columns.get(n, True)
        ]
        return bool(key) or bool(defaults)


def _same(unique: Sequence[tuple[str, str]], key: Sequence[str]) -> bool:
    return sorted(name for name, _ in unique) == sorted(key)


def look(connection: apsw.Connection, name: str) -> Table | None:
    """The table of this name (in any case), `None` where there is none. `TypeError` for a view and the like."""
    found = connection.execute(
        "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE",
        (name,),
    ).get
    if found is None:
        return None
    name, kind, without_rowid, strict = found
    if kind != "table":
        raise TypeError(f"{name!r} is a {kind} table" if kind != "view" else f"{name!r} is a view")
    sql = connection.execute(
        "SELECT upper(sql) FROM main.sqlite_schema WHERE type = 'table' AND name = ?", (name,)
    ).get
    columns: list[Any] = connection.execute(
        'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)', (name,)
    ).fetchall()
    indexes: list[Any] = connection.execute(
        'SELECT name, origin, partial FROM pragma_index_list(?) WHERE "unique"', (name,)
    ).fetchall()
    alias = None if without_rowid else _alias(columns, indexes)
    uniques: list[Sequence[tuple[str, str]]] = [[(alias, "BINARY")]] if alias else []
    odd = "ON CONFLICT" in sql or _has_triggers(connection, name) or _refers_to_itself(connection, name)
    for index, _, partial in indexes:
        parts: list[Any] = connection.execute(
            "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key", (index,)
        ).fetchall()
        if partial or any(column is None for column, _ in parts):
            odd = True
        else:
            uniques.append(parts)
    names = {column[0].lower() for column in columns}
    return Table(
        name=name,
        columns={c[0]: c[3] is not None or c[0] == alias for c in columns if not c[5]},
        affinities={c[0]: _affinity(c[1], strict=bool(strict)) for c in columns},
        alias=alias,
        rowid=None
        if without_rowid
        else next((a for a in ("rowid", "_rowid_", "oid") if a not in names), alias),
        uniques=uniques,
        foreign_keys=bool(connection.execute("SELECT count(*) FROM pragma_foreign_key_list(?)", (name,)).get),
        strict=bool(strict),
        required={c[0] for c in columns if c[2]},
        checked="CHECK" in sql or any(c[5] for c in columns),
        odd=odd,
    )


def _alias(columns: Sequence[tuple[object, ...]], indexes: Sequence[tuple[object, ...]]) -> str | None:
    keys = [column for column in columns if column[4]]
    if len(keys) != 1 or str(keys[0][1]).upper() != "INTEGER":
        return None
    return None if any(origin == "pk" for _, origin, _ in indexes) else str(keys[0][0])


def _has_triggers(connection: apsw.Connection, name: str) -> bool:
    found = connection.execute(
        "SELECT count(*) FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE",
        (name,),
    ).get
    return bool(found)


def _refers_to_itself(connection: apsw.Connection, name: str) -> bool:
    found = connection.execute(
        'SELECT count(*) FROM pragma_foreign_key_list(?) WHERE "table" = ? COLLATE NOCASE', (name, name)
    ).get
    return bool(found)


def _affinity(declared: str, *, strict: bool) -> str:
    """SQLite's own rule, as a type that can be declared; none (a blank) keeps values as they are."""
    kind = declared.upper()
    if "INT" in kind:
        return "INTEGER"
    if any(word in kind for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if not kind or "BLOB" in kind or (strict and kind == "ANY"):
        return ""
    return "REAL" if any(word in kind for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def create_table(name: str, types: Mapping[str, str], key: Sequence[str]) -> str:
    """SQL that makes the table: strict, so that what is read is what was written."""
    if len(key) == 1 and types[key[0]] == "INTEGER":
        columns = [f"{quoted(c)} {t}" + (" PRIMARY KEY" if c == key[0] else "") for c, t in types.items()]
    else:
        columns = [f"{quoted(c)} {t}" + (" NOT NULL" if c in key else "") for c, t in types.items()]
        columns += [f"PRIMARY KEY ({', '.join(map(quoted, key))})"] if key else []
    return f"CREATE TABLE main.{quoted(name)} ({', '.join(columns)}) STRICT"


def insert(name: str, columns: Sequence[str], key: Sequence[str], rows: str | None = None) -> str:
    """SQL that appends or upserts rows: those of a SELECT with a WHERE, or one of parameters."""
    listed = ", ".join(map(quoted, columns))
    values = f"VALUES ({', '.join('?' * len(columns))})" if rows is None else rows
    sql = f"INSERT INTO main.{quoted(name)} ({listed}) {values}"
    if not key:
        return sql
    others = [f"{quoted(c)} = excluded.{quoted(c)}" for c in columns if c not in key]
    act = f"UPDATE SET {', '.join(others)}" if others else "NOTHING"
    return f"{sql} ON CONFLICT ({', '.join(map(quoted, key))}) DO {act}"
