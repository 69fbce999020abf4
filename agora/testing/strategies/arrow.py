"""Arrow's types: values of each, rows and batches of a schema, and schemas."""

import datetime
import decimal
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pyarrow as pa
from hypothesis import strategies as st

from agora.testing.strategies.values import floats, rows_of, texts

__all__ = ["record_batches", "rows_of_schema", "schemas", "values_of_type"]

_Values = st.SearchStrategy[Any]
_MOST = 3
_PARTS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAYS = (-719_000, 2_932_000)
"""Within the years that Python has, whatever the time zone is."""
_NANO_DAYS = (-106_000, 106_000)
"""Those that 64 bits of nanoseconds hold."""


def record_batches(
    schema: pa.Schema,
    *,
    fields: Mapping[str, _Values] | None = None,
    max_rows: int = 6,
    extreme: bool = False,
) -> "st.SearchStrategy[pa.RecordBatch]":
    """Yields batches of this schema, some of which are slices of longer ones, as batches in a pipeline are.

    `fields` and `extreme` as in `records`. Shrinks towards a batch without rows, then as the values do. `TypeError`
    for a type that isn't known.
    """
    rows = rows_of_schema(schema, dict(fields or {}), extreme=extreme)

    @st.composite
    def whole(draw: st.DrawFn) -> pa.RecordBatch:
        drawn = draw(st.lists(rows, max_size=max_rows))
        columns = [pa.array([row[field.name] for row in drawn], field.type) for field in schema]
        batch = pa.RecordBatch.from_arrays(columns, schema=schema)
        if not schema.names or not drawn:
            return batch
        start = draw(st.integers(0, len(drawn)))
        return batch.slice(
            start, draw(st.integers(0, len(drawn) - start).map(lambda less: len(drawn) - start - less))
        )

    return whole()


def rows_of_schema(
    schema: pa.Schema, own: Mapping[str, _Values], *, extreme: bool = False
) -> st.SearchStrategy[dict[str, Any]]:
    """Rows as dicts; see `agora.testing.strategies.records`."""
    if len(set(schema.names)) < len(schema.names):
        raise TypeError("two columns have one name, of which a dict can have but one")
    unknown = set(own) - set(schema.names)
    if unknown:
        raise TypeError(f"fields={sorted(unknown)!r}: the schema has none of this name")
    return rows_of(
        {
            field.name: own[field.name] if field.name in own else _values_of_field(field, extreme=extreme)
            for field in schema
        }
    )


def schemas(*, max_fields: int = 4, nested: bool = True) -> "st.SearchStrategy[pa.Schema]":
    """Yields schemas of all types that the built-in parts write, `nested`: lists, structs and maps of them too. Names
    are awkward at times. Shrinks towards one column of nulls."""
    kinds = st.sampled_from([*SCALARS, *_CODED])
    if nested:
        kinds |= st.recursive(kinds, _nested, max_leaves=4)
    names = st.lists(st.sampled_from("abc") | texts(max_size=4), min_size=1, max_size=max_fields, unique=True)
    return names.flatmap(
        lambda found: st.tuples(*[kinds] * len(found)).map(
            lambda each: pa.schema(zip(found, each, strict=True))
        )
    )


def values_of_type(kind: pa.DataType, *, extreme: bool = False) -> _Values:
    """Values of this type but null, as `as_py` gives them. `TypeError` where none are known."""
    for fits, values in _VALUES:
        if fits(kind):
            return values(kind, extreme=extreme)
    raise TypeError(f"no values are known for the type {kind}; give fields= a strategy for its column")


def _values_of_field(field: pa.Field, *, extreme: bool) -> _Values:
    values = values_of_type(field.type, extreme=extreme)
    return st.none() | values if field.nullable else values


def _nested(inner: "st.SearchStrategy[pa.DataType]") -> "st.SearchStrategy[pa.DataType]":
    pairs = st.lists(
        st.tuples(st.sampled_from("xyz"), inner), min_size=1, max_size=2, unique_by=lambda pair: pair[0]
    )
    return (
        inner.map(pa.list_)
        | inner.map(pa.large_list)
        | pairs.map(pa.struct)
        | inner.map(lambda kind: pa.map_(pa.string(), kind))
    )


class _ValuesOf(Protocol):
    def __call__(self, kind: Any, *, extreme: bool) -> _Values: ...


def _integers(kind: Any, *, extreme: bool) -> _Values:
    signed = pa.types.is_signed_integer(kind)
    bits = kind.bit_width
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(max(least, -9), 9) | st.integers(least, most) | st.sampled_from([most, least])


def _floats(kind: Any, *, extreme: bool) -> _Values:
    if pa.types.is_float64(kind):
        return floats(extreme=extreme)
    width: Any = kind.bit_width
    return st.floats(width=width, allow_nan=extreme, allow_infinity=extreme)


def _decimals(kind: Any, *, extreme: bool) -> _Values:
    most = 10**kind.precision - 1

    def of(number: int) -> decimal.Decimal:
        digits = tuple(map(int, str(abs(number))))
        return decimal.Decimal((int(number < 0), digits, -kind.scale))

    return (st.integers(max(-most, -9), min(most, 9)) | st.integers(-most, most)).map(of)


def _stored(kind: Any, numbers: st.SearchStrategy[int], bits: int = 64) -> _Values:
    """The values that Arrow stores as these numbers."""
    storage = pa.int64() if bits == 64 else pa.int32()
    return numbers.map(lambda number: pa.scalar(number, storage).cast(kind).as_py())


def _timestamps(kind: Any, *, extreme: bool) -> _Values:
    nano = kind.unit == "ns"
    first, last = _NANO_DAYS if nano else _DAYS
    parts = _PARTS[kind.unit]
    step = 1_000 if nano else 1  # Python has no nanoseconds
    exact = st.integers(first * 86_400 * parts // step, last * 86_400 * parts // step)
    seconds = st.integers(first * 86_400, last * 86_400)
    return _stored(kind, seconds.map(lambda n: n * parts) | exact.map(lambda n: n * step)).map(_plain_time)


def _plain_time(time: Any) -> Any:
    """A `datetime`, where pandas is there and makes its own of nanoseconds."""
    return time.to_pydatetime() if hasattr(time, "to_pydatetime") else time


def _durations(kind: Any, *, extreme: bool) -> _Values:
    parts, step = _PARTS[kind.unit], 1_000 if kind.unit == "ns" else 1
    most = 100_000 * 86_400 * parts // step
    return _stored(kind, st.integers(-most, most).map(lambda n: n * step)).map(
        lambda span: span.to_pytimedelta() if hasattr(span, "to_pytimedelta") else span
    )


def _times(kind: Any, *, extreme: bool) -> _Values:
    digits = {"s": 10**6, "ms": 10**3}.get(kind.unit, 1)
    return st.times().map(lambda time: time.replace(microsecond=time.microsecond // digits * digits, fold=0))


def _dates(kind: Any, *, extreme: bool) -> _Values:
    return st.dates(datetime.date(1, 1, 1), datetime.date(9999, 12, 31))


def _binary(kind: Any, *, extreme: bool) -> _Values:
    if pa.types.is_fixed_size_binary(kind):
        return st.binary(min_size=kind.byte_width, max_size=kind.byte_width)
    return st.binary(max_size=6)


def _lists(kind: Any, *, extreme: bool) -> _Values:
    item = _values_of_field(kind.value_field, extreme=extreme)
    if pa.types.is_fixed_size_list(kind):
        return st.lists(item, min_size=kind.list_size, max_size=kind.list_size)
    return st.lists(item, max_size=_MOST)


def _structs(kind: Any, *, extreme: bool) -> _Values:
    return rows_of({field.name: _values_of_field(field, extreme=extreme) for field in kind})


def _maps(kind: Any, *, extreme: bool) -> _Values:
    key = values_of_type(kind.key_type, extreme=extreme)
    pair = st.tuples(key, _values_of_field(kind.item_field, extreme=extreme))
    return st.lists(pair, max_size=_MOST, unique_by=lambda found: repr(found[0]))


def _codes(kind: Any, *, extreme: bool) -> _Values:
    return values_of_type(kind.value_type, extreme=extreme)


def _of(values: Callable[[], _Values]) -> _ValuesOf:
    return lambda kind, *, extreme: values()


def _any(*tests: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda kind: any(test(kind) for test in tests)


_is = pa.types
_VALUES: list[tuple[Callable[[Any], bool], _ValuesOf]] = [
    (_is.is_null, _of(st.none)),
    (_is.is_boolean, _of(st.booleans)),
    (_is.is_integer, _integers),
    (_is.is_floating, _floats),
    (_is.is_decimal, _decimals),
    (_any(_is.is_string, _is.is_large_string, _is.is_string_view), _of(texts)),
    (
        _any(_is.is_binary, _is.is_large_binary, _is.is_binary_view, _is.is_fixed_size_binary),
        _binary,
    ),
    (_is.is_date, _dates),
    (_is.is_timestamp, _timestamps),
    (_is.is_time, _times),
    (_is.is_duration, _durations),
    (_any(_is.is_list, _is.is_large_list, _is.is_fixed_size_list), _lists),
    (_is.is_struct, _structs),
    (_is.is_map, _maps),
    (_is.is_dictionary, _codes),
]

SCALARS = [
    pa.null(), pa.bool_(), pa.int64(), pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32(),
    pa.uint64(), pa.float64(), pa.float32(), pa.float16(), pa.string(), pa.large_string(), pa.binary(),
    pa.large_binary(), pa.binary(4), pa.date32(), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"),
    pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.time32("s"), pa.time32("ms"), pa.time64("us"),
    pa.duration("s"), pa.duration("ms"), pa.duration("us"), pa.decimal128(20, 3), pa.decimal256(50, 2),
]  # fmt: skip
_CODED = [pa.dictionary(pa.int32(), pa.string())]
