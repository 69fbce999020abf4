"""Each failing row is named, with what failed; a branch that isn't taken can't fail; finding them is linear."""

import datetime
import time

import pyarrow as pa
import pytest

from agora.expressions import Expression, truth
from agora.sinks import DATA_ERRORS


def over(text: str, **columns: object) -> tuple[list[object], dict[int, Exception]]:
    found = Expression.parse(text).over_columns(pa.RecordBatch.from_pydict(columns))
    return found.values.to_pylist(), dict(found.errors)


@pytest.mark.parametrize(
    ("text", "value", "kind", "said"),
    [
        ("10 / v", 0, ZeroDivisionError, "10 / v: division by zero: 10.0, 0.0"),
        ("10.0 / v", -0.0, ZeroDivisionError, "10.0 / v: division by zero: 10.0, -0.0"),
        ("10 % v", 0, ZeroDivisionError, "10 % v: division by zero: 10, 0"),
        ("v + 1", 2**63 - 1, OverflowError, "v + 1: the result doesn't fit in 64 bits: 9223372036854775807, 1"),
        ("-v", -(2**63), OverflowError, "-v: the result doesn't fit in 64 bits: -9223372036854775808"),
        ("CAST(v AS INT)", "abc", ValueError, "CAST(v AS INT): no integer: 'abc'"),
        ("v::BIGINT", "0x10", ValueError, "CAST(v AS BIGINT): no integer: '0x10'"),
        ("v::INT", 2**31, OverflowError, "CAST(v AS INT): doesn't fit in the 32 bits of INT: 2147483648"),
        ("v::SMALLINT", "70000", OverflowError, "CAST(v AS SMALLINT): doesn't fit in the 16 bits of SMALLINT: '70000'"),
        ("v::INT", 1.5, ValueError, "use round, floor or ceil: 1.5"),
        ("v::DATE", "2026-02-29", ValueError, "CAST(v AS DATE): no date (YYYY-MM-DD): '2026-02-29'"),
        ("v::TIMESTAMP", "2026-01-01 25:00", ValueError, "no timestamp (YYYY-MM-DD hh:mm:ss): '2026-01-01 25:00'"),
        ("v::DECIMAL(4, 2)", "100", OverflowError, "doesn't fit in DECIMAL(4, 2): '100'"),
        ("v::TEXT", b"\xff", ValueError, "CAST(v AS TEXT): "),
        ("sqrt(v)", -1.0, ValueError, "sqrt(v): the square root of a negative number: -1.0"),
        ("ln(v)", 0, ValueError, "ln(v): a number above 0 is needed: 0.0"),
        ("power(v, -1)", 0, ZeroDivisionError, "power(v, -1): zero to a negative power: 0.0, -1.0"),
        ("v + INTERVAL '1 day'", datetime.datetime.max, OverflowError, "isn't in the years 1 to 9999"),
    ],
)  # fmt: skip
def test_a_failing_row_is_told_with_its_operation_and_value(text, value, kind, said):
    expression = Expression.parse(text)
    batch = pa.RecordBatch.from_pydict({"v": [None, value, None]})
    found = expression.over_columns(batch)
    assert list(found.errors) == [1]
    error = found.errors.get(1)
    assert type(error) is kind
    assert isinstance(error, DATA_ERRORS)
    assert said in str(error)
    assert found.values.to_pylist() == [None, None, None]


def test_a_branch_that_is_not_taken_cannot_fail():
    numbers = {"a": [6, 1, None], "b": [3, 0, 0]}
    assert over("CASE WHEN b = 0 THEN 0 ELSE a / b END", **numbers) == ([2.0, 0.0, 0.0], {})
    assert over("b <> 0 AND a / b > 1", **numbers) == ([True, False, False], {})
    assert over("b = 0 OR a / b > 1", **numbers) == ([True, True, True], {})
    assert over("coalesce(nullif(b, 0), a / b, 7)", a=[1, 1], b=[1, 0])[1].keys() == {1}
    texts = {"s": ["12", "x", "-3"]}
    taken = "CASE WHEN regexp_matches(s, '^-?[0-9]+$') THEN CAST(s AS BIGINT) ELSE 0 END"
    assert over(taken, **texts) == ([12, 0, -3], {})


def test_and_goes_from_left_to_right():
    values, errors = over("a / b > 1 AND b <> 0", a=[6, 1], b=[3, 0])
    assert values == [True, None]
    assert type(errors[1]) is ZeroDivisionError


def test_try_cast_is_null_in_place_of_its_own_errors_alone():
    assert over("TRY_CAST(s AS INT)", s=["1", "x", None, "3000000000"]) == ([1, None, None, None], {})
    values, errors = over("TRY_CAST(1 / n AS TEXT)", n=[1, 0])
    assert values == ["1.0", None]
    assert type(errors[1]) is ZeroDivisionError


def test_types_that_do_not_fit_fail_in_every_row_and_name_cast():
    values, errors = over("s > 1", s=["1", None])
    assert values == [None, None]
    assert {str(error) for error in errors.values()} == {"s > 1: TEXT and BIGINT don't go together; use CAST"}


def test_a_missing_column_fails_in_every_row_and_names_the_columns():
    values, errors = over("amonut > 1", amount=[1, 2])
    assert values == [None, None]
    assert all(type(error) is LookupError and "'amount'" in str(error) for error in errors.values())
    assert set(errors) == {0, 1}


def test_a_value_outside_of_python_is_an_error_of_its_row():
    far = pa.array([0, 10**18], pa.timestamp("s"))
    nanoseconds = pa.array([1_000, 1], pa.timestamp("ns"))
    large = pa.array([1, 2**63], pa.uint64())
    for column in (far, nanoseconds, large):
        values, errors = over("v IS NULL", v=column)
        assert values == [False, None]
        assert type(errors[1]) is ValueError


def test_truth_is_true_alone():
    batch = pa.RecordBatch.from_pydict({"a": [1, None, 3, 0], "b": [1, 1, 0, 1]})
    for found in (
        truth(Expression.parse("1 / b > 0 AND a > 0").over_columns(batch)),
        truth(Expression.parse("1 / b > 0 AND a > 0").over_rows(batch.to_pylist())),
    ):
        assert list(map(bool, found.values.to_pylist() if isinstance(found.values, pa.Array) else found.values)) == [
            True, False, False, False,
        ]  # fmt: skip
        assert list(found.errors) == [2]


def test_truth_of_what_is_no_condition_is_an_error_of_each_row():
    batch = pa.RecordBatch.from_pydict({"a": [1, None]})
    for found in (
        Expression.parse("a").over_columns(batch),
        Expression.parse("a").over_rows(batch.to_pylist()),
    ):
        told = truth(found)
        assert [type(error) for error in told.errors.values()] == [TypeError]
        assert 0 in told.errors
        assert not any(told.values.to_pylist() if isinstance(told.values, pa.Array) else told.values)


@pytest.mark.parametrize(
    ("text", "bad"),
    [("1 / v", 0), ("v * 3", 2**62), ("CAST(v AS INT)", 2**40), ("round(v, -19)", 2**63 - 1)],
)
def test_a_batch_of_failing_rows_costs_as_much_a_row_as_a_small_one(text, bad):
    expression = Expression.parse(text)

    def seconds(length: int) -> float:
        batch = pa.RecordBatch.from_pydict({"v": [bad] * length})
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            assert len(expression.over_columns(batch).errors) == length
            best = min(best, time.process_time() - start)
        return best

    assert seconds(8_000) < 25 * seconds(1_000)  # linear is 8, quadratic 64
