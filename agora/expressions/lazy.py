"""AND, OR, CASE and COALESCE: what may leave a part of itself unevaluated.

From left to right, a part is needed only by the rows that what stands before it hasn't decided, so that
`CASE WHEN b = 0 THEN 0 ELSE a / b END` and `b <> 0 AND a / b > 2` hold. Nothing is evaluated row by row for
it: the whole column first, and only if a row fails again with masks.
"""

from functools import reduce
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc

from agora.expressions.plan import Columns, Errors, Mask, Plan, Values, both, except_for, whole

__all__ = ["Choose", "Coalesce", "Junction"]


@attrs.frozen
class Junction:
    """AND (`deciding` is false) or OR (`deciding` is true) with Kleene's logic."""

    deciding: bool
    operands: tuple[Plan, ...]

    @property
    def type(self) -> pa.DataType:
        return pa.bool_()

    def _join(self, one: Values, other: Values) -> Values:
        return pc.or_kleene(one, other) if self.deciding else pc.and_kleene(one, other)

    def run(self, columns: Columns) -> Values:
        return reduce(self._join, [operand.run(columns) for operand in self.operands])

    def careful(self, columns: Columns, needed: Mask) -> tuple[Values, Errors]:
        result, errors = self.operands[0].careful(columns, needed)
        for operand in self.operands[1:]:
            needed = except_for(both(needed, self._open(result, columns.length)), errors, columns.length)
            value, found = operand.careful(columns, needed)
            result = self._join(result, value)
            errors = errors | found
        return result, errors

    def _open(self, values: Values, length: int) -> Any:
        """Rows that `values` doesn't decide yet."""
        decided = pc.equal(whole(values, length), pa.scalar(self.deciding))
        return pc.invert(pc.fill_null(decided, False))


@attrs.frozen
class Choose:
    """CASE WHEN condition THEN value … ELSE default END; all values are of `type`."""

    type: pa.DataType
    conditions: tuple[Plan, ...]
    values: tuple[Plan, ...]
    default: Plan

    def run(self, columns: Columns) -> Values:
        conditions = [whole(plan.run(columns), columns.length) for plan in self.conditions]
        return self._choose(
            conditions, [plan.run(columns) for plan in self.values], self.default.run(columns)
        )

    def careful(self, columns: Columns, needed: Mask) -> tuple[Values, Errors]:
        conditions, values = [], []
        errors: Errors = {}
        for condition, value in zip(self.conditions, self.values, strict=True):
            asked, found = condition.careful(columns, needed)
            asked = whole(asked, columns.length)
            errors |= found
            needed = except_for(needed, found, columns.length)
            true = pc.fill_null(asked, False)
            got, found = value.careful(columns, both(needed, true))
            errors |= found
            needed = both(needed, pc.invert(true))
            conditions.append(asked)
            values.append(got)
        got, found = self.default.careful(columns, needed)
        return self._choose(conditions, values, got), errors | found

    def _choose(self, conditions: list[Values], values: list[Values], default: Values) -> Values:
        if pa.types.is_null(self.type):
            return pa.nulls(len(conditions[0]))
        if len(conditions) == 1:
            return pc.if_else(pc.fill_null(conditions[0], False), values[0], default)
        names = [str(number) for number in range(len(conditions))]
        return pc.case_when(pc.make_struct(*conditions, field_names=names), *values, default)


@attrs.frozen
class Coalesce:
    """The first value that isn't NULL; all are of `type`."""

    type: pa.DataType
    operands: tuple[Plan, ...]

    def run(self, columns: Columns) -> Values:
        return pc.coalesce(*[operand.run(columns) for operand in self.operands])

    def careful(self, columns: Columns, needed: Mask) -> tuple[Values, Errors]:
        values = []
        errors: Errors = {}
        for operand in self.operands:
            value, found = operand.careful(columns, needed)
            errors |= found
            missing = pc.is_null(whole(value, columns.length))
            needed = except_for(both(needed, missing), found, columns.length)
            values.append(value)
        return pc.coalesce(*values), errors
