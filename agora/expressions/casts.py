"""CAST: what becomes what, and which values can't. What would lose something without a word is an error: a
fraction cast to an integer, text with anything beside the number. Only CAST to DECIMAL rounds, as it does in SQL.
"""

import datetime
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agora.expressions.kinds import CANONICAL, DECIMAL_DIGITS, NAMES, kind, named
from agora.expressions.plan import FAILURES, Kernel, Values, by_value
from agora.expressions.tree import SqlType

__all__ = ["cast_kernel", "of_type"]

_TRUE = ("true", "t", "yes", "y", "1", "on")
_FALSE = ("false", "f", "no", "n", "0", "off")
_WORDS = pa.array([*_TRUE, *_FALSE])
_MEANING = pa.array([True] * len(_TRUE) + [False] * len(_FALSE))
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.I)
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_TIME = re.compile(_CLOCK)
_TIMESTAMP = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([ T]{_CLOCK})?")
_ZONED = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[ T]{_CLOCK}(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)")
_LIMIT = 2**63
_WIDE = Context(prec=2 * DECIMAL_DIGITS)
_BLANKS = " \t\n\r\v\f"


def of_type(target: SqlType) -> pa.DataType:
    """The Arrow type that a SQL type is computed in."""
    if target.kind == "decimal":
        return pa.decimal128(DECIMAL_DIGITS, target.scale)
    if target.kind == "timestamp":
        return pa.timestamp("us", "UTC" if target.name == "TIMESTAMPTZ" else None)
    return CANONICAL[target.kind]


def cast_kernel(of: pa.DataType, target: SqlType) -> Kernel | None:
    """How values of the type are cast; `None` where nothing is to be done, `TypeError` where it can't be."""
    to = of_type(target)
    found = kind(of)
    if found == "null":
        return Kernel(to, lambda values: values.cast(to))
    make = _CASTS.get((found, target.kind))
    if make is None:
        raise TypeError(f"{named(of)} can't be cast to {NAMES[target.kind]}")
    return make(of, target)


def _plainly(of: pa.DataType, target: SqlType) -> Kernel | None:
    """By Arrow, where no value can fail, or there is nothing to do."""
    to = of_type(target)
    return None if of == to else Kernel(to, lambda values: values.cast(to, safe=False))


def _valued(fn: Callable[[Any], Any]) -> Callable[[pa.DataType, SqlType], Kernel]:
    return lambda _of, target: by_value(of_type(target), fn)


def _ranged(value: int, target: SqlType) -> int:
    half = 1 << (target.bits - 1)
    if not -half <= value < half:
        raise OverflowError(f"doesn't fit in the {target.bits} bits of {target.name}")
    return value


def _narrowed(target: SqlType, values: Values) -> Values:
    """64-bit integers, held to the range of a narrower type."""
    if target.bits < 64:
        half = 1 << (target.bits - 1)
        ends = pc.min_max(values)
        if ends["min"].is_valid and not (-half <= ends["min"].as_py() <= ends["max"].as_py() < half):
            raise OverflowError("out of range")
    return values


def _problem_of(fn: Callable[[Any], Any]) -> Callable[[Any], Exception | None]:
    def problem(value: Any) -> Exception | None:
        try:
            fn(value)
        except FAILURES as error:
            return error
        return None

    return problem


def _integer_to_integer(_of: pa.DataType, target: SqlType) -> Kernel | None:
    if target.bits == 64:
        return None
    problem = _problem_of(lambda value: _ranged(value, target))
    half = 1 << (target.bits - 1)

    def suspects(values: Values) -> Values:
        return pc.or_(pc.less(values, -half), pc.greater_equal(values, half))

    return Kernel(pa.int64(), lambda values: _narrowed(target, values), problem, suspects)


def _double_to_integer(_of: pa.DataType, target: SqlType) -> Kernel:
    def one(value: float) -> int:
        if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
            raise ValueError("no whole number")
        if not value.is_integer():
            raise ValueError("a fraction that an integer would lose; use round, floor or ceil")
        return _ranged(int(value), target)

    def run(values: Values) -> Values:
        if pc.any(suspects(values)).as_py():
            raise ValueError("no whole numbers")
        return _narrowed(target, values.cast(pa.int64(), safe=False))

    def suspects(values: Values) -> Values:
        limit = 2.0 ** (target.bits - 1)
        inside = pc.and_(pc.greater_equal(values, -limit), pc.less(values, limit))
        return pc.invert(pc.and_(inside, pc.equal(values, pc.trunc(values))))

    return Kernel(pa.int64(), run, _problem_of(one), suspects)


def _decimal_to_integer(_of: pa.DataType, target: SqlType) -> Kernel:
    def one(value: Decimal) -> int:
        if value != value.to_integral_value():
            raise ValueError("a fraction that an integer would lose; use round, floor or ceil")
        return _ranged(int(value), target)

    return by_value(pa.int64(), one)


def _of_text(
    to: pa.DataType,
    run: Callable[[Values], Values],
    pattern: re.Pattern[str],
    parse: Callable[[str], Any],
    what: str,
    likely: str,
) -> Kernel:
    """A cast of text. `run`: by Arrow, of clean text; text that it refuses is trimmed and tried again.
    `likely`: RE2's pattern of text that surely is well formed."""

    def one(text: str) -> Exception | None:
        cleaned = text.strip(_BLANKS)
        if pattern.fullmatch(cleaned) is None:
            return ValueError(f"no {what}")
        try:
            parse(cleaned)
        except OverflowError as error:
            return error
        except FAILURES:
            return ValueError(f"no {what}")
        return None

    def attempt(values: Values) -> Values:
        try:
            return run(values)
        except FAILURES:
            cleaned = pc.utf8_trim(values, _BLANKS)
            return run(pc.replace_substring_regex(cleaned, r"\A\+([0-9.])", r"\1"))

    def suspects(values: Values) -> Values:
        return pc.invert(pc.match_substring_regex(values, rf"\A[ \t\n\r\v\f]*{likely}[ \t\n\r\v\f]*\z"))

    return Kernel(to, attempt, one, suspects)


def _text_to_integer(_of: pa.DataType, target: SqlType) -> Kernel:
    def run(texts: Values) -> Values:
        result = texts.cast(pa.int64())
        for sign in ("x", "X"):  # Arrow takes hexadecimal digits for numbers
            if pc.any(pc.match_substring(texts, sign)).as_py():
                raise ValueError("hexadecimal")
        return _narrowed(target, result)

    def parse(text: str) -> int:
        return _ranged(int(text), target)

    digits = {16: 4, 32: 9, 64: 18}[target.bits]
    return _of_text(pa.int64(), run, _INTEGER, parse, "integer", rf"[+-]?[0-9]{{1,{digits}}}")


def _text_to_double(_of: pa.DataType, _target: SqlType) -> Kernel:
    likely = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
    return _of_text(pa.float64(), lambda texts: texts.cast(pa.float64()), _NUMBER, float, "number", likely)


def _text_to_boolean(_of: pa.DataType, _target: SqlType) -> Kernel:
    def run(texts: Values) -> Values:
        words = pc.utf8_lower(pc.utf8_trim(texts, _BLANKS))
        places = pc.index_in(words, value_set=_WORDS)
        if places.null_count != texts.null_count:
            raise ValueError("neither true nor false")
        return _MEANING.take(places)

    def one(text: str) -> Exception | None:
        known = text.strip(_BLANKS).lower() in {*_TRUE, *_FALSE}
        return None if known else ValueError("neither true nor false")

    def suspects(texts: Values) -> Values:
        words = pc.utf8_lower(pc.utf8_trim(texts, _BLANKS))
        return pc.invert(pc.is_in(words, value_set=_WORDS))

    return Kernel(pa.bool_(), run, one, suspects)


def _text_to_date(_of: pa.DataType, _target: SqlType) -> Kernel:
    def run(texts: Values) -> Values:
        result = texts.cast(pa.date32())
        if pc.any(pc.less(result, pa.scalar(datetime.date.min))).as_py():
            raise ValueError("the year 0")
        return result

    likely = r"[0-9]{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    return _of_text(pa.date32(), run, _DATE, datetime.date.fromisoformat, "date (YYYY-MM-DD)", likely)


def _text_to_timestamp(_of: pa.DataType, target: SqlType) -> Kernel:
    to = of_type(target)
    first = pa.scalar(datetime.datetime.min).cast(pa.timestamp("us")).cast(to)

    def run(texts: Values) -> Values:
        result = texts.cast(to)
        if (
            pc.any(pc.less(result, first)).as_py()
            or pc.any(pc.match_substring_regex(texts, ":60|\\.[0-9]{7}")).as_py()
        ):
            raise ValueError("no moment")
        return result

    def parse(text: str) -> datetime.datetime:
        found = datetime.datetime.fromisoformat(text)
        return found if found.tzinfo is None else found.astimezone(datetime.UTC)

    pattern, what = _TIMESTAMP, "timestamp (YYYY-MM-DD hh:mm:ss)"
    zone = ""
    if to.tz is not None:
        pattern, what, zone = _ZONED, "timestamp with a zone (YYYY-MM-DD hh:mm:ss+00:00)", "Z"
    clock = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
    likely = rf"[0-9]{{3}}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])[ T]{clock}{zone}"
    return _of_text(to, run, pattern, parse, what, likely)


def _time_of(text: str) -> datetime.time:
    cleaned = text.strip(_BLANKS)
    if _TIME.fullmatch(cleaned) is None:
        raise ValueError("no time (hh:mm:ss)")
    return datetime.time.fromisoformat(cleaned)


def _to_decimal(_of: pa.DataType, target: SqlType) -> Kernel:
    unit = Decimal(1).scaleb(-target.scale)
    limit = Decimal(10) ** (target.digits - target.scale)

    def one(value: Any) -> Decimal:
        if isinstance(value, float):
            value = repr(value)
        if isinstance(value, str):
            value = value.strip(_BLANKS)
            if _DECIMAL.fullmatch(value) is None:
                raise ValueError("no decimal number")
        number = Decimal(value)
        if (
            number.adjusted() >= DECIMAL_DIGITS
            or abs(number := number.quantize(unit, ROUND_HALF_UP, _WIDE)) >= limit
        ):
            raise OverflowError(f"doesn't fit in {target.name}")
        return number

    return by_value(of_type(target), one)


def _to_text(of: pa.DataType, _target: SqlType) -> Kernel:
    if kind(of) in {"integer", "boolean", "date", "blob"}:
        return Kernel(pa.string(), lambda values: values.cast(pa.string()))
    return by_value(pa.string(), _written)


def _written(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    return repr(value) if isinstance(value, float) else str(value)


def _integer_to_boolean(_of: pa.DataType, _target: SqlType) -> Kernel:
    def one(value: int) -> bool:
        if value not in {0, 1}:
            raise ValueError("neither 0 nor 1")
        return value == 1

    return by_value(pa.bool_(), one)


def _local(values: Values) -> Values:
    return pc.local_timestamp(values) if values.type.tz is not None else values


def _timestamp_to(of: pa.DataType, target: SqlType) -> Kernel | None:
    to = of_type(target)
    if of == to:
        return None
    if target.kind == "timestamp" and to.tz is not None:
        if of.tz is None:
            raise TypeError("a TIMESTAMP without zone can't be cast to one with zone: nothing says which")
        return Kernel(to, lambda values: values.cast(to))
    return Kernel(to, lambda values: _local(values).cast(to, safe=False))


def _date_to_timestamp(_of: pa.DataType, target: SqlType) -> Kernel:
    if target.name == "TIMESTAMPTZ":
        raise TypeError("a DATE can't be cast to a TIMESTAMP with zone: nothing says which")
    return Kernel(of_type(target), lambda values: values.cast(of_type(target)))


_CASTS: dict[tuple[str, str], Callable[[pa.DataType, SqlType], Kernel | None]] = {
    ("boolean", "boolean"): _plainly,
    ("boolean", "integer"): _plainly,
    ("boolean", "double"): lambda _of, _target: Kernel(
        pa.float64(), lambda values: values.cast(pa.int8()).cast(pa.float64())
    ),
    ("boolean", "text"): _to_text,
    ("integer", "integer"): _integer_to_integer,
    ("integer", "double"): _plainly,
    ("integer", "decimal"): _to_decimal,
    ("integer", "boolean"): _integer_to_boolean,
    ("integer", "text"): _to_text,
    ("double", "double"): _plainly,
    ("double", "integer"): _double_to_integer,
    ("double", "decimal"): _to_decimal,
    ("double", "text"): _to_text,
    ("decimal", "decimal"): _to_decimal,
    ("decimal", "double"): _plainly,
    ("decimal", "integer"): _decimal_to_integer,
    ("decimal", "text"): _to_text,
    ("text", "text"): _plainly,
    ("text", "integer"): _text_to_integer,
    ("text", "double"): _text_to_double,
    ("text", "boolean"): _text_to_boolean,
    ("text", "decimal"): _to_decimal,
    ("text", "date"): _text_to_date,
    ("text", "time"): _valued(_time_of),
    ("text", "timestamp"): _text_to_timestamp,
    ("text", "blob"): _plainly,
    ("blob", "blob"): _plainly,
    ("blob", "text"): _to_text,
    ("date", "date"): _plainly,
    ("date", "text"): _to_text,
    ("date", "timestamp"): _date_to_timestamp,
    ("time", "time"): _plainly,
    ("time", "text"): _to_text,
    ("timestamp", "timestamp"): _timestamp_to,
    ("timestamp", "date"): _timestamp_to,
    ("timestamp", "time"): _timestamp_to,
    ("timestamp", "text"): _to_text,
}
