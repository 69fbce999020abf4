"""`where`, `compute`, `select`, `rename` and `cast`: what most pipelines do to a record, said in SQL.

Each works on RecordBatches and on rows, with the same outcomes; over rows it touches only the fields that it
names, and leaves every other value the object that it is.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from agora.columns import Columns
from agora.errors import ConfigError
from agora.expressions import Expression, truth
from agora.middlewares.columnar import ColumnsResult, Results, with_errors
from agora.records import Record, fields_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Cast", "Compute", "Condition", "Rename", "Select", "Where"]


def _expression(text: object, what: str, *, condition: bool = False) -> Expression:
    if not isinstance(text, str):
        raise ConfigError(f"{what}: an expression is text, not {text!r}")
    return Expression.parse(text, condition=condition)


def _as_tuple(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _as_dict(names: Mapping[str, str]) -> dict[str, str]:
    return dict(names)


@attrs.frozen
class Where:
    """Keeps the records of which a condition is true; those of which it is false or unknown (NULL) are
    dropped."""

    name: ClassVar[str] = "where"
    expression: str = attrs.field(metadata={"doc": 'A condition in SQL, such as "amount > 500".'})
    _parsed: Expression = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_parsed", _expression(self.expression, "where", condition=True))

    def process_columns(self, record_batch: "pa.RecordBatch", /) -> ColumnsResult:
        found = truth(self._parsed.over_columns(record_batch))
        return ColumnsResult(record_batch.filter(found.values), found.values, found.errors)

    def process_batch(self, records: Sequence[Record], /) -> Results:
        found = truth(self._parsed.over_rows(records))
        kept = zip(records, found.values, strict=True)
        results: Results = [record if true else None for record, true in kept]
        return with_errors(results, found.errors)


@attrs.frozen
class Condition:
    """A sink's `where` as an expression."""

    where: Where = attrs.field(converter=Where)

    def __call__(self, record: Record) -> bool:
        """Of one record; raises what is wrong with it."""
        [result] = self.where.process_batch([record])
        if isinstance(result, Exception):
            raise result
        return result is not None

    def choose(self, rows: Sequence[Record]) -> tuple[list[int], dict[int, Exception]]:
        """The positions of those of which it is true, and the errors of those that failed."""
        if isinstance(rows, Columns):
            result = self.where.process_columns(rows.data)
            mask = [True] * len(rows) if result.kept is None else result.kept.to_pylist()
            return [position for position, kept in enumerate(mask) if kept], dict(result.errors)
        results = self.where.process_batch(rows)
        errors = {at: result for at, result in enumerate(results) if isinstance(result, Exception)}
        return [at for at, result in enumerate(results) if result is not None and at not in errors], errors


@attrs.frozen
class Compute:
    """Adds fields, or replaces them, each computed from the record as it came in."""

    name: ClassVar[str] = "compute"
    expressions: Mapping[str, str] = attrs.field(
        converter=_as_dict,
        metadata={"doc": 'Fields and how they are computed, such as { total = "price * quantity" }.'},
    )
    _parsed: Mapping[str, Expression] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.expressions:
            raise ConfigError(
                "compute: name at least one field and its expression; where a field is called name or on_error, "
                'which are the step\'s own, in a mapping: compute({"name": "upper(title)"})'
            )
        parsed = {name: _expression(text, f"compute: {name}") for name, text in self.expressions.items()}
        object.__setattr__(self, "_parsed", parsed)

    def process_columns(self, record_batch: "pa.RecordBatch", /) -> ColumnsResult:
        errors: dict[int, Exception] = {}
        columns = dict(zip(record_batch.schema.names, record_batch.columns, strict=True))
        for name, expression in self._parsed.items():
            found = expression.over_columns(record_batch)
            columns[name] = found.values
            errors = {**found.errors, **errors}
        return _made(record_batch, columns, errors)

    def process_batch(self, records: Sequence[Record], /) -> Results:
        errors: dict[int, Exception] = {}
        results: list[Any] = []
        for index, record in enumerate(records):
            try:
                results.append(dict(fields_of(record, "compute")))
            except TypeError as error:
                results.append(None)
                errors[index] = error
        for name, expression in self._parsed.items():
            found = expression.over_rows(records)
            for result, value in zip(results, found.values, strict=True):
                if result is not None:
                    result[name] = value
            errors = {**found.errors, **errors}
        return with_errors(results, errors)


@attrs.frozen
class Select:
    """Keeps these fields, in this order, and no other."""

    name: ClassVar[str] = "select"
    columns: tuple[str, ...] = attrs.field(
        converter=_as_tuple, metadata={"doc": "The fields to keep, in order."}
    )

    def __attrs_post_init__(self) -> None:
        if not self.columns or not all(isinstance(name, str) for name in self.columns):
            raise ConfigError(f"select: give the names of the fields to keep, not {list(self.columns)!r}")
        if len(set(self.columns)) < len(self.columns):
            raise ConfigError(f"select: {list(self.columns)!r} names a field twice")

    def process_columns(self, record_batch: "pa.RecordBatch", /) -> ColumnsResult:
        missing = [name for name in self.columns if name not in record_batch.schema.names]
        if missing:
            return _all_failed(record_batch, missing)
        return ColumnsResult(record_batch.select(list(self.columns)))

    def process_batch(self, records: Sequence[Record], /) -> Results:
        return [self._selected(record) for record in records]

    def _selected(self, record: Record) -> Record | Exception:
        try:
            fields = fields_of(record, "select")
            return {name: fields[name] for name in self.columns}
        except KeyError as error:
            return _missing([error.args[0]], list(fields))
        except TypeError as error:
            return error


@attrs.frozen
class Rename:
    """Gives fields other names; they keep their places."""

    name: ClassVar[str] = "rename"
    names: Mapping[str, str] = attrs.field(
        converter=_as_dict, metadata={"doc": 'The old name and the new one, such as { amt = "amount" }.'}
    )

    def __attrs_post_init__(self) -> None:
        if not self.names or not all(isinstance(name, str) for name in self.names.values()):
            raise ConfigError(
                f'rename: give old="new" names, not {dict(self.names)!r}; where a field is called name or on_error, '
                'which are the step\'s own, in a mapping: rename({"name": "label"})'
            )
        if len(set(self.names.values())) < len(self.names):
            raise ConfigError(f"rename: {dict(self.names)!r} gives one name to two fields")

    def process_columns(self, record_batch: "pa.RecordBatch", /) -> ColumnsResult:
        before = record_batch.schema.names
        missing = [name for name in self.names if name not in before]
        if missing:
            return _all_failed(record_batch, missing)
        after = [self.names.get(name, name) for name in before]
        if len(set(after)) < len(after):
            return _all_failed(record_batch, error=_doubled(after))
        return ColumnsResult(record_batch.rename_columns(after))

    def process_batch(self, records: Sequence[Record], /) -> Results:
        return [self._renamed(record) for record in records]

    def _renamed(self, record: Record) -> Record | Exception:
        try:
            fields = fields_of(record, "rename")
        except TypeError as error:
            return error
        missing = [name for name in self.names if name not in fields]
        if missing:
            return _missing(missing, list(fields))
        renamed = {self.names.get(name, name): value for name, value in fields.items()}
        return renamed if len(renamed) == len(fields) else _doubled([self.names.get(n, n) for n in fields])


_SQL_TYPES: Mapping[object, str] = {
    int: "BIGINT",
    float: "DOUBLE",
    str: "TEXT",
    bool: "BOOLEAN",
    bytes: "BLOB",
    datetime.date: "DATE",
    datetime.datetime: "TIMESTAMP",
    datetime.time: "TIME",
}
_NAMED_TYPES = {kind.__name__: sql for kind, sql in _SQL_TYPES.items() if isinstance(kind, type)}


@attrs.frozen
class Cast:
    """Converts fields to other types; a value that can't be converted fails its record."""

    name: ClassVar[str] = "cast"
    types: Mapping[str, Any] = attrs.field(
        metadata={"doc": 'Fields and their types: "int", "float", "str", "bool", "date", …, or one of SQL.'}
    )
    _compute: Compute = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.types:
            raise ConfigError("cast: name at least one field and its type")
        casts = {name: _cast(name, kind) for name, kind in self.types.items()}
        object.__setattr__(self, "_compute", Compute(casts))

    def process_columns(self, record_batch: "pa.RecordBatch", /) -> ColumnsResult:
        return self._compute.process_columns(record_batch)

    def process_batch(self, records: Sequence[Record], /) -> Results:
        return self._compute.process_batch(records)


def _cast(name: str, kind: object) -> str:
    sql = _SQL_TYPES.get(kind) or (_NAMED_TYPES.get(kind, kind) if isinstance(kind, str) else None)
    if not isinstance(sql, str):
        raise ConfigError(
            f"cast: {name!r} has the unknown type {kind!r}; known are {', '.join(sorted(_NAMED_TYPES))} and SQL's names"
        )
    quoted = name.replace('"', '""')
    return f'CAST("{quoted}" AS {sql})'


def _made(
    before: "pa.RecordBatch", columns: "Mapping[str, pa.Array]", errors: Mapping[int, Exception]
) -> ColumnsResult:
    import pyarrow as pa  # noqa: PLC0415 - who holds a RecordBatch has loaded it

    data = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    if not errors:
        return ColumnsResult(data)
    kept = bytearray(b"\1") * before.num_rows
    for index in errors:
        kept[index] = 0
    mask = pa.array(kept, pa.uint8()).cast(pa.bool_())
    return ColumnsResult(data.filter(mask), mask, errors)


def _all_failed(
    before: "pa.RecordBatch", missing: Sequence[str] = (), *, error: Exception | None = None
) -> ColumnsResult:
    """Each of the rows fails with an error of its own, as it would alone."""
    made = [error or _missing(missing, before.schema.names) for _ in range(before.num_rows)]
    errors = {index: each if error is None else type(error)(*error.args) for index, each in enumerate(made)}
    return _made(before, dict(zip(before.schema.names, before.columns, strict=True)), errors)


def _missing(names: Sequence[str], there: Sequence[str]) -> LookupError:
    said = ", ".join(map(repr, names))
    return LookupError(f"there is no field {said}; the record has {', '.join(map(repr, there))}")


def _doubled(names: Sequence[str]) -> ValueError:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    return ValueError(f"rename: the record would have the field {', '.join(map(repr, twice))} twice")
