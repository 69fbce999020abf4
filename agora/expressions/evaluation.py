"""Evaluates an expression: a plan for each combination of column types, made once."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc

from agora.expressions.columns import is_loaded, load, taken
from agora.expressions.compiling import compile_node
from agora.expressions.kinds import canonical
from agora.expressions.plan import FAILURES, Columns, Errors, Input, Plan, Values, except_for, whole
from agora.expressions.rows import Group, array_of, grouped, pick
from agora.expressions.tree import Node, columns_of
from agora.records import Record

__all__ = ["Evaluator", "truth_of_columns"]

_PLANS = 256
"""How many combinations of types are remembered; what makes more (scales of decimals) begins again."""


@attrs.frozen
class _Bound:
    """What a schema means for an expression: where the columns are, and the plan of their types.

    `as_it_is`: they need no look before they are computed with.
    """

    schema: pa.Schema
    places: Sequence[int]
    as_it_is: bool
    plan: Plan


class Evaluator:
    """Of one tree."""

    def __init__(self, tree: Node) -> None:
        self._tree = tree
        self._paths = columns_of(tree)
        self._names = [".".join(path) for path in self._paths]
        self._plans: dict[tuple[pa.DataType, ...], Plan] = {}
        self._bound: _Bound | None = None

    def over_columns(self, batch: pa.RecordBatch) -> tuple[Values, Errors]:
        bound = self._bound
        if bound is None or not bound.schema.equals(batch.schema):
            found = self._bind(batch)
            if isinstance(found, LookupError):
                text = f"{self._tree.sql}: {found}"
                return pa.nulls(batch.num_rows), {row: LookupError(text) for row in range(batch.num_rows)}
            bound = self._bound = found
        if bound.as_it_is:
            arrays = [batch.column(place) for place in bound.places]
            return self._computed(bound.plan, Columns(arrays, batch.num_rows), {})
        return self._evaluate([_taken(batch, path) for path in self._paths], batch.num_rows, {})

    def _bind(self, batch: pa.RecordBatch) -> _Bound | LookupError:
        arrays = []
        for path in self._paths:
            found = taken(batch, path)
            if isinstance(found, LookupError):
                return found
            arrays.append(found)
        as_it_is = all(
            len(path) == 1 and is_loaded(array.type) for path, array in zip(self._paths, arrays, strict=True)
        )
        places = [batch.schema.get_field_index(path[0]) for path in self._paths]
        return _Bound(
            batch.schema, places, as_it_is, self._plan(tuple([canonical(one.type) for one in arrays]))
        )

    def over_rows(self, rows: Sequence[Record]) -> tuple[list[Any], Errors]:
        columns, errors = [], {}
        dicts = set(map(type, rows)) == {dict}
        for path in self._paths:
            values, found = pick(rows, path, dicts=dicts)
            columns.append(values)
            errors.update(found)
        errors = {index: LookupError(f"{self._tree.sql}: {error}") for index, error in errors.items()}
        if not rows:
            return [], {}
        groups = grouped(columns, len(rows), errors)
        if len(groups) == 1 and groups[0][0] is None:
            computed, failed = self._evaluate_group(groups[0], len(rows))
            return computed.to_pylist(), failed
        result: list[Any] = [None] * len(rows)
        for group in groups:
            places = range(len(rows)) if group[0] is None else group[0]
            computed, failed = self._evaluate_group(group, len(places))
            for place, value in zip(places, computed.to_pylist(), strict=True):
                result[place] = value
            errors.update({places[index]: error for index, error in failed.items()})
        return result, errors

    def _evaluate_group(self, group: Group, length: int) -> tuple[Values, Errors]:
        _, columns, keys = group
        arrays = []
        errors: Errors = {}
        for values, key, name in zip(columns, keys, self._names, strict=True):
            array, found = array_of(values, key, name)
            arrays.append(array)
            errors |= found
        return self._evaluate(arrays, length, errors)

    def _evaluate(self, arrays: Sequence[Values], length: int, errors: Errors) -> tuple[Values, Errors]:
        loaded = []
        for array, name in zip(arrays, self._names, strict=True):
            values, found = load(array, name)
            loaded.append(values)
            if found:
                errors = errors | found
        plan = self._plan(tuple([values.type for values in loaded]))
        return self._computed(plan, Columns(loaded, length), errors)

    def _computed(self, plan: Plan, columns: Columns, errors: Errors) -> tuple[Values, Errors]:
        """`errors`: of rows that failed already."""
        length = columns.length
        try:
            values = plan.run(columns)
        except FAILURES:
            values, found = plan.careful(columns, except_for(None, errors, length))
            errors = errors | found
        values = whole(values, length)
        if errors:
            values = pc.if_else(except_for(None, errors, length), values, pa.scalar(None, values.type))
        return values, errors

    def _plan(self, types: tuple[pa.DataType, ...]) -> Plan:
        plan = self._plans.get(types)
        if plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            inputs = {
                path: Input(of, index)
                for index, (path, of) in enumerate(zip(self._paths, types, strict=True))
            }
            plan = self._plans[types] = compile_node(self._tree, inputs)
        return plan


def _taken(batch: pa.RecordBatch, path: Sequence[str]) -> Values:
    """Of a batch that has it."""
    values = taken(batch, path)
    if isinstance(values, LookupError):
        raise values
    return values


def truth_of_columns(values: Any, errors: Mapping[int, Exception]) -> tuple[Values, Errors]:
    """See `agora.expressions.truth`."""
    if pa.types.is_boolean(values.type):
        return (pc.fill_null(values, False) if values.null_count else values), dict(errors)
    wrong = pc.indices_nonzero(pc.is_valid(values)).to_pylist()
    said = {
        index: TypeError(f"{values[index].as_py()!r} is neither true nor false: a condition is needed")
        for index in wrong
    }
    return pa.repeat(pa.scalar(False), len(values)), {**errors, **said}
