"""What SQL converts without being asked: integers to doubles or decimals, dates to timestamps, NULL to all."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.types as pat

from agora.expressions.kinds import common, kind
from agora.expressions.plan import Apply, Columns, Constant, Input, Kernel, Plan, Values

__all__ = ["coerced", "fold", "nothing", "unified"]


def coerced(plan: Plan, to: pa.DataType, sql: str) -> Plan:
    """The plan with values of type `to`, which `common` found."""
    if plan.type == to:
        return plan
    if pat.is_null(plan.type):
        if isinstance(plan, Constant):
            return Constant(pa.scalar(None, to))
        return Apply(Kernel(to, lambda values: values.cast(to)), (plan,), sql)
    # A 64-bit integer beyond 2 ** 53 is rounded to the nearest double, as everywhere in SQL.
    safe = not (kind(plan.type) == "integer" and kind(to) == "double")

    def run(values: Values) -> Values:
        return values.cast(to, safe=safe)

    return fold(Apply(Kernel(to, run), (plan,), sql))


def unified(plans: Sequence[Plan], sql: str) -> list[Plan]:
    """All with the one type that holds their values; `TypeError` where there is none."""
    to = common([plan.type for plan in plans])
    return [coerced(plan, to, sql) for plan in plans]


def fold(plan: Apply) -> Plan:
    """A kernel of constants is a constant, computed now. Raises what the kernel raises."""
    constants = [operand for operand in plan.operands if isinstance(operand, Constant)]
    if len(constants) < len(plan.operands) or not constants:
        return plan
    # As columns of one row: a kernel needs a column among its operands.
    columns = Columns([pa.repeat(one.scalar, 1) for one in constants], 1)
    inputs = tuple(Input(one.type, index) for index, one in enumerate(constants))
    values, errors = Apply(plan.kernel, inputs, plan.sql, plan.trying).careful(columns, None)
    if errors:
        raise errors[0]
    return Constant(values[0])


def nothing(operands: Sequence[Plan], sql: str) -> Plan | None:
    """NULL where an operand is NULL whatever the row; the other operands' errors stay."""
    if any(pa.types.is_null(operand.type) for operand in operands):
        return Apply(Kernel(pa.null(), lambda *values: pa.nulls(_length(values))), tuple(operands), sql)
    return None


def _length(values: Sequence[Values]) -> int:
    return next((len(value) for value in values if not isinstance(value, pa.Scalar)), 1)
