"""Records to rows of SQLite values, exactly: SQLite itself makes NULL of NaN and 1 of "1" without a word.

A value that SQLite has no type for is written as the text that it has in JSON lines. The columns of a table
that is to be made, and their types, grow with the records until the first cut; after that, a record with
another column or type is rejected.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from agora.records import Record
from agora.sinks.csvtext import row_fields
from agora.sinks.encode import Rejections, refuse_non_finite
from agora.sinks.letters import is_letter

__all__ = ["RESERVED", "TYPES", "RowEncoder", "SqlRow", "check_name"]

SqlRow = tuple["int | float | str | bytes | None", ...]

TYPES = ("INTEGER", "REAL", "TEXT", "BLOB", "ANY")
RESERVED = "_agora_"
"""Names of tables and columns that begin so are the sink's own."""

_MOST_COLUMNS = 1_999  # SQLite's limit, less the column that numbers the staged rows
_encoder = msgspec.json.Encoder()


def check_name(name: object) -> None:
    """`TypeError` or `ValueError` where the name can't be a table's or column's."""
    if not isinstance(name, str):
        raise TypeError(f"the key {name!r} can't name a column: it isn't text")
    if not name or "\0" in name or name.lower().startswith((RESERVED, "sqlite_")):
        raise ValueError(
            f"{name!r} can't be a name here: it is empty, holds a NUL, or begins with {RESERVED} or sqlite_"
        )
    _check_text(name, "a name")


@attrs.define(eq=False)
class RowEncoder:
    """Rows of `types`, in its order. `""` as a type takes everything (the table itself will tell)."""

    types: dict[str, str]
    valued: Sequence[str] = ()
    """Columns that must have a value."""
    growing: bool = False
    """Columns may be added."""
    typing: bool = False
    """A column that has no type yet (`"?"`) gets one, and integers may become reals."""
    _large: set[str] = attrs.field(init=False, factory=set)  # columns with integers that no real holds

    def rows(self, records: Sequence[Record]) -> tuple[dict[int, SqlRow], Rejections]:
        """The rows of all records that have one, by index, and the others' errors."""
        rows: dict[int, SqlRow] = {}
        rejected: Rejections = {}
        for index, record in enumerate(records):
            try:
                rows[index] = self._row(record)
            except Exception as error:  # noqa: BLE001 - encoding concerns this record, whatever it raises
                rejected[index] = error
        width = len(self.types)
        if rows and len(rows[next(iter(rows))]) < width:
            rows = {index: row + (None,) * (width - len(row)) for index, row in rows.items()}
        return rows, rejected

    def freeze(self) -> None:
        """No more columns, no other types."""
        self.types = {name: "ANY" if kind == "?" else kind for name, kind in self.types.items()}
        self.growing = self.typing = False

    def copy(self) -> "RowEncoder":
        """To go back to where a transaction fails."""
        same = attrs.evolve(self, types=dict(self.types))
        same._large = set(self._large)
        return same

    def _row(self, record: Record) -> SqlRow:
        fields = _fields(record)
        types = self.types
        if not fields.keys() <= types.keys():
            types = self._grown(fields)
        if not types:
            raise ValueError(
                "the first record has no keys, so the columns can't be told from it: give schema="
            )
        row: list[Any] = []
        changed: dict[str, str] = {}
        large = []
        for name, kind in types.items():
            value = fields.get(name)
            if value is None:
                row.append(None)
                continue
            value, found = _value(value, name)
            row.append(value)
            if found == kind or kind in {"", "ANY"}:
                if self.typing and found == "INTEGER" and float(value) != value:
                    large.append(name)
                continue
            changed[name] = self._fitting(value, found, name, kind)
            if found == "INTEGER" and float(value) != value:
                large.append(name)
        for name in self.valued:
            if fields.get(name) is None:
                raise ValueError(f"column {name!r} identifies the row and must have a value")
        if types is not self.types or changed:
            self.types = {**types, **changed}
        self._large.update(large)
        return tuple(row)

    def _grown(self, fields: Mapping[str, Any]) -> dict[str, str]:
        unknown = [name for name in fields if name not in self.types]
        if not self.growing:
            raise LookupError(
                f"no column for {unknown!r}: the columns are {list(self.types)} (columns= names others)"
            )
        folded = {name.lower(): name for name in self.types}
        for name in unknown:
            check_name(name)
            if name.lower() in folded:
                raise ValueError(f"{name!r} and {folded[name.lower()]!r} are one column to SQLite")
            folded[name.lower()] = name
        if len(folded) > _MOST_COLUMNS:
            raise ValueError(f"more than {_MOST_COLUMNS} columns")
        return self.types | dict.fromkeys(unknown, "?")

    def _fitting(self, value: Any, found: str, name: str, kind: str) -> str:
        """The type of the column with this value in it. `TypeError` where it can't have one."""
        if kind == "?":
            return found
        if kind == "REAL" and found == "INTEGER" and float(value) == value:
            return kind
        if kind == "INTEGER" and found == "REAL" and self.typing and name not in self._large:
            return "REAL"
        raise TypeError(f"column {name!r} is {kind}, which doesn't hold {value!r}")


def _fields(record: Record) -> Mapping[str, Any]:
    row = row_fields(record)
    if not is_letter(record):
        return row
    wholes = ("original", "processed", "entry", "checkpoint")  # of one type, whatever the record was
    return {**row} | {name: _encoder.encode(row[name]).decode() for name in wholes}


def _value(value: Any, name: str) -> tuple[Any, str]:
    """As SQLite keeps it, and the type of that."""
    kind = type(value)
    if kind is str:
        if not value.isascii():
            _check_text(value, f"column {name!r}")
        return value, "TEXT"
    if kind is int or kind is bool:
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"column {name!r}: {value} doesn't fit the 64 bits of an integer in SQLite")
        return int(value), "INTEGER"
    if kind is float:
        if math.isnan(value):
            raise ValueError(f"column {name!r}: SQLite has no NaN")
        return value, "REAL"
    if kind in {bytes, bytearray, memoryview}:
        return bytes(value), "BLOB"
    return _plain(value, name)


def _plain(value: Any, name: str) -> tuple[Any, str]:
    """Of what SQLite has no type for: as in JSON lines."""
    try:
        text = _encoder.encode(value)
        if b"null" in text:
            refuse_non_finite(msgspec.to_builtins(value), f"column {name!r}")
    except RecursionError as error:
        raise ValueError(f"column {name!r} is nested too deeply, or in itself, to be written") from error
    if text.startswith((b"{", b"[")):
        return text.decode(), "TEXT"
    return _value(msgspec.json.decode(text), name)


def _check_text(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place} holds half of a surrogate pair, which no UTF-8 text can") from error
