"""Columns of a batch as expressions compute with them: in their canonical type, every value one that Python has."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from agora.expressions.kinds import canonical, kind, named
from agora.expressions.moments import in_python_range
from agora.expressions.plan import FAILURES, Errors, Values

__all__ = ["is_loaded", "load", "taken"]


def taken(batch: pa.RecordBatch, path: Sequence[str]) -> Values | LookupError:
    """The column, or the field inside it, at `path`."""
    places = batch.schema.get_all_field_indices(path[0])
    if len(places) != 1:
        found = "there are several columns" if places else "there is no column"
        return LookupError(f"{found} {path[0]!r}; the columns are {_listed(batch.schema.names)}")
    values = batch.column(places[0])
    for depth, name in enumerate(path[1:], 1):
        of = values.type
        if pa.types.is_null(of):
            return values  # NULL has NULL fields
        if not pa.types.is_struct(of) or of.get_field_index(name) < 0:
            return LookupError(f"{'.'.join(path[:depth])!r} has no field {name!r}")
        values = pc.struct_field(values, name)
    return values


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:20]))
    return f"{shown}, …" if len(names) > 20 else shown


def is_loaded(of: pa.DataType) -> bool:
    """Whether every value of the type can be computed with as it is."""
    return canonical(of) == of and kind(of) not in {"date", "timestamp"}


def load(values: Any, sql: str) -> tuple[Values, Errors]:
    """In the canonical type; NULL, and an error, where a value doesn't fit."""
    if is_loaded(values.type):
        return values, {}
    of = canonical(values.type)
    try:
        return _loaded(values, of), {}
    except FAILURES:
        return _one_by_one(values, of, sql)


def _loaded(values: Any, of: pa.DataType) -> Values:
    result = values if values.type == of else values.cast(of)
    if kind(of) in {"date", "timestamp"} and not _in_range(result):
        raise ValueError("beyond the years 1 to 9999")
    return result


def _in_range(values: Any) -> bool:
    inside: bool = pc.all(in_python_range(values), min_count=0).as_py()
    return inside


def _one_by_one(values: Any, of: pa.DataType, sql: str) -> tuple[Values, Errors]:
    """By halves, until the values that don't fit are alone."""
    errors: Errors = {}
    pieces = [pa.nulls(0, of)]
    pending = [(0, len(values))] if len(values) else []
    while pending:
        start, stop = pending.pop()
        try:
            pieces.append(_loaded(values.slice(start, stop - start), of))
        except FAILURES as error:
            if stop - start == 1:
                errors[start] = ValueError(
                    f"{sql}: the value is no {named(of)} that can be computed with: {error}"
                )
                pieces.append(pa.nulls(1, of))
            else:
                middle = (start + stop) // 2
                pending += [(middle, stop), (start, middle)]
    return pa.concat_arrays(pieces), errors
