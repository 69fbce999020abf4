"""Rows as columns, and back. Rows whose needed values have the same Python types make one batch, so that no
row's result depends on its neighbours: Arrow would make 1 beside 2.5 a double, and refuse 1 beside "a".
"""

import datetime
from collections.abc import Hashable, Mapping, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from agora.expressions.kinds import DECIMAL_DIGITS
from agora.expressions.plan import FAILURES, Errors, Values
from agora.records import Record

__all__ = ["Group", "array_of", "field_of", "grouped", "pick"]

_MISSING = object()
_SIMPLE: dict[type, pa.DataType] = {
    type(None): pa.null(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    datetime.date: pa.date32(),
    datetime.time: pa.time64("us"),
    datetime.timedelta: pa.duration("us"),
}
"""The types whose every value has one Arrow type."""

Group = tuple[Sequence[int] | None, list[list[Any]], tuple[Hashable, ...]]
"""Numbers of rows (`None`: all), the values of each column, and what they have in common."""


def field_of(record: Record, name: str) -> Any:
    """`LookupError` where the record hasn't got it."""
    if isinstance(record, Mapping):
        if name in record:
            return record[name]
    elif hasattr(record, name):
        return getattr(record, name)
    raise LookupError(f"the record has no {name!r}")


def pick(rows: Sequence[Record], path: Sequence[str], *, dicts: bool) -> tuple[list[Any], Errors]:
    """The value of each row at `path`; where there is none, `None` and an error. NULL has NULL fields.

    `dicts`: all rows are plain dicts.
    """
    first, *rest = path
    if dicts and not rest:
        try:
            return list(map(itemgetter(first), rows)), {}
        except KeyError:
            pass
    values: list[Any] = []
    errors: Errors = {}
    for index, row in enumerate(rows):
        value = row
        try:
            value = field_of(value, first)
            for name in rest:
                value = None if value is None else field_of(value, name)
        except LookupError as error:
            errors[index] = error
            value = None
        values.append(value)
    return values, errors


def grouped(columns: list[list[Any]], length: int, failed: Errors) -> list[Group]:
    """Rows with values of the same types, those in `failed` left out."""
    if not failed:
        keys = [_uniform(values) for values in columns]
        if None not in keys:
            return [(None, columns, tuple(keys))]
    places: dict[tuple[Hashable, ...], list[int]] = {}
    for index, row in enumerate(zip(*columns, strict=True) if columns else [()] * length):
        if index not in failed:
            places.setdefault(tuple([_key(value, index) for value in row]), []).append(index)
    return [
        (group, [[values[index] for index in group] for values in columns], key)
        for key, group in places.items()
    ]


def _uniform(values: list[Any]) -> Any:
    """The key that all values have; `None` if they differ."""
    kinds = set(map(type, values))
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind in _SIMPLE:
        return kind
    keys = {_key(value, index) for index, value in enumerate(values)}
    return keys.pop() if len(keys) == 1 else None


def _key(value: Any, index: int) -> Any:
    """What values must share to be in one Arrow array without a change; the row itself where it's unknown."""
    kind = type(value)
    if kind in _SIMPLE:
        return kind
    if kind is datetime.datetime:
        zone = value.tzinfo
        if zone is None or type(zone) in {ZoneInfo, datetime.timezone}:
            return (kind, zone)
    if kind is Decimal and value.is_finite():
        return (kind, max(0, -value.as_tuple().exponent))
    return (None, index)


def array_of(values: list[Any], key: Hashable, sql: str) -> tuple[Values, Errors]:
    """The values of one group; NULL, and an error, where Arrow can't hold one."""
    of = _type_of(values, key)
    try:
        return pa.array(values, of), {}
    except FAILURES:
        pass
    errors: Errors = {}
    kept: list[Any] = []
    for index, value in enumerate(values):
        try:
            pa.array([value], of)
            kept.append(value)
        except FAILURES as error:
            errors[index] = _refused(value, sql, error)
            kept.append(None)
    return pa.array(kept, of), errors


def _type_of(values: list[Any], key: Hashable) -> pa.DataType | None:
    """`None`: Arrow finds it, or refuses."""
    if isinstance(key, type):
        return _SIMPLE[key]
    if isinstance(key, tuple) and key[0] is Decimal:
        return pa.decimal128(DECIMAL_DIGITS, min(key[1], DECIMAL_DIGITS))
    if isinstance(key, tuple) and key[0] is datetime.datetime:
        try:
            return pa.array(values[:1]).type
        except FAILURES:
            return None
    return None


def _refused(value: Any, sql: str, error: Exception) -> Exception:
    text = repr(value)
    shown = text if len(text) <= 80 else f"{text[:80]}…"
    if type(value) is int:
        return OverflowError(f"{sql}: {shown} doesn't fit in 64 bits")
    return ValueError(f"{sql}: {shown} can't be computed with: {error}")
