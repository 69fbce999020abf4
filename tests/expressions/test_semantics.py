"""Expressions mean what the reference says, whatever the values, however Arrow stores them."""

import os
from typing import Any

import pyarrow as pa
from expressions.reference import SCHEMA, Term, rows, same, terms
from hypothesis import HealthCheck, assume, given, settings

from agora.errors import ConfigError
from agora.expressions import Expression

EXAMPLES = int(os.environ.get("AGORA_EXPRESSION_EXAMPLES", "80"))
BROAD = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def parsed(term: Term) -> Expression:
    """Terms with a constant part that always fails are refused, which other tests show."""
    try:
        return Expression.parse(term.sql)
    except ConfigError:
        assume(False)
        raise


def expected_of(term: Term, row: dict[str, Any]) -> tuple[Any, type[Exception] | None]:
    try:
        return term.value(row), None
    except (ValueError, ArithmeticError) as error:
        return None, type(error)


def check(expression: Expression, term: Term, batch: pa.RecordBatch, records: list[dict[str, Any]]) -> None:
    found = expression.over_columns(batch)
    values = found.values.to_pylist()
    assert len(values) == len(records)
    for index, record in enumerate(records):
        value, error = expected_of(term, record)
        told = found.errors.get(index)
        assert (None if told is None else type(told)) is error, (term.sql, record, told)
        assert same(values[index], value), (term.sql, record, values[index], value)


@BROAD
@given(terms(), rows())
def test_a_row_has_the_value_or_the_error_that_the_reference_says(term, records):
    check(parsed(term), term, pa.RecordBatch.from_pylist(records, SCHEMA), records)


@BROAD
@given(terms(depth=2), rows())
def test_slices_dictionaries_and_other_widths_change_nothing(term, records):
    expression = parsed(term)
    padded = pa.RecordBatch.from_pylist([*records[:2], *records, *records[:1]], SCHEMA)
    check(expression, term, padded.slice(min(2, len(records)), len(records)), records)
    batch = pa.RecordBatch.from_pylist(records, SCHEMA)
    other = {
        "s": batch["s"].dictionary_encode(),
        "t": batch["t"].cast(pa.large_string()),
        "m": batch["m"].cast(pa.decimal256(40, 2)),
        "d": batch["d"].cast(pa.date64()),
    }
    columns = [other.get(name, batch[name]) for name in batch.schema.names]
    check(expression, term, pa.RecordBatch.from_arrays(columns, batch.schema.names), records)
