"""An evaluator of its own for expressions: each term is SQL text beside a Python function of one row."""

import datetime
import math
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

import attrs
import pyarrow as pa
from hypothesis import strategies as st

SCHEMA = pa.schema(
    {
        "i": pa.int64(),
        "j": pa.int64(),
        "x": pa.float64(),
        "y": pa.float64(),
        "s": pa.string(),
        "t": pa.string(),
        "b": pa.bool_(),
        "c": pa.bool_(),
        "m": pa.decimal128(12, 2),
        "d": pa.date32(),
        "e": pa.timestamp("us"),
        "two words": pa.int64(),
    }
)
_EDGE = [0, 1, -1, 2, 3, -7, 10, 2**53 + 1, 2**62, 2**63 - 1, -(2**63)]
_FLOATS = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    2.5,
    0.1,
    1e16,
    1e308,
    -1e308,
    5e-324,
    math.nan,
    math.inf,
    -math.inf,
    2.0**63,
]
_TEXTS = [
    "",
    " ",
    "a",
    "A",
    "ab",
    "a%b",
    "a_b",
    "é",
    "日本",
    "😀x",
    "12",
    " -7 ",
    "+3",
    "0x10",
    "1.5",
    "1e3",
    "nan",
    "true",
]
_TEXTS += [
    "No",
    "2026-02-29",
    "2024-02-29",
    "2026-01-31",
    "9223372036854775808",
    "1_0",
    "a\nb",
    "\\",
    "x" * 30,
]

ints = st.sampled_from(_EDGE) | st.integers(-20, 20)
floats = st.sampled_from(_FLOATS) | st.floats(-100, 100).map(lambda value: round(value, 2))
texts = st.sampled_from(_TEXTS) | st.text("aB %_é1", max_size=6)
dates = st.sampled_from([datetime.date.min, datetime.date.max, datetime.date(1969, 12, 31)]) | st.dates()
moments = st.datetimes() | st.sampled_from([datetime.datetime.min, datetime.datetime.max])
decimals = st.decimals("-9999999999.99", "9999999999.99", places=2)


def rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return values | values | values | st.none()

    one = st.fixed_dictionaries(
        {
            "i": maybe(ints), "j": maybe(ints), "x": maybe(floats), "y": maybe(floats), "s": maybe(texts),
            "t": maybe(texts), "b": maybe(st.booleans()), "c": maybe(st.booleans()), "m": maybe(decimals),
            "d": maybe(dates), "e": maybe(moments), "two words": maybe(ints),
        }
    )  # fmt: skip
    return st.lists(one, max_size=12)


@attrs.frozen
class Term:
    sql: str
    value: Callable[[dict[str, Any]], Any]
    """The row's value, or raises the kind of error that it has."""


def strict(fn: Callable[..., Any], *operands: Term) -> Callable[[dict[str, Any]], Any]:
    """NULL in, NULL out; operands from left to right."""

    def value(row: dict[str, Any]) -> Any:
        given = [operand.value(row) for operand in operands]
        return None if any(one is None for one in given) else fn(*given)

    return value


def column(name: str) -> Term:
    return Term(f'"{name}"' if " " in name else name, lambda row: row[name])


def fits(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise OverflowError
    return value


def remainder(a: int, b: int) -> int:
    if b == 0:
        raise ZeroDivisionError
    return abs(a) % abs(b) * (-1 if a < 0 else 1)


def float_remainder(a: float, b: float) -> float:
    if b == 0:
        raise ZeroDivisionError
    return math.nan if math.isinf(a) else math.fmod(a, b)


def whole(value: float) -> int:
    if math.isnan(value) or math.isinf(value) or not value.is_integer():
        raise ValueError
    return fits(int(value))


def int_of(text: str) -> int:
    if not text.isascii() or "_" in text:
        raise ValueError
    return fits(int(text))


def float_of(text: str) -> float:
    if not text.isascii() or "_" in text:
        raise ValueError
    return float(text)


def bool_of(text: str) -> bool:
    word = text.strip().lower()
    if word in {"true", "t", "yes", "y", "1", "on"}:
        return True
    if word in {"false", "f", "no", "n", "0", "off"}:
        return False
    raise ValueError


def date_of(text: str) -> datetime.date:
    if len(text.strip()) != 10:
        raise ValueError
    return datetime.date.fromisoformat(text.strip())


def trying(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def value(given: Any) -> Any:
        try:
            return fn(given)
        except (ValueError, ArithmeticError):
            return None

    return value


def like(text: str, pattern: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in {"_", text[0]} and like(text[1:], pattern[1:])


def substring(text: str, start: int, length: int) -> str:
    if length < 0:
        raise ValueError
    return "".join(c for place, c in enumerate(text, 1) if start <= place < start + length)


def part(text: str, by: str, place: int) -> str:
    if place == 0:
        raise ValueError
    parts = text.split(by) if by else [text]
    index = place - 1 if place > 0 else len(parts) + place
    return parts[index] if 0 <= index < len(parts) else ""


def padded(text: str, length: int, fill: str) -> str:
    if length > len(text) and not fill:
        raise ValueError
    missing = max(0, length - len(text))
    return ((fill * missing)[:missing] + text)[: max(length, 0)] if missing else text[: max(length, 0)]


def and_(a: Term, b: Term) -> Callable[[dict[str, Any]], Any]:
    def value(row: dict[str, Any]) -> Any:
        left = a.value(row)
        if left is False:
            return False
        right = b.value(row)
        return False if right is False else None if None in (left, right) else True

    return value


def or_(a: Term, b: Term) -> Callable[[dict[str, Any]], Any]:
    def value(row: dict[str, Any]) -> Any:
        left = a.value(row)
        if left is True:
            return True
        right = b.value(row)
        return True if right is True else None if None in (left, right) else False

    return value


def within(operand: Term, choices: list[Term]) -> Callable[[dict[str, Any]], Any]:
    def value(row: dict[str, Any]) -> Any:
        given = operand.value(row)
        found = [None if None in (given, one.value(row)) else given == one.value(row) for one in choices]
        return True if True in found else None if None in found else False

    return value


def case(
    condition: Term, then: Term, otherwise: Term, to: Callable[[Any], Any]
) -> Callable[[dict[str, Any]], Any]:
    def value(row: dict[str, Any]) -> Any:
        found = (then if condition.value(row) is True else otherwise).value(row)
        return None if found is None else to(found)

    return value


def coalesce(terms: list[Term], to: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
    def value(row: dict[str, Any]) -> Any:
        for term in terms:
            found = term.value(row)
            if found is not None:
                return to(found)
        return None

    return value


def distinct(a: Any, b: Any) -> bool:
    return (a is None) != (b is None) or (a is not None and a != b)


def best(pick: Callable[[Any, Any], bool], a: Term, b: Term) -> Callable[[dict[str, Any]], Any]:
    def value(row: dict[str, Any]) -> Any:
        one, other = a.value(row), b.value(row)
        if one is None or other is None:
            return other if one is None else one
        return other if pick(other, one) else one

    return value


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_EXACT = Context(prec=80)


def _exactly(name: str, fn: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: getattr(_EXACT, name)(a, b) if isinstance(a, Decimal) else fn(a, b)


SCALES: dict[str, Callable[[Any, Any], Any]] = {
    "+": _exactly("add", lambda a, b: a + b),
    "-": _exactly("subtract", lambda a, b: a - b),
    "*": _exactly("multiply", lambda a, b: a * b),
}


class Terms:
    """Draws terms of each kind, not deeper than asked."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw

    def any(self, depth: int) -> Term:
        kinds = [self.integer, self.double, self.text, self.boolean, self.date, self.decimal]
        return self.draw(st.sampled_from(kinds))(depth)

    def pick(self, *choices: Callable[[], Term]) -> Term:
        return self.draw(st.sampled_from(choices))()

    def integer(self, depth: int) -> Term:
        if depth <= 0:
            return self.pick(
                lambda: column("i"), lambda: column("j"), lambda: column("two words"), self._integer_literal
            )
        a, b = (lambda: self.integer(depth - 1)), (lambda: self.integer(depth - 1))
        return self.pick(
            lambda: self._scaled(a(), b(), fits),
            lambda: self._scaled(a(), b(), fits),
            lambda: self._two("({} % {})", remainder, a(), b()),
            lambda: self._one("(- {})", lambda value: fits(-value), a()),
            lambda: self._one("abs({})", lambda value: fits(abs(value)), a()),
            lambda: self._one("sign({})", lambda value: (value > 0) - (value < 0), a()),
            lambda: self._case(a(), b(), depth, lambda value: value),
            lambda: self._coalesce([a(), b()], lambda value: value),
            lambda: self._best(a(), b()),
            lambda: self._null_if(a(), b()),
            lambda: self._one("CAST({} AS BIGINT)", whole, self.double(depth - 1)),
            lambda: self._one("{}::BIGINT", int_of, column(self.draw(st.sampled_from("st")))),
            lambda: self._one("TRY_CAST({} AS BIGINT)", trying(int_of), self.text(depth - 1)),
            lambda: self._one("length({})", len, self.text(depth - 1)),
            lambda: self._two(
                "strpos({}, {})", lambda text, sub: text.find(sub) + 1, column("s"), self.text(0)
            ),
            lambda: self._one("year({})", lambda value: value.year, self.date(depth - 1)),
            lambda: self._one("extract(day FROM {})", lambda value: value.day, column("e")),
            lambda: self._one("hour({})", lambda value: value.hour, column("e")),
            lambda: self._one("CAST({} AS INT)", int, self.boolean(depth - 1)),
        )

    def double(self, depth: int) -> Term:
        if depth <= 0:
            return self.pick(lambda: column("x"), lambda: column("y"), self._double_literal)
        a, b = (lambda: self.double(depth - 1)), (lambda: self.number(depth - 1))
        return self.pick(
            lambda: self._scaled(a(), b(), float),
            lambda: self._two("({} % {})", lambda x, y: float_remainder(float(x), float(y)), a(), b()),
            lambda: self._two("({} / {})", lambda x, y: float(x) / float(y), a(), b()),
            lambda: self._two("({} / {})", lambda x, y: float(x) / float(y), b(), b()),
            lambda: self._one("(- {})", lambda value: -value, a()),
            lambda: self._one("abs({})", abs, a()),
            lambda: self._one("floor({})", self._rounding(math.floor), a()),
            lambda: self._one("ceil({})", self._rounding(math.ceil), a()),
            lambda: self._case(a(), b(), depth, float),
            lambda: self._coalesce([b(), a(), b()], float),
            lambda: self._one("sqrt({})", math.sqrt, self.number(depth - 1)),
            lambda: self._one("CAST({} AS DOUBLE)", float_of, self.text(depth - 1)),
            lambda: self._one("TRY_CAST({} AS DOUBLE)", trying(float_of), self.text(depth - 1)),
            lambda: self._one("CAST({} AS DOUBLE)", float, self.integer(depth - 1)),
        )

    def number(self, depth: int) -> Term:
        return self.pick(lambda: self.double(depth), lambda: self.integer(depth))

    def decimal(self, depth: int) -> Term:
        if depth <= 0:
            return column("m")
        a, b = (lambda: column("m")), (lambda: self.pick(lambda: column("m"), lambda: self.integer(0)))
        return self.pick(
            lambda: self._scaled(a(), b(), lambda value: value),
            lambda: self._one("(- {})", lambda value: -value, a()),
            lambda: self._one("abs({})", abs, a()),
        )

    def text(self, depth: int) -> Term:
        if depth <= 0:
            return self.pick(lambda: column("s"), lambda: column("t"), self._text_literal)
        a, b = (lambda: self.text(depth - 1)), (lambda: self.text(depth - 1))
        small = self._small
        return self.pick(
            lambda: self._two("({} || {})", lambda x, y: x + y, a(), b()),
            lambda: self._concat(a(), b()),
            lambda: self._one("upper({})", str.upper, a()),
            lambda: self._one("lower({})", str.lower, a()),
            lambda: self._one("reverse({})", lambda text: text[::-1], a()),
            lambda: self._one("trim({})", lambda text: text.strip(" "), a()),
            lambda: self._two("ltrim({}, {})", lambda text, what: text.lstrip(what), a(), b()),
            lambda: self._three("substring({}, {}, {})", substring, a(), small(), small()),
            lambda: self._three("substring({} FROM {} FOR {})", substring, a(), small(), small()),
            lambda: self._two("left({}, {})", lambda text, n: text[:n], a(), small()),
            lambda: self._two("right({}, {})", lambda text, n: text[-n:] if n else "", a(), small()),
            lambda: self._three(
                "replace({}, {}, {})", lambda x, y, z: x.replace(y, z) if y else x, a(), b(), b()
            ),
            lambda: self._three("split_part({}, {}, {})", part, a(), b(), small()),
            lambda: self._three("lpad({}, {}, {})", padded, a(), small(), b()),
            lambda: self._case(a(), b(), depth, lambda value: value),
            lambda: self._coalesce([a(), b()], lambda value: value),
            lambda: self._best(a(), b()),
            lambda: self._one("CAST({} AS TEXT)", str, self.integer(depth - 1)),
            lambda: self._one("CAST({} AS TEXT)", repr, self.double(depth - 1)),
            lambda: self._one("CAST({} AS TEXT)", str, self.date(depth - 1)),
            lambda: self._one("CAST({} AS TEXT)", lambda value: format(value, "f"), self.decimal(depth - 1)),
            lambda: self._one("CAST({} AS TEXT)", lambda value: str(value).lower(), self.boolean(depth - 1)),
        )

    def date(self, depth: int) -> Term:
        if depth <= 0:
            return self.pick(
                lambda: column("d"), lambda: Term("DATE '2024-02-29'", lambda _: datetime.date(2024, 2, 29))
            )
        return self.pick(
            lambda: column("d"),
            lambda: self._one(
                "date_trunc('month', {})", lambda value: value.replace(day=1), self.date(depth - 1)
            ),
            lambda: self._one("CAST({} AS DATE)", date_of, column(self.draw(st.sampled_from("st")))),
            lambda: self._one("CAST({} AS DATE)", lambda value: value.date(), column("e")),
            lambda: self._coalesce([self.date(depth - 1), self.date(0)], lambda value: value),
        )

    def boolean(self, depth: int) -> Term:
        if depth <= 0:
            literal = self.draw(st.sampled_from([("TRUE", True), ("FALSE", False), ("NULL::BOOLEAN", None)]))
            return self.pick(
                lambda: column("b"), lambda: column("c"), lambda: Term(literal[0], lambda _: literal[1])
            )
        a, b = (lambda: self.boolean(depth - 1)), (lambda: self.boolean(depth - 1))
        return self.pick(
            lambda: self._joined("({} AND {})", and_, a(), b()),
            lambda: self._joined("({} OR {})", or_, a(), b()),
            lambda: self._one("(NOT {})", lambda value: not value, a()),
            lambda: self._compared(self.integer, self.integer, depth),
            lambda: self._compared(self.number, self.double, depth, float),
            lambda: self._compared(self.text, self.text, depth),
            lambda: self._compared(self.date, self.date, depth),
            lambda: self._compared(self.decimal, self.integer, depth),
            lambda: self._compared(self.boolean, self.boolean, depth),
            lambda: self._nullness(self.any(depth - 1)),
            lambda: self._truth(a()),
            lambda: self._distinct(self.integer(depth - 1), self.integer(depth - 1)),
            lambda: self._distinct(self.text(depth - 1), self.text(depth - 1)),
            lambda: self._in(self.integer(depth - 1), [self.integer(0) for _ in range(self._count())]),
            lambda: self._in(self.text(depth - 1), [self._text_literal() for _ in range(self._count())]),
            lambda: self._in(self.double(depth - 1), [self.double(0) for _ in range(self._count())]),
            lambda: self._between(self.integer(depth - 1), self.integer(0), self.integer(0)),
            lambda: self._two("({} LIKE {})", like, self.text(depth - 1), self.text(0)),
            lambda: self._two(
                "(NOT {} LIKE {})", lambda x, y: not like(x, y), self.text(depth - 1), self.text(0)
            ),
            lambda: self._two("contains({}, {})", lambda x, y: y in x, self.text(depth - 1), self.text(0)),
            lambda: self._two("starts_with({}, {})", str.startswith, self.text(depth - 1), self.text(0)),
            lambda: self._two("ends_with({}, {})", str.endswith, self.text(depth - 1), self.text(0)),
            lambda: self._one("CAST({} AS BOOLEAN)", bool_of, self.text(depth - 1)),
            lambda: self._case(a(), b(), depth, lambda value: value),
        )

    def _count(self) -> int:
        return self.draw(st.integers(1, 5))

    def _small(self) -> Term:
        value = self.draw(st.integers(-4, 6))
        return self.pick(
            lambda: Term(str(value), lambda _: value), lambda: Term(f"({value} + i * 0)", self._zeroed(value))
        )

    def _zeroed(self, value: int) -> Callable[[dict[str, Any]], Any]:
        return lambda row: None if row["i"] is None else value

    def _integer_literal(self) -> Term:
        value = self.draw(ints)
        return Term(str(value), lambda _: value)

    def _double_literal(self) -> Term:
        value = self.draw(floats.filter(math.isfinite))
        sql = repr(value)
        return Term(sql if "e" in sql or "." in sql else f"{sql}.0", lambda _: value)

    def _text_literal(self) -> Term:
        value = self.draw(texts)
        return Term(quoted(value), lambda _: value)

    def _rounding(self, fn: Callable[[float], int]) -> Callable[[float], float]:
        return lambda value: math.copysign(float(fn(value)), value) if math.isfinite(value) else value

    def _one(self, sql: str, fn: Callable[[Any], Any], a: Term) -> Term:
        return Term(sql.format(a.sql), strict(fn, a))

    def _two(self, sql: str, fn: Callable[[Any, Any], Any], a: Term, b: Term) -> Term:
        return Term(sql.format(a.sql, b.sql), strict(fn, a, b))

    def _three(self, sql: str, fn: Callable[[Any, Any, Any], Any], a: Term, b: Term, c: Term) -> Term:
        return Term(sql.format(a.sql, b.sql, c.sql), strict(fn, a, b, c))

    def _joined(self, sql: str, join: Callable[[Term, Term], Any], a: Term, b: Term) -> Term:
        return Term(sql.format(a.sql, b.sql), join(a, b))

    def _scaled(self, a: Term, b: Term, to: Callable[[Any], Any]) -> Term:
        sign = self.draw(st.sampled_from(sorted(SCALES)))
        if to is float:
            return self._two(f"({{}} {sign} {{}})", lambda x, y: SCALES[sign](float(x), float(y)), a, b)
        return self._two(f"({{}} {sign} {{}})", lambda x, y: to(SCALES[sign](x, y)), a, b)

    def _compared(
        self, one: Any, other: Any, depth: int, to: Callable[[Any], Any] = lambda value: value
    ) -> Term:
        sign = self.draw(st.sampled_from(sorted(COMPARISONS)))
        a, b = one(depth - 1), other(depth - 1)
        return self._two(f"({{}} {sign} {{}})", lambda x, y: COMPARISONS[sign](to(x), to(y)), a, b)

    def _case(self, a: Term, b: Term, depth: int, to: Callable[[Any], Any]) -> Term:
        condition = self.boolean(depth - 1)
        return Term(f"CASE WHEN {condition.sql} THEN {a.sql} ELSE {b.sql} END", case(condition, a, b, to))

    def _coalesce(self, terms: list[Term], to: Callable[[Any], Any]) -> Term:
        return Term(f"coalesce({', '.join(term.sql for term in terms)})", coalesce(terms, to))

    def _best(self, a: Term, b: Term) -> Term:
        if self.draw(st.booleans()):
            return Term(f"greatest({a.sql}, {b.sql})", best(lambda x, y: x > y, a, b))
        return Term(f"least({a.sql}, {b.sql})", best(lambda x, y: x < y, a, b))

    def _null_if(self, a: Term, b: Term) -> Term:
        def value(row: dict[str, Any]) -> Any:
            one, other = a.value(row), b.value(row)
            return None if one is None or one == other else one

        return Term(f"nullif({a.sql}, {b.sql})", value)

    def _concat(self, a: Term, b: Term) -> Term:
        return Term(f"concat({a.sql}, {b.sql})", lambda row: (a.value(row) or "") + (b.value(row) or ""))

    def _nullness(self, a: Term) -> Term:
        if self.draw(st.booleans()):
            return Term(f"({a.sql} IS NULL)", lambda row: a.value(row) is None)
        return Term(f"({a.sql} IS NOT NULL)", lambda row: a.value(row) is not None)

    def _truth(self, a: Term) -> Term:
        wanted, negated = self.draw(st.booleans()), self.draw(st.booleans())
        sql = f"({a.sql} IS {'NOT ' if negated else ''}{str(wanted).upper()})"
        return Term(sql, lambda row: (a.value(row) is wanted) != negated)

    def _distinct(self, a: Term, b: Term) -> Term:
        if self.draw(st.booleans()):
            return Term(
                f"({a.sql} IS DISTINCT FROM {b.sql})", lambda row: distinct(a.value(row), b.value(row))
            )
        return Term(
            f"({a.sql} IS NOT DISTINCT FROM {b.sql})", lambda row: not distinct(a.value(row), b.value(row))
        )

    def _in(self, operand: Term, choices: list[Term]) -> Term:
        return Term(f"({operand.sql} IN ({', '.join(one.sql for one in choices)}))", within(operand, choices))

    def _between(self, operand: Term, low: Term, high: Term) -> Term:
        above = Term("", strict(lambda x, y: x >= y, operand, low))
        below = Term("", strict(lambda x, y: x <= y, operand, high))
        return Term(f"({operand.sql} BETWEEN {low.sql} AND {high.sql})", and_(above, below))


@st.composite
def terms(draw: Callable[[st.SearchStrategy[Any]], Any], depth: int = 3) -> Term:
    return Terms(draw).any(draw(st.integers(0, depth)))


def same(found: Any, expected: Any) -> bool:
    """Equal to the last bit, NaN to NaN, -0.0 not to 0.0; 1 isn't 1.0."""
    if isinstance(expected, Decimal):
        return type(found) is Decimal and found == expected
    return type(found) is type(expected) and repr(found) == repr(expected)
