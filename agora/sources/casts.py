"""Columns of text into columns of values, equal to `agora.sources.convert` value by value.

Arrow's casts are taken where a scan of the column shows that they read no more than Python does (Arrow reads
`0x10`), and Python's own conversion where they read less (`1_000`, ` 5 `, a date without dashes).
"""

import datetime
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc

from agora.sources.convert import Conversion, conversions, type_of
from agora.sources.fieldcolumns import text_of

__all__ = ["Cast", "cast_of", "casts_of"]

_INTEGER = b"0123456789-"
_NUMBER = b"0123456789-+.eE"
_YEAR_1 = -719_162  # days to 1970
_DAY = 86_400_000_000  # microseconds


@attrs.frozen
class Cast:
    """The conversion of one column."""

    type: pa.DataType
    """Of the result, whatever the values are."""
    convert: Conversion
    """Of one text, in Python: the definition."""
    optional: bool
    """An empty text is null."""

    def __call__(self, column: pa.Array) -> pa.Array | None:
        """The values of a column of strings without nulls. `None` where one has none of this type."""
        if self.type == pa.string() and not self.optional:
            return column
        texts = _without_empty(column) if self.optional else column
        if self.type == pa.string():
            return texts
        quick = _QUICK[self.type](texts)
        return self._one_by_one(texts) if quick is None else quick

    def _one_by_one(self, texts: pa.Array) -> pa.Array | None:
        """By way of the distinct texts where they are few, which are all that there is to convert."""
        coded = texts.dictionary_encode()
        try:
            values = [self.convert(text) for text in coded.dictionary.to_pylist()]
            distinct = pa.array(values, self.type)
        except Exception:  # noqa: BLE001 - which value it is and why, the plain way tells
            return None
        if not all(map(_is_held, values)):
            return None
        return distinct.take(coded.indices)


def cast_of(kind: Any) -> Cast | None:
    """The cast for an entry of `types=`; `None` where it names no type that a column can have."""
    named = type_of(kind)
    if named is None or named[0] not in _TYPES:
        return None
    (convert,) = conversions({"": kind}, of_text=True).values()
    return Cast(_TYPES[named[0]], convert, named[1])


def casts_of(kinds: Mapping[str, Any]) -> Mapping[str, Cast] | None:
    """The casts for `types=`; `None` where one names no type that a column can have."""
    found = {name: cast_of(kind) for name, kind in kinds.items()}
    casts = {name: cast for name, cast in found.items() if cast is not None}
    return casts if len(casts) == len(found) else None


def _without_empty(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def _integers(texts: pa.Array) -> pa.Array | None:
    return None if text_of(texts).translate(None, _INTEGER) else _cast(texts, pa.int64())


def _floats(texts: pa.Array) -> pa.Array | None:
    return None if text_of(texts).translate(None, _NUMBER) else _cast(texts, pa.float64())


def _dates(texts: pa.Array) -> pa.Array | None:
    dates = _cast(texts, pa.date32())
    return dates if dates is None or _from_year_1(dates.view(pa.int32()), _YEAR_1) else None


def _datetimes(texts: pa.Array) -> pa.Array | None:
    times = _cast(texts, pa.timestamp("us"))
    return times if times is None or _from_year_1(times.view(pa.int64()), _YEAR_1 * _DAY) else None


def _cast(texts: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return None


def _from_year_1(values: pa.Array, first: int) -> bool:
    least = pc.min(values).as_py()
    return least is None or least >= first


def _is_held(value: Any) -> bool:
    """Arrow turns a time with an offset into one without, and says nothing."""
    return not (isinstance(value, datetime.datetime) and value.tzinfo is not None)


_TYPES: Mapping[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime.date: pa.date32(),
    datetime.datetime: pa.timestamp("us"),
}
_QUICK: Mapping[pa.DataType, Callable[[pa.Array], pa.Array | None]] = {
    pa.int64(): _integers,
    pa.float64(): _floats,
    pa.bool_(): lambda _: None,
    pa.date32(): _dates,
    pa.timestamp("us"): _datetimes,
}
