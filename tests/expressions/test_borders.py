"""A row's result is its own: the same in every batch, over rows as over columns, whatever stands beside it."""

import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pyarrow as pa
import pytest
from expressions.reference import rows, terms
from expressions.test_semantics import BROAD, parsed
from hypothesis import given
from hypothesis import strategies as st

from agora.expressions import Expression

_ZONES = [None, datetime.UTC, ZoneInfo("Europe/Berlin"), datetime.timezone(datetime.timedelta(hours=5))]
mixed = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**63 - 1, 2**63, -(2**70), 0.0, -0.0, 1.5, float("nan"), float("inf")]),
    st.sampled_from(["", "1", "x", "é", "\ud800", b"", b"\xff"]),
    st.sampled_from([Decimal("1.5"), Decimal("1.50"), Decimal("-1E+5"), Decimal("NaN"), Decimal("1E+60")]),
    st.dates(),
    st.datetimes(timezones=st.sampled_from(_ZONES)),
    st.sampled_from(
        [datetime.time(1, 2, 3), datetime.timedelta(days=1), [1], [1, "a"], {"k": 1}, {}, object()]
    ),
)
UNTYPED = [
    "v", "v IS NULL", "v + 1", "v * w", "v / w", "v = w", "v < w", "v AND w", "coalesce(v, w)", "greatest(v, w)",
    "CASE WHEN v IS NULL THEN w ELSE v END", "CAST(v AS TEXT)", "TRY_CAST(v AS BIGINT)", "CAST(v AS DOUBLE)",
    "v || w", "upper(v)", "year(v)", "v + INTERVAL '1 day'", "v IN (1, 2, 3)", "v IN ('x', w)", "nullif(v, w)",
    "v IS DISTINCT FROM w", "v.k + 1", "round(v)", "v % w", "CAST(v AS DECIMAL(10, 1))", "abs(v)", "concat(v, w)",
]  # fmt: skip


def outcome(values: list[Any], errors: Any, index: int) -> str:
    error = errors.get(index)
    return repr(values[index]) if error is None else repr(error)


def hold_equal(expression: Expression, records: list[dict[str, Any]]) -> None:
    """Together as each alone; alone as a batch of one, where Arrow can hold that."""
    found = expression.over_rows(records)
    assert len(found.values) == len(records)
    for index, record in enumerate(records):
        alone = expression.over_rows([record])
        assert outcome(found.values, found.errors, index) == outcome(alone.values, alone.errors, 0)
        needed = {name: record[name] for name in expression.columns if name in record}
        try:
            batch = pa.RecordBatch.from_pylist([needed])
        except (pa.ArrowException, ValueError, OverflowError):
            assert alone.errors
            continue
        if not needed or any(value == {} for value in needed.values()):
            continue  # as a batch it has no columns, or no fields to look for
        columns = expression.over_columns(batch)
        if 0 in columns.errors or 0 in alone.errors:
            assert type(columns.errors.get(0)) is type(alone.errors.get(0))
        else:
            assert repr(columns.values.to_pylist()) == repr(alone.values)


@BROAD
@given(st.sampled_from(UNTYPED), st.lists(st.fixed_dictionaries({"v": mixed, "w": mixed}), max_size=8))
def test_rows_of_mixed_types_each_have_the_result_that_they_have_alone(text, records):
    hold_equal(Expression.parse(text), records)


@BROAD
@given(terms(depth=2), rows())
def test_rows_have_the_result_of_a_batch_of_one(term, records):
    hold_equal(parsed(term), records)


@attrs.frozen
class Order:
    amount: float
    n: int


class Slotted:
    __slots__ = ("amount",)

    def __init__(self, amount: float) -> None:
        self.amount = amount


def test_records_may_be_mappings_attrs_instances_or_objects_and_mixed():
    records = [{"amount": 6.0, "n": 3}, Order(8.0, 2), Slotted(1.0), {"n": 1}, Order(1.0, 0)]
    found = Expression.parse("amount / n").over_rows(records)
    assert found.values == [2.0, 4.0, None, None, None]
    assert {index: type(error) for index, error in found.errors.items()} == {
        2: LookupError,
        3: LookupError,
        4: ZeroDivisionError,
    }
    assert "'n'" in str(found.errors[2])


def test_only_the_named_columns_of_a_row_are_touched():
    untouched = object()
    assert Expression.parse("a + 1").over_rows([{"a": 1, "other": untouched}]).values == [2]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "\ud800", Decimal("1E+60"), object()])
def test_a_value_that_arrow_cannot_hold_is_an_error_of_its_row_alone(value):
    found = Expression.parse("v IS NULL").over_rows([{"v": 1}, {"v": value}, {"v": None}])
    assert found.values == [False, None, True]
    assert list(found.errors) == [1]
    assert isinstance(found.errors[1], ValueError | OverflowError)


def test_true_is_no_number():
    found = Expression.parse("v + 1").over_rows([{"v": True}, {"v": 1}])
    assert found.values == [None, 2]
    assert type(found.errors[0]) is TypeError


def test_no_rows_have_no_values():
    expression = Expression.parse("a / b")
    assert expression.over_rows([]).values == []
    empty = pa.RecordBatch.from_pydict({"a": pa.array([], pa.int64()), "b": pa.array([], pa.int64())})
    assert len(expression.over_columns(empty).values) == 0
