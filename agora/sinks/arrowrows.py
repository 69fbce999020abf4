"""Records to Arrow columns, exactly: pyarrow itself makes 2 of 2.5 and a date of a datetime without a word.

The schema is given, or grows with the records until it is frozen at the first cut; after that a record with
another column or another type is rejected. What pyarrow made is compared with what it was given, unless their
types tell.
"""

import datetime
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import attrs
import msgspec
import pyarrow as pa

from agora.columns import rows_of
from agora.records import Record
from agora.sinks.encode import Rejections
from agora.sinks.letters import is_letter, letter_row

__all__ = ["ArrowRows"]

_EXACT: dict[pa.DataType, set[type]] = {
    pa.int64(): {int},
    pa.float64(): {float},
    pa.string(): {str},
    pa.bool_(): {bool},
    pa.binary(): {bytes},
    pa.date32(): {datetime.date},
    pa.null(): set(),
}
"""Arrow types that hold every value of these Python types as it is, or refuse it."""

_TOLD = frozenset({pa.int64(), pa.string()})
"""Types that Arrow finds only for values that it holds as they are: with one of another kind among them it finds
another type, or none."""


@attrs.define(eq=False)
class ArrowRows:
    """Rows that were accepted and not yet taken. `schema` is `None` until a record has come."""

    schema: pa.Schema | None = None
    frozen: bool = False
    rows: int = attrs.field(init=False, default=0)
    size: int = attrs.field(init=False, default=0)
    """Bytes of the rows held."""
    _held: list[pa.RecordBatch] = attrs.field(init=False, factory=list)
    _types: list[pa.DataType] = attrs.field(init=False, factory=list)
    """Of the schema, once it is frozen."""

    def add(self, records: Sequence[Record]) -> Rejections:
        """Hold all that fit; the others' errors by their index."""
        try:
            if not self._accept_alike(records):
                self._accept([_fields(record) for record in records])
        except Exception:  # noqa: BLE001 - whatever it is, the search below raises it again for its record
            return self._one_by_one(records)
        return {}

    def add_columns(self, batch: pa.RecordBatch) -> Rejections:
        """The same for rows in columns, whose types stay what they are where the schema isn't settled."""
        settled = self.schema is not None and self.schema.equals(batch.schema)
        if not settled and not self._accept_columns(batch):
            return self.add(rows_of(batch))
        if settled:
            self._hold(batch)
        return {}

    def take(self) -> list[pa.RecordBatch]:
        """The rows held; freezes the schema if there are any."""
        held, self._held, self.rows, self.size = self._held, [], 0, 0
        self.frozen = self.frozen or bool(held)
        return held

    def put_back(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Hold again what was taken but couldn't be written."""
        for batch in batches:
            self._hold(batch)

    def _one_by_one(self, records: Sequence[Record]) -> Rejections:
        rejected: Rejections = {}
        for index, record in enumerate(records):
            try:
                self._accept([_fields(record)])
            except Exception as error:  # noqa: BLE001 - it concerns this record, whatever it is
                rejected[index] = error
        return rejected

    def _accept_alike(self, rows: Sequence[Record]) -> bool:
        """Whether they are dicts with the schema's keys, no others and none missing; then as `_accept`."""
        names = [] if self.schema is None else self.schema.names
        columns = _columns_of(rows, names) if names else None
        if columns is not None:
            self._accept_columns_of(columns, names)
        return columns is not None

    def _accept(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """All of them, or raise and hold none."""
        names = self._names(rows)
        self._accept_columns_of([[row.get(name) for row in rows] for name in names], names)

    def _accept_columns_of(self, values: Sequence[Sequence[Any]], names: Sequence[str]) -> None:
        if self.frozen and self.schema is not None and not self._types:
            self._types = self.schema.types
        columns = list(map(_column, values, names, self._types or [None] * len(names)))
        if self.frozen:
            batch, schema, held = (
                pa.RecordBatch.from_arrays(columns, schema=self.schema),
                self.schema,
                self._held,
            )
        else:
            batch = pa.RecordBatch.from_arrays(columns, names=names)
            schema, held = self._grown(batch.schema)
            batch = _conform(batch, schema)
        self.schema, self._held = schema, held
        self._hold(batch, batch.get_total_buffer_size())  # no slice, so all of the buffers is its own

    def _accept_columns(self, batch: pa.RecordBatch) -> bool:
        if self.frozen or not batch.schema.names or len(set(batch.schema.names)) < len(batch.schema.names):
            return False
        try:
            schema, held = self._grown(batch.schema.remove_metadata())
            batch = _conform(batch, schema)
        except (pa.ArrowException, TypeError, ValueError):
            return False
        self.schema, self._held = schema, held
        self._hold(batch)
        return True

    def _hold(self, batch: pa.RecordBatch, size: int | None = None) -> None:
        self._held.append(batch)
        self.rows += batch.num_rows
        self.size += batch.nbytes if size is None else size

    def _names(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        known = dict.fromkeys(() if self.schema is None else self.schema.names)
        found = dict.fromkeys(key for row in rows for key in row)
        unknown = [key for key in found if key not in known]
        if unknown and self.frozen:
            raise LookupError(f"no column for {unknown!r}: the columns are {list(known)}")
        if not all(type(key) is str for key in unknown):
            raise TypeError(f"the keys {unknown!r} can't name columns: not all are text")
        if not known and not unknown:
            raise ValueError(
                "the first record has no keys, so the columns can't be told from it: give schema="
            )
        return [*known, *unknown]

    def _grown(self, found: pa.Schema) -> tuple[pa.Schema, list[pa.RecordBatch]]:
        """The schema for what is held and what was found, and what is held in it."""
        if self.schema is None or self.schema.equals(found):
            return found, self._held
        try:
            schema = pa.unify_schemas([self.schema, found], promote_options="permissive")
        except pa.ArrowException as error:
            raise TypeError(f"of another type than the records before: {error}") from error
        if schema.equals(self.schema):
            return schema, self._held
        return schema, [_conform(batch, schema) for batch in self._held]


def _fields(record: Record) -> Mapping[str, Any]:
    if is_letter(record):
        row = letter_row(record)
        return {
            name: msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value
            for name, value in row.items()
        } | {name: msgspec.json.encode(row[name]).decode() for name in ("original", "processed", "entry")}
    if isinstance(record, Mapping):
        return record
    if attrs.has(type(record)):
        return attrs.asdict(record)
    raise TypeError(f"a row needs a dict or an attrs instance, not {type(record).__qualname__}")


def _columns_of(rows: Sequence[Record], names: Sequence[str]) -> Sequence[Sequence[Any]] | None:
    """The values by column of dicts that have exactly these keys; `None` where one hasn't."""
    if list(map(type, rows)).count(dict) < len(rows) or list(map(len, rows)).count(len(names)) < len(rows):
        return None
    try:
        if len(names) == 1:
            return [list(map(itemgetter(names[0]), rows))]
        return list(zip(*map(itemgetter(*names), rows), strict=True))
    except KeyError:
        return None


def _column(values: Sequence[Any], name: str, known: pa.DataType | None) -> pa.Array:
    """`TypeError` or `ValueError`, naming the column, where the values would come back as others."""
    try:
        array = _told(values) if known in _TOLD else None
        if array is not None and array.type == known:
            return array
        array = pa.array(values, type=known)
        if known is None and pa.types.is_decimal(array.type):  # room for the digits of later records
            array = array.cast(pa.decimal128(38, array.type.scale))
    except (pa.ArrowException, TypeError, ValueError, OverflowError, UnicodeError) as error:
        raise ValueError(f"column {name!r}: {error}") from error
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if known is None and array.type in _TOLD:
        return array
    if set(map(type, values)) - {type(None)} <= _EXACT.get(array.type, set()):
        return array
    narrow = pa.types.is_float16(array.type) or pa.types.is_float32(array.type)  # the user chose to round
    for value, kept in zip(values, array.to_pylist(), strict=True):
        if not (_same(value, kept) or (narrow and type(value) is float)):
            raise TypeError(f"column {name!r} is {array.type}, which would make {kept!r} of {value!r}")
    return array


def _told(values: Sequence[Any]) -> pa.Array | None:
    """As Arrow would have them, if it can say."""
    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, UnicodeError):
        return None


def _same(value: Any, kept: Any) -> bool:
    if value is None or kept is None:
        return value is kept
    if isinstance(value, bool) != isinstance(kept, bool):
        return False
    if isinstance(value, Mapping):
        fields = dict(kept)
        return value.keys() <= fields.keys() and all(_same(value.get(key), fields[key]) for key in fields)
    if isinstance(value, list | tuple):
        return len(value) == len(kept) and all(map(_same, value, kept))
    return bool(value == kept) or (value != value and kept != kept)  # noqa: PLR0124 - NaN


def _conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same rows in a wider schema. `ValueError` where a value has no place in it."""
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(batch.num_rows, field.type))
        elif batch.column(index).type == field.type:
            columns.append(batch.column(index))
        else:
            columns.append(_widened(batch.column(index), field))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _widened(column: pa.Array, field: pa.Field) -> pa.Array:
    """Compared, since Arrow counts text as a kind of bytes."""
    try:
        wide = column.cast(field.type, safe=True)
    except pa.ArrowException as error:
        raise ValueError(f"column {field.name!r}: {error}") from error
    if not all(map(_same, column.to_pylist(), wide.to_pylist())):
        raise TypeError(f"column {field.name!r} can't be both {column.type} and {field.type}")
    return wide
