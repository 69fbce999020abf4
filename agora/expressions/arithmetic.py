"""Numbers: operators and functions. Integers are checked (a result beyond 64 bits is an error), doubles follow
IEEE 754, decimals are exact to 38 digits; `/` always gives a double, and never divides by zero.
"""

import math
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from agora.expressions.coercion import coerced, nothing, unified
from agora.expressions.kinds import DECIMAL_DIGITS, kind, named
from agora.expressions.moments import shifted
from agora.expressions.plan import Apply, Constant, Kernel, Plan, Values, by_value

__all__ = ["Rule", "absolute", "add", "divide", "double_function", "modulo", "multiply", "negate", "power"]
__all__ += ["rounded", "sign", "subtract", "to_whole"]

Rule: TypeAlias = Callable[[Sequence[Plan], str], Plan]
"""Operands and the SQL text, for messages, to a plan; `TypeError` where the operands' types don't fit."""

_LIMIT = 2**63
_DOUBT = 2.0**62
_EXACT = Context(prec=2 * DECIMAL_DIGITS + 2)


def numbers(operands: Sequence[Plan], sql: str, verb: str) -> None:
    for operand in operands:
        if kind(operand.type) not in {"integer", "double", "decimal"}:
            hint = "; use CAST" if kind(operand.type) == "text" else ""
            raise TypeError(f"{sql}: {verb} takes numbers, not {named(operand.type)}{hint}")


def _in_range(fn: Callable[[int, int], int]) -> Callable[[int, int], Exception | None]:
    def problem(a: int, b: int) -> Exception | None:
        fits = -_LIMIT <= fn(a, b) < _LIMIT
        return None if fits else OverflowError("the result doesn't fit in 64 bits")

    return problem


def _checked(verb: str, run: Callable[..., Values], fn: Callable[[Any, Any], Any], unchecked: Any) -> Rule:
    """`+`, `-` or `*`."""

    def suspects(a: Values, b: Values) -> Values:
        a, b = (value.cast(pa.float64(), safe=False) for value in (a, b))
        return pc.greater_equal(pc.abs(unchecked(a, b)), _DOUBT)

    def rule(operands: Sequence[Plan], sql: str) -> Plan:
        null = nothing(operands, sql)
        if null is not None:
            return null
        numbers(operands, sql, verb)
        scales = [one.type.scale if kind(one.type) == "decimal" else 0 for one in operands]
        left, right = operands
        if "double" in {kind(left.type), kind(right.type)}:
            kernel = Kernel(pa.float64(), run)
            return Apply(kernel, tuple(unified(operands, sql)), sql)
        if kind(left.type) == kind(right.type) == "integer":
            return Apply(Kernel(pa.int64(), run, _in_range(fn), suspects), (left, right), sql)
        scale = sum(scales) if verb == "*" else max(scales)
        if scale > DECIMAL_DIGITS:
            raise TypeError(f"{sql}: the result has {scale} digits after the point; use CAST for fewer")
        return Apply(_decimals(scale, fn), (left, right), sql)

    return rule


def _decimals(scale: int, fn: Callable[[Decimal, Decimal], Decimal]) -> Kernel:
    def compute(a: Decimal | int, b: Decimal | int) -> Decimal:
        result = fn(Decimal(a), Decimal(b))
        if len(result.as_tuple().digits) > DECIMAL_DIGITS:
            raise OverflowError(f"the result doesn't fit in {DECIMAL_DIGITS} digits")
        return result

    return by_value(pa.decimal128(DECIMAL_DIGITS, scale), compute)


def _add(a: Any, b: Any) -> Any:
    return _EXACT.add(a, b) if isinstance(a, Decimal) else a + b


def _subtract(a: Any, b: Any) -> Any:
    return _EXACT.subtract(a, b) if isinstance(a, Decimal) else a - b


def _multiply(a: Any, b: Any) -> Any:
    return _EXACT.multiply(a, b) if isinstance(a, Decimal) else a * b


_add_numbers = _checked("+", pc.add_checked, _add, pc.add)
_subtract_numbers = _checked("-", pc.subtract_checked, _subtract, pc.subtract)
multiply = _checked("*", pc.multiply_checked, _multiply, pc.multiply)


def add(operands: Sequence[Plan], sql: str) -> Plan:
    return shifted(operands, sql, pc.add_checked) or _add_numbers(operands, sql)


def subtract(operands: Sequence[Plan], sql: str) -> Plan:
    return shifted(operands, sql, pc.subtract_checked) or _subtract_numbers(operands, sql)


def _by_zero(_: Any, b: Any) -> Exception | None:
    return ZeroDivisionError("division by zero") if b == 0 else None


def _zeros(_: Values, b: Values) -> Values:
    return pc.equal(b, pa.scalar(0, b.type)) if not isinstance(b, pa.Scalar) else pa.array([], pa.bool_())


def divide(operands: Sequence[Plan], sql: str) -> Plan:
    """Always doubles: SQL's integer division loses digits without a word."""
    null = nothing(operands, sql)
    if null is not None:
        return null
    numbers(operands, sql, "/")
    doubles = tuple(coerced(operand, pa.float64(), sql) for operand in operands)
    return Apply(Kernel(pa.float64(), pc.divide_checked, _by_zero, _zeros), doubles, sql)


def modulo(operands: Sequence[Plan], sql: str) -> Plan:
    """The sign is that of the dividend, as in SQL (Python's is that of the divisor)."""
    null = nothing(operands, sql)
    if null is not None:
        return null
    numbers(operands, sql, "%")
    kinds = {kind(operand.type) for operand in operands}
    if kinds == {"integer"} or "double" in kinds:
        one, other = unified(operands, sql)
        # Checked, integers know an overflow that isn't one: the smallest modulo -1 is 0.
        function = "remainder_checked" if "double" in kinds else "remainder"
        kernel = Kernel(one.type, lambda a, b: pc.call_function(function, [a, b]), _by_zero, _zeros)
        return Apply(kernel, (one, other), sql)

    def remainder(a: Decimal, b: Decimal) -> Decimal:
        if not b:
            raise ZeroDivisionError("division by zero")
        return _EXACT.remainder(a, b)

    scale = max(operand.type.scale for operand in operands if kind(operand.type) == "decimal")
    return Apply(_decimals(scale, remainder), tuple(operands), sql)


def _smallest(value: Any) -> Exception | None:
    return OverflowError("the result doesn't fit in 64 bits") if value == -_LIMIT else None


def _one_number(run: Callable[..., Values], verb: str) -> Rule:
    """Of one number, of the same type."""

    def rule(operands: Sequence[Plan], sql: str) -> Plan:
        null = nothing(operands, sql)
        if null is not None:
            return null
        numbers(operands, sql, verb)
        (operand,) = operands
        problem = _smallest if kind(operand.type) == "integer" else None
        return Apply(
            Kernel(operand.type, lambda value: run(value).cast(operand.type), problem), (operand,), sql
        )

    return rule


negate = _one_number(pc.negate_checked, "-")
absolute = _one_number(pc.abs_checked, "abs")
sign = _one_number(pc.sign, "sign")


def to_whole(name: str) -> Rule:
    """`floor` or `ceil`."""
    mode = ROUND_FLOOR if name == "floor" else ROUND_CEILING

    def rule(operands: Sequence[Plan], sql: str) -> Plan:
        null = nothing(operands, sql)
        if null is not None:
            return null
        numbers(operands, sql, name)
        (operand,) = operands
        if kind(operand.type) == "integer":
            return operand
        if kind(operand.type) == "decimal":
            fn = by_value(operand.type, lambda value: value.quantize(Decimal(1), mode, _EXACT))
            return Apply(fn, (operand,), sql)
        return Apply(Kernel(operand.type, lambda value: pc.call_function(name, [value])), (operand,), sql)

    return rule


def rounded(operands: Sequence[Plan], sql: str) -> Plan:
    """Half away from zero, as SQL does it; the number keeps its type."""
    null = nothing(operands, sql)
    if null is not None:
        return null
    numbers(operands, sql, "round")
    operand = operands[0]
    digits = 0
    if len(operands) == 2:
        if not isinstance(operands[1], Constant) or kind(operands[1].type) != "integer":
            raise TypeError(f"{sql}: the number of digits must be a constant whole number")
        digits = operands[1].scalar.as_py()
    if kind(operand.type) == "decimal":
        place = Decimal(1).scaleb(-min(digits, operand.type.scale))

        def by_decimal(value: Decimal) -> Decimal:
            return Decimal(value.quantize(place, ROUND_HALF_UP, _EXACT))

        return Apply(by_value(operand.type, by_decimal), (operand,), sql)
    if kind(operand.type) == "integer" and digits >= 0:
        return operand
    options = pc.RoundOptions(digits, "half_towards_infinity")

    def run(values: Values) -> Values:
        return pc.call_function("round", [values], options)

    return Apply(Kernel(operand.type, run), (operand,), sql)


def double_function(name: str, run: Callable[..., Values], problem: Callable[[float], str | None]) -> Rule:
    """A function of a double; `problem` says where it has no value."""

    def of_row(value: float) -> Exception | None:
        text = problem(value)
        return None if text is None else ValueError(text)

    def rule(operands: Sequence[Plan], sql: str) -> Plan:
        null = nothing(operands, sql)
        if null is not None:
            return null
        numbers(operands, sql, name)
        doubles = tuple(coerced(operand, pa.float64(), sql) for operand in operands)
        return Apply(Kernel(pa.float64(), run, of_row), doubles, sql)

    return rule


def _power_problem(base: float, exponent: float) -> Exception | None:
    if base == 0 and exponent < 0:
        return ZeroDivisionError("zero to a negative power")
    if base < 0 and math.isfinite(base) and math.isfinite(exponent) and not exponent.is_integer():
        return ValueError("a negative number to a fractional power")
    return None


def _power(base: Values, exponent: Values) -> Values:
    if pc.any(_power_suspects(base, exponent)).as_py():
        raise ValueError("no power")
    return pc.power(base, exponent)


def _power_suspects(base: Values, exponent: Values) -> Values:
    of_zero = pc.and_(pc.equal(base, 0.0), pc.less(exponent, 0.0))
    broken = pc.and_(pc.less(base, 0.0), pc.not_equal(exponent, pc.floor(exponent)))
    finite = pc.and_(pc.is_finite(base), pc.is_finite(exponent))
    return pc.or_(of_zero, pc.and_(broken, finite))


def power(operands: Sequence[Plan], sql: str) -> Plan:
    null = nothing(operands, sql)
    if null is not None:
        return null
    numbers(operands, sql, "power")
    doubles = tuple(coerced(operand, pa.float64(), sql) for operand in operands)
    return Apply(Kernel(pa.float64(), _power, _power_problem, _power_suspects), doubles, sql)
