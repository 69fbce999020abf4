"""The few kinds of values that expressions compute with, and what an Arrow type becomes to be one of them.

Integers of every width become 64 bits, floats doubles, text one type: so a kernel has one form, and a row has
the same result whether its column came from Parquet as 16 bits or from Python.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.types as pat

__all__ = ["CANONICAL", "DECIMAL_DIGITS", "NAMES", "canonical", "common", "kind", "named"]

DECIMAL_DIGITS = 38

NAMES = {
    "null": "NULL",
    "boolean": "BOOLEAN",
    "integer": "BIGINT",
    "double": "DOUBLE",
    "decimal": "DECIMAL",
    "text": "TEXT",
    "blob": "BLOB",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "interval": "INTERVAL",
}
_KINDS = (
    (pat.is_null, "null"),
    (pat.is_boolean, "boolean"),
    (pat.is_integer, "integer"),
    (pat.is_floating, "double"),
    (pat.is_decimal, "decimal"),
    (pat.is_string, "text"),
    (pat.is_large_string, "text"),
    (pat.is_string_view, "text"),
    (pat.is_binary, "blob"),
    (pat.is_large_binary, "blob"),
    (pat.is_binary_view, "blob"),
    (pat.is_fixed_size_binary, "blob"),
    (pat.is_date, "date"),
    (pat.is_time, "time"),
    (pat.is_timestamp, "timestamp"),
    (pat.is_duration, "interval"),
)
CANONICAL = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "text": pa.string(),
    "blob": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "interval": pa.duration("us"),
}
_NUMBERS = {"integer", "double", "decimal"}


def kind(of: pa.DataType) -> str:
    """`"other"` for lists, structs and what else can only be handed on."""
    return next((name for test, name in _KINDS if test(of)), "other")


def named(of: pa.DataType) -> str:
    """For messages, as SQL says it."""
    found = kind(of)
    if found == "timestamp" and of.tz is not None:
        return f"TIMESTAMP in {of.tz}"
    return NAMES.get(found, str(of))


def canonical(of: pa.DataType) -> pa.DataType:
    """The type that its values are computed in."""
    if pat.is_dictionary(of) or pat.is_run_end_encoded(of):
        return canonical(of.value_type)
    found = kind(of)
    if found == "decimal":
        return pa.decimal128(DECIMAL_DIGITS, min(max(of.scale, 0), DECIMAL_DIGITS))
    if found == "timestamp":
        return pa.timestamp("us", of.tz)
    return CANONICAL.get(found, of)


def common(types: Sequence[pa.DataType]) -> pa.DataType:
    """The one type that holds values of all of them; `TypeError` where SQL has none without a CAST."""
    rest = list(dict.fromkeys(one for one in types if not pat.is_null(one)))
    if len(rest) <= 1:
        return rest[0] if rest else pa.null()
    kinds = {kind(one) for one in rest}
    if kinds <= _NUMBERS:
        if "double" in kinds:
            return pa.float64()
        return pa.decimal128(DECIMAL_DIGITS, max(one.scale for one in rest if kind(one) == "decimal"))
    if kinds == {"timestamp"} and all(one.tz is not None for one in rest):
        return pa.timestamp("us", "UTC")
    if kinds == {"date", "timestamp"} and all(kind(one) == "date" or one.tz is None for one in rest):
        return pa.timestamp("us")
    raise TypeError(f"{' and '.join(named(one) for one in rest)} don't go together; use CAST")
