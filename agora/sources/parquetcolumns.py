"""A RecordBatch of a Parquet file in place of its rows, where every value is one that Python has a type for.

Which value has none is told by the plain path, row by row; here it is only asked, a column at a time, whether
there may be one.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["as_columns"]

_DAYS = (-719_162, 2_932_896)
"""Days to 1970 of the first and the last date that Python has."""
_SECONDS = 86_400


def as_columns(batch: pa.RecordBatch, cast: Any) -> pa.RecordBatch | None:
    """The batch with the types that its rows have, `cast` being the schema that gives them (`None`: it has them
    already). `None` where some value may have no Python type."""
    try:
        if cast is not None:
            batch = batch.cast(cast, safe=True)
        batch.validate(full=True)
    except (pa.ArrowException, TypeError, ValueError):
        return None
    return batch if all(map(_plain, batch.columns)) else None


def _plain(column: pa.Array) -> bool:
    kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is not None and kind.tz != "UTC":  # Python must know the zone
            return False
        per_second = {"s": 1, "ms": 1_000, "us": 1_000_000}.get(kind.unit)
        days = None if per_second is None else _SECONDS * per_second
        return days is not None and _within(
            column.cast(pa.int64()), _DAYS[0] * days, (_DAYS[1] + 1) * days - 1
        )
    if pa.types.is_date32(kind):
        return _within(column.cast(pa.int32()), *_DAYS)
    return _simple(kind)


def _simple(kind: pa.DataType) -> bool:
    """Whether every valid value of this type is one of Python's."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _simple(kind.value_type)
    if pa.types.is_struct(kind):
        return all(_simple(field.type) for field in kind)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_null(kind)
        or pa.types.is_decimal(kind)
    )


def _within(values: pa.Array, least: int, most: int) -> bool:
    found = pc.min_max(values).as_py()
    return found["min"] is None or (found["min"] >= least and found["max"] <= most)
