"""Comparisons, IN, and tests for NULL and truth. Numbers compare with numbers, all else only with its own kind;
doubles compare as IEEE 754 says, so NaN equals nothing.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from agora.expressions.coercion import coerced, unified
from agora.expressions.kinds import DECIMAL_DIGITS, kind, named
from agora.expressions.lazy import Coalesce, Junction
from agora.expressions.plan import Apply, Constant, Kernel, Plan, Values

__all__ = [
    "as_condition",
    "compare",
    "distinct",
    "extreme",
    "is_in",
    "is_null",
    "is_truth",
    "negated",
    "null_if",
]

_BOOLEAN = pa.bool_()
_HASHED = frozenset({"integer", "text", "date"})
_ORDERED = frozenset(
    {"integer", "double", "decimal", "text", "blob", "date", "time", "timestamp", "interval"}
)


def _comparable(operands: Sequence[Plan], sql: str) -> list[Plan]:
    """All of one type. Decimals of two scales and integers meet in 76 digits, where none of them overflows."""
    for operand in operands:
        if kind(operand.type) == "other":
            raise TypeError(f"{sql}: {operand.type} can't be compared")
    plans = unified(operands, sql)
    if kind(plans[0].type) != "decimal" or len({plan.type for plan in operands}) == 1:
        return plans
    wide = pa.decimal256(2 * DECIMAL_DIGITS, plans[0].type.scale)
    return [coerced(operand, wide, sql) for operand in operands]


def compare(run: Callable[..., Values]) -> Callable[[Sequence[Plan], str], Plan]:
    def rule(operands: Sequence[Plan], sql: str) -> Plan:
        return _compared(run, operands, sql)

    return rule


def _compared(run: Callable[..., Values], operands: Sequence[Plan], sql: str) -> Plan:
    plans = _comparable(operands, sql)
    if kind(plans[0].type) == "null":  # no kernel compares columns of NULLs
        return Apply(
            Kernel(_BOOLEAN, lambda a, b: pc.and_(a.cast(_BOOLEAN), b.cast(_BOOLEAN))), tuple(plans), sql
        )
    return Apply(Kernel(_BOOLEAN, run), tuple(plans), sql)


def as_condition(operand: Plan, sql: str, user: str) -> Plan:
    """The operand as BOOLEAN; `TypeError` where it is something else."""
    if kind(operand.type) not in {"boolean", "null"}:
        raise TypeError(f"{sql}: {user} takes conditions (BOOLEAN), not {named(operand.type)}")
    return coerced(operand, _BOOLEAN, sql)


def negated(operands: Sequence[Plan], sql: str) -> Plan:
    return Apply(Kernel(_BOOLEAN, pc.invert), (as_condition(operands[0], sql, "NOT"),), sql)


def is_null(operands: Sequence[Plan], sql: str) -> Plan:
    return Apply(Kernel(_BOOLEAN, pc.is_null), tuple(operands), sql)


def is_truth(wanted: bool) -> Callable[[Sequence[Plan], str], Plan]:
    """`IS TRUE` or `IS FALSE`: never NULL."""

    def run(values: Values) -> Values:
        true = values if wanted else pc.invert(values)
        return pc.fill_null(true, False)

    def rule(operands: Sequence[Plan], sql: str) -> Plan:
        return Apply(Kernel(_BOOLEAN, run), (as_condition(operands[0], sql, "IS"),), sql)

    return rule


def distinct(operands: Sequence[Plan], sql: str) -> Plan:
    """`IS DISTINCT FROM`: as `<>`, with NULL a value like others."""
    equal = _compared(pc.equal, operands, sql)
    kernel = Kernel(_BOOLEAN, lambda same, a, b: pc.invert(_same(same, a, b)))
    return Apply(kernel, (equal, *operands), sql)


def _same(equal: Values, a: Values, b: Values) -> Values:
    nulls = pc.and_(pc.is_null(a), pc.is_null(b))
    return pc.or_(pc.fill_null(equal, False), nulls)


def is_in(operands: Sequence[Plan], sql: str) -> Plan:
    """`operand IN (choices)`: NULL where it is none of them and one of them is NULL."""
    operand, *choices = _comparable(operands, sql)
    if kind(operand.type) == "null":
        return _compared(pc.equal, (operand, choices[0]), sql)
    constants = [choice.scalar for choice in choices if isinstance(choice, Constant)]
    if len(constants) == len(choices) > 2 and kind(operand.type) in _HASHED:
        return Apply(_among(constants, operand.type), (operand,), sql)
    tests = tuple(_compared(pc.equal, (operand, choice), sql) for choice in choices)
    return tests[0] if len(tests) == 1 else Junction(True, tests)


def _among(constants: Sequence[pa.Scalar], of: pa.DataType) -> Kernel:
    known = pa.array([one.as_py() for one in constants if one.is_valid], of)
    missing = pa.scalar(None if len(known) < len(constants) else False, _BOOLEAN)

    def run(values: Values) -> Values:
        found = pc.is_in(values, value_set=known)
        if missing.is_valid and not values.null_count:
            return found
        result = pc.if_else(found, pa.scalar(True), missing)
        return pc.if_else(pc.is_null(values), pa.scalar(None, _BOOLEAN), result)

    return Kernel(_BOOLEAN, run)


def null_if(operands: Sequence[Plan], sql: str) -> Plan:
    """The first, or NULL where both are equal."""
    of = operands[0].type
    equal = _compared(pc.equal, operands, sql)

    def run(same: Values, value: Values) -> Values:
        return pc.if_else(pc.fill_null(same, False), pa.scalar(None, of), value)

    return Apply(Kernel(of, run), (equal, operands[0]), sql)


def extreme(name: str, better: Callable[..., Values]) -> Callable[[Sequence[Plan], str], Plan]:
    """`greatest` or `least`: of those that aren't NULL. NaN is never better, but stays if it comes first."""

    def rule(operands: Sequence[Plan], sql: str) -> Plan:
        plans = unified(operands, sql)
        of = plans[0].type
        if kind(of) == "null":
            return Coalesce(of, tuple(plans)) if len(plans) > 1 else plans[0]
        if kind(of) not in _ORDERED:
            raise TypeError(f"{sql}: {name} takes values that have an order, not {named(of)}")

        def pick(one: Values, other: Values) -> Values:
            return pc.coalesce(pc.if_else(better(other, one), other, one), one, other)

        kernel = Kernel(of, lambda *values: reduce(pick, values))
        return Apply(kernel, tuple(plans), sql)

    return rule
