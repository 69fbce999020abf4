"""Functions one by one, and the same answers as DuckDB's where its rules are the same."""

import datetime
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest

from agora.expressions import Expression

ROWS = pa.RecordBatch.from_pydict(
    {
        "i": pa.array([7, -7, 0, None, 12, 100]),
        "j": pa.array([2, -3, 5, 1, None, -4]),
        "x": pa.array([1.5, -2.5, 0.25, math.inf, None, 1234.5678]),
        "s": pa.array(["Äpfel und b%", "", None, "a_b", "日本語", "x.y.z"]),
        "d": pa.array(
            [datetime.date(2024, 2, 29), datetime.date(1969, 12, 31), None, *[datetime.date(2026, 1, 4)] * 3]
        ),
        "e": pa.array(
            [
                datetime.datetime(2026, 11, 24, 21, 3, 4, 567890),
                datetime.datetime(1960, 1, 1, 23, 59, 59),
                None,
            ]
            + [datetime.datetime(2000, 2, 28, 0, 0)] * 3
        ),
        "m": pa.array(
            [Decimal("1.25"), Decimal("-1.25"), None, Decimal("0.00"), Decimal("9.99"), Decimal("7.50")]
        ),
    }
)
AS_DUCKDB = [
    "i + j * 2 - 1", "i / j", "i % j", "-i", "mod(i, 3)", "abs(i)", "sign(i)", "round(x)", "round(x, 1)",
    "round(i, -1)", "floor(x)", "ceil(x)", "sqrt(abs(i))", "power(x, 2)", "exp(j)", "ln(abs(i) + 1)",
    "m + 1", "m * m", "m - i", "m > i", "m = 1.25", "round(m, 1)", "m / 2",
    "lower(s)", "upper(s)", "trim(s)", "trim('x ' FROM s)", "ltrim(s, 'Äx')", "rtrim(s, '%z')", "length(s)",
    "substring(s, 2)", "substr(s, 1, 3)", "replace(s, 'b', 'ü')", "left(s, 2)", "right(s, 2)", "left(s, -1)",
    "right(s, -1)", "concat(s, '-', s)", "s || '!'", "starts_with(s, 'Ä')", "ends_with(s, 'z')", "contains(s, '.')",
    "position('b' IN s)", "strpos(s, '語')", "split_part(s, '.', 2)", "split_part(s, '.', -1)",
    "regexp_matches(s, '[a-c]_')", "regexp_replace(s, '[xyz]', '<\\0>', 'g')", "regexp_replace(s, '(.)\\.', '\\1')",
    "lpad(s, 6, '*+')", "rpad(s, 3, '*')", "reverse(s)", "s LIKE '%b!%' ESCAPE '!'", "s LIKE '_!_b' ESCAPE '!'",
    "s LIKE '%.y%'", "s LIKE 'a_b'", "s NOT LIKE '%'", "s ILIKE 'äPFEL%'", "s LIKE s",
    "year(e)", "month(e)", "day(e)", "hour(e)", "minute(e)", "second(e)", "extract(quarter FROM d)",
    "extract(week FROM d)", "extract(dow FROM d)", "extract(isodow FROM d)", "extract(doy FROM d)",
    "date_trunc('year', e)", "date_trunc('quarter', e)", "date_trunc('week', e)", "date_trunc('hour', e)",
    "date_trunc('second', e)", "CAST(date_trunc('month', d) AS DATE)",
    "date_diff('year', d, e)", "date_diff('month', d, e)", "date_diff('day', d, e)", "date_diff('hour', d, e)",
    "date_diff('quarter', e, CAST(d AS TIMESTAMP))", "date_diff('minute', d, e)", "date_diff('second', d, e)",
    "e + INTERVAL '36 hours'", "e - INTERVAL 1 DAY", "d + INTERVAL '90 minutes'", "d < e", "e >= DATE '2000-01-01'",
    "CAST(e AS DATE)", "CAST(d AS TIMESTAMP)", "CAST(e AS TIME)", "CAST(i AS TEXT)", "CAST(d AS TEXT)",
    "CAST(i AS DECIMAL(6, 2))", "CAST(m AS DECIMAL(4, 1))", "CAST('12:30' AS TIME)",
    "i IN (7, NULL, 12)", "i NOT IN (7, 12)", "i BETWEEN j AND 50", "i NOT BETWEEN 0 AND 8", "i IS DISTINCT FROM j",
    "CASE i WHEN 7 THEN 'seven' WHEN 0 THEN 'none' ELSE s END", "CASE WHEN i > 0 THEN 1 WHEN j > 0 THEN 2.5 END",
    "coalesce(i, j, 5)", "nullif(i, 7)", "greatest(i, j, 3)", "least(i, j)", "i > 0 AND j > 0 OR s = ''", "NOT i > 0",
    "i > 0 IS TRUE", "(i > 0) IS NOT FALSE", "if(i > 0, 'up', 'down')",
]  # fmt: skip


def close(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, int | float | Decimal):
        return one == other or math.isclose(one, float(other), rel_tol=1e-12)
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.register(
            "rows", pa.Table.from_batches([ROWS]).append_column("n", pa.array(range(len(ROWS))))
        )
        yield connection


@pytest.mark.parametrize("text", AS_DUCKDB)
def test_the_answer_is_that_of_duckdb(text, database):
    found = Expression.parse(text).over_columns(ROWS)
    for index, value in enumerate(found.values.to_pylist()):
        if index in found.errors:
            assert isinstance(found.errors[index], ZeroDivisionError)
            continue
        expected = database.execute(f"SELECT {text} FROM rows WHERE n = {index}").fetchone()[0]
        assert close(value, expected), (text, ROWS.slice(index, 1).to_pylist(), value, expected)


def value(text: str, given: Any = None) -> Any:
    found = Expression.parse(text).over_rows([{"v": given}])
    return found.errors.get(0, found.values[0])


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("round(v)", 2.5, 3.0),
        ("round(v)", -2.5, -3.0),
        ("v / 2", 7, 3.5),
        ("v % 3", -7, -1),
        ("v % -1", -(2**63), 0),
        ("v = v", math.nan, False),
        ("v IN (CAST('nan' AS DOUBLE), 1.0, 2.0)", math.nan, False),
        ("v IN (0.0, 1.0, 2.0)", -0.0, True),
        ("v::BIGINT", " +12 ", 12),
        ("v::BIGINT", 3.0, 3),
        ("v::BOOLEAN", " Yes ", True),
        ("v::BOOLEAN", 0, False),
        ("v::DOUBLE", "1e3", 1000.0),
        ("v::TEXT", 1e16, "1e+16"),
        ("v::TEXT", 1.0, "1.0"),
        ("v::TEXT", True, "true"),
        ("v::DECIMAL(10, 2)", 0.125, Decimal("0.13")),
        ("v::TIMESTAMP", "2026-01-02T03:04:05.5", datetime.datetime(2026, 1, 2, 3, 4, 5, 500_000)),
        ("v::TIMESTAMPTZ = TIMESTAMPTZ '2026-01-02 02:00:00Z'", "2026-01-02 03:00:00+01:00", True),
        ("v::TIME", "03:04", datetime.time(3, 4)),
        ("hour(v)", datetime.datetime(2026, 7, 1, 23, tzinfo=datetime.UTC), 23),
        ("v.a.b", {"a": {"b": 5}}, 5),
        ("v.a.b", {"a": None}, None),
        ("substring(v, 0, 2)", "abc", "a"),
        ("lower(v)", "ÄÉ", "äé"),
        ("concat(v, NULL)", None, ""),
        ("v || NULL", "a", None),
        ("regexp_matches(v, 'ÄB', 'i')", "xäby", True),
    ],
)
def test_what_a_function_gives(text, given, expected):
    found = value(text, given)
    assert found == expected
    assert type(found) is type(expected)


def test_a_zone_shows_its_own_clock_and_moments_compare_as_moments():
    berlin = datetime.datetime(2026, 7, 1, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    rows = [{"a": berlin, "b": berlin.astimezone(datetime.UTC)}]
    assert Expression.parse("hour(a) * 100 + hour(b)").over_rows(rows).values == [22]
    assert Expression.parse("a = b AND date_diff('day', b, a) = 1 - 1").over_rows(rows).values == [True]
    assert Expression.parse("CAST(a AS DATE)").over_rows(rows).values == [datetime.date(2026, 7, 1)]
    naive = [{"a": berlin, "b": datetime.datetime(2026, 7, 1)}]
    assert type(Expression.parse("a = b").over_rows(naive).errors[0]) is TypeError
