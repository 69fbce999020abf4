"""What a SQLite table holds of the records: values, constraints, columns, and what was there before."""

import datetime
import decimal
import json
import math
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from properties import examples

from agora.deadletter import DLQRecord, Entry
from agora.errors import ConfigError, RecordsRejected, SinkChanged
from agora.sinks import SQLiteSink


def query(path: Path, sql: str, *parameters: Any) -> list[Any]:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def execute(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    try:
        connection.execute("; ".join(statements))
    finally:
        connection.close()


async def run(
    sink: SQLiteSink, context: Any, *batches: Sequence[Any], cut: int = 1_000
) -> list[tuple[int, int, str]]:
    """A run over these batches with a barrier after every `cut` of them; what was rejected: batch, index, why."""
    rejected: list[tuple[int, int, str]] = []
    await sink.open(context)
    try:
        if context.transactional:
            await sink.prepare()
        for number, batch in enumerate(batches):
            try:
                await sink.write(batch)
            except RecordsRejected as error:
                rejected += [(number, index, str(why)) for index, why in error.errors.items()]
            if context.transactional and (number + 1) % cut == 0:
                await sink.commit(await sink.prepare())
        await sink.finish()
        if context.transactional:
            await sink.commit(await sink.prepare())
        else:
            await sink.publish()
    finally:
        await sink.close()
    return rejected


@pytest.fixture(params=[0, 1], ids=["whole", "barrier"])
def a_run(request: pytest.FixtureRequest, context: Callable[..., Any]) -> Any:
    """The context of a run without checkpoints, and of one with."""
    return context(fence=request.param)


# --- values ---

PLAIN = {
    "i": st.integers(-(2**63), 2**63 - 1),
    "r": st.floats(allow_nan=False),
    "t": st.text(st.characters(exclude_categories=["Cs"])),
    "b": st.binary(),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(
        st.fixed_dictionaries({}, optional={n: st.none() | v for n, v in PLAIN.items()}), max_size=12
    ),
    size=st.integers(1, 5),
    fence=st.integers(0, 1),
)
def test_what_is_written_is_read_back_in_order_whatever_the_batches(
    records: list[dict[str, Any]], size: int, fence: int, tmp_path: Path, context: Any
) -> None:
    path = tmp_path / f"{uuid.uuid4()}.db"
    batches = [records[start : start + size] for start in range(0, len(records), size)]
    rejected = trio.run(
        lambda: run(
            SQLiteSink(path, "t", schema={"i": "integer", "r": "REAL", "t": "TEXT", "b": "BLOB"}),
            context(fence=fence),
            *batches,
            cut=2,
        )
    )
    assert rejected == []
    assert query(path, "SELECT i, r, t, b FROM t ORDER BY rowid") == [
        tuple(record.get(name) for name in PLAIN) for record in records
    ]


ANYTHING = st.fixed_dictionaries(
    {},
    optional={
        name: st.none() | st.sampled_from([1, 2**60 + 1, -7, 0.5, 1e300, "x", "1", b"1", True])
        for name in "abc"
    },
)


@settings(
    max_examples=examples(40, 800), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(records=st.lists(ANYTHING, max_size=10), sizes=st.tuples(st.integers(1, 4), st.integers(5, 10)))
def test_the_columns_and_what_is_rejected_are_the_same_for_every_batch_size(
    records: list[Any], sizes: tuple[int, int], tmp_path: Path, context: Any
) -> None:
    results = []
    for size in sizes:
        path = tmp_path / f"{uuid.uuid4()}.db"
        batches = [records[start : start + size] for start in range(0, len(records), size)]
        rejected = trio.run(run, SQLiteSink(path, "t"), context(fence=1), *batches)
        table = query(path, "SELECT sql FROM sqlite_schema WHERE name = 't'")
        rows = query(path, "SELECT * FROM t ORDER BY rowid") if table else []
        accepted = [r for n, r in enumerate(records) if n not in {b * size + i for b, i, _ in rejected}]
        names = [name for name, *_ in query(path, "SELECT name FROM pragma_table_info('t')")]
        assert rows == [tuple(record.get(name) for name in names) for record in accepted if table]
        results.append((table, rows, [(b * size + i, why) for b, i, why in rejected]))
    assert results[0] == results[1]


@attrs.frozen
class Order:
    id: int
    note: str | None = None


async def test_values_without_a_type_in_sqlite_are_written_as_in_json_lines(
    tmp_path: Path, a_run: Any
) -> None:
    path = tmp_path / "o.db"
    moment = datetime.datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=datetime.UTC)
    record = {
        "yes": True, "day": moment.date(), "at": moment, "time": moment.time(), "money": decimal.Decimal("1.10"),
        "id": uuid.UUID(int=7), "list": [1, {"a": None}], "map": {"é": 2**70}, "raw": bytearray(b"\0\1"),
        "order": Order(1), "inf": math.inf, "nothing": None,
    }  # fmt: skip
    assert await run(SQLiteSink(path, "t"), a_run, [record]) == []
    assert query(path, "SELECT * FROM t") == [
        (1, "2026-02-03", "2026-02-03T04:05:06.000007Z", "04:05:06.000007",
         "1.10", "00000000-0000-0000-0000-000000000007", '[1,{"a":null}]', '{"é":1180591620717411303424}', b"\0\1",
         '{"id":1,"note":null}', math.inf, None)
    ]  # fmt: skip
    types = dict(query(path, "SELECT name, type FROM pragma_table_info('t')"))
    assert types == {
        "yes": "INTEGER", "day": "TEXT", "at": "TEXT", "time": "TEXT", "money": "TEXT", "id": "TEXT", "list": "TEXT",
        "map": "TEXT", "raw": "BLOB", "order": "TEXT", "inf": "REAL", "nothing": "ANY",
    }  # fmt: skip


async def test_attrs_instances_are_rows(tmp_path: Path, a_run: Any) -> None:
    path = tmp_path / "o.db"
    assert await run(SQLiteSink(path, "t"), a_run, [Order(1), Order(2, "x")]) == []
    assert query(path, "SELECT id, note FROM t ORDER BY rowid") == [(1, None), (2, "x")]


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"n": 2**63}, "'n': 9223372036854775808 doesn't fit the 64 bits"),
        ({"n": -(2**63) - 1}, "doesn't fit the 64 bits"),
        ({"n": math.nan}, "'n': SQLite has no NaN"),
        ({"n": [math.nan]}, r"nan at column 'n'\[0\] has no JSON form"),
        ({"n": "\ud800"}, "'n' holds half of a surrogate pair"),
        ({"n": {"a": "\ud800"}}, "surrogate"),
        ({"n": LOOP}, "'n' is nested too deeply"),
        ({"n": object()}, "object"),
        ({"n": "text"}, "'n' is INTEGER, which doesn't hold 'text'"),
        ({"n": b"1"}, "'n' is INTEGER"),
        ({"N": 1}, "'N' and 'n' are one column to SQLite"),
        ({"n": 1, "": 1}, "can't be a name here"),
        ({"n": 1, "a\0": 1}, "can't be a name here"),
        ({"n": 1, "_AGORA_seq": 1}, "can't be a name here"),
        ({"n": 1, 2: 1}, "the key 2 can't name a column"),
        ({"n": 1, "\ud800": 1}, "surrogate"),
        ({f"c{n}": n for n in range(2_000)}, "more than 1999 columns"),
        ("text", "a row needs a dict or an attrs instance, not str"),
        (7, "a row needs a dict"),
    ],
)  # fmt: skip
async def test_a_record_that_sqlite_cant_hold_is_rejected_and_its_neighbours_are_written(
    record: Any, why: str, tmp_path: Path, a_run: Any
) -> None:
    path = tmp_path / "o.db"
    ((batch, index, found),) = await run(
        SQLiteSink(path, "t"), a_run, [{"n": 1}, record, {"n": 2}], [{"n": 3}]
    )
    assert (batch, index) == (0, 1)
    with pytest.raises(ValueError, match=why):
        raise ValueError(found)
    assert query(path, "SELECT * FROM t ORDER BY rowid") == [(1,), (2,), (3,)]


async def test_integers_become_reals_before_the_first_cut_where_that_changes_none(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o.db"
    records = [{"a": 1, "b": 2**53 + 1}, {"a": 0.5, "b": 1}, {"b": 0.5}, {"a": 2**53 + 1}, {"a": 7}]
    rejected = await run(SQLiteSink(path, "t"), context(fence=1), records)
    assert [index for _, index, _ in rejected] == [2, 3]
    assert query(path, "SELECT a, b FROM t ORDER BY rowid") == [(1.0, 2**53 + 1), (0.5, 1), (7.0, None)]


async def test_after_the_first_cut_another_column_or_type_is_rejected(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "o.db"
    later = [{"a": 1.5}, {"a": 2, "c": 1}, {"a": 3}]
    rejected = await run(SQLiteSink(path, "t"), context(fence=1), [{"a": 1}], later, cut=1)
    assert [index for _, index, _ in rejected] == [0, 1]
    assert "'a' is INTEGER, which doesn't hold 1.5" in rejected[0][2]
    assert "no column for ['c']" in rejected[1][2]
    assert query(path, "SELECT * FROM t ORDER BY rowid") == [(1,), (3,)]


async def test_dead_letters_of_any_records_fit_one_table(tmp_path: Path, a_run: Any) -> None:
    path = tmp_path / "o.db"

    def letter(number: int, record: Any) -> DLQRecord:
        return DLQRecord(
            id=str(number), pipeline="p", run_id="r", stage="sink:s", error_type="E", error_message="m",
            original=record, processed=record, entry=Entry(step=None, record=record), checkpoint={"at": number},
            attempts=1, failed_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        )  # fmt: skip

    letters = [
        letter(n, record) for n, record in enumerate([{"a": 1}, "text", 7, None, 2**70, math.nan, "\ud800"])
    ]
    assert await run(SQLiteSink(path, "t"), a_run, letters[:4], letters[4:]) == []
    assert [json.loads(o) for (o,) in query(path, "SELECT original FROM t ORDER BY rowid")][:3] == [
        {"a": 1},
        "text",
        7,
    ]


async def test_names_are_quoted(tmp_path: Path, a_run: Any) -> None:
    path = tmp_path / "o.db"
    table = 'a"b; DROP TABLE x; --'
    assert (
        await run(SQLiteSink(path, table, key='k"'), a_run, [{'k"': 1, "select": 2, "rowid": 3, "日": "x"}])
        == []
    )
    quoted = table.replace('"', '""')
    assert query(path, f'SELECT * FROM "{quoted}"') == [(1, 2, 3, "x")]


# --- constraints ---

STRICT_ONE = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
    "INSERT INTO parent VALUES (1)",
    """CREATE TABLE t (id INTEGER PRIMARY KEY, code TEXT UNIQUE COLLATE NOCASE, n INTEGER NOT NULL CHECK (n < 10),
       parent INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED) STRICT""",
    "INSERT INTO t VALUES (100, 'old', 1, NULL)",
)
BAD = [
    ({"id": 100, "n": 1}, "UNIQUE constraint failed: t.id"),
    ({"id": 50, "code": "OLD", "n": 1}, "UNIQUE constraint failed: t.code"),
    ({"id": 51, "code": "b"}, "NOT NULL constraint failed: t.n"),
    ({"id": 52, "n": 10}, "CHECK constraint failed"),
    ({"id": 53, "n": "x"}, "cannot store TEXT value in INTEGER column t.n"),
    ({"id": 54, "n": 1, "parent": 2}, "FOREIGN KEY constraint failed"),
    ({"id": 55, "n": 1, "other": 2}, "no column for ['other']"),
    ({"id": None, "n": 1}, "'id' identifies the row"),
    ({"id": 1, "n": 1}, "UNIQUE"),  # the id of a record before it
    ({"id": 56, "n": 1, "code": "A"}, "UNIQUE"),  # and the code
]
GOOD = [
    {"id": 1, "code": "a", "n": 1, "parent": 1},
    {"id": 2, "code": None, "n": 2},
    {"id": 3, "code": "c", "n": 3},
]


@pytest.mark.parametrize("size", [1, 3, 20])
@pytest.mark.parametrize("trigger", [False, True], ids=["", "trigger"])
async def test_what_a_constraint_refuses_is_rejected_and_its_neighbours_are_written(
    size: int, trigger: bool, tmp_path: Path, a_run: Any
) -> None:
    path = tmp_path / "o.db"
    execute(path, *STRICT_ONE)
    if trigger:  # which makes the sink try everything in order
        execute(
            path, "CREATE TRIGGER g BEFORE INSERT ON t WHEN NEW.n = 7 BEGIN SELECT RAISE(ABORT, 'no 7'); END"
        )
    bad = [*BAD, ({"id": 60, "n": 7}, "no 7")] if trigger else BAD
    records = [GOOD[0], *(record for record, _ in bad), *GOOD[1:]]
    batches = [records[start : start + size] for start in range(0, len(records), size)]
    rejected = await run(SQLiteSink(path, "t", if_exists="append"), a_run, *batches)
    assert [batch * size + index for batch, index, _ in rejected] == list(range(1, len(bad) + 1))
    for (_, _, found), (_, why) in zip(rejected, bad, strict=True):
        assert why in found
    assert query(path, "SELECT id, code, n, parent FROM t ORDER BY id") == [
        (1, "a", 1, 1), (2, None, 2, None), (3, "c", 3, None), (100, "old", 1, None),
    ]  # fmt: skip


UNIQUES = st.lists(
    st.fixed_dictionaries({"a": st.integers(0, 4), "b": st.none() | st.integers(0, 4)}),
    min_size=1,
    max_size=14,
)


@settings(
    max_examples=examples(40, 800), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    records=UNIQUES,
    size=st.integers(1, 6),
    key=st.sampled_from([None, "a"]),
    odd=st.sampled_from(
        ["", "CREATE UNIQUE INDEX p ON t (b) WHERE a > 2", "CREATE UNIQUE INDEX e ON t (a + b)"]
    ),
)
def test_rows_collide_among_themselves_just_as_when_inserted_one_by_one(
    records: list[Any], size: int, key: str | None, odd: str, tmp_path: Path, context: Any
) -> None:
    path, model = tmp_path / f"{uuid.uuid4()}.db", tmp_path / f"{uuid.uuid4()}.db"
    for database in (path, model):
        execute(database, "CREATE TABLE t (a PRIMARY KEY, b UNIQUE)", odd, "INSERT INTO t VALUES (4, 4)")
    batches = [records[start : start + size] for start in range(0, len(records), size)]
    rejected = trio.run(
        lambda: run(SQLiteSink(path, "t", key=key, if_exists="append"), context(fence=1), *batches, cut=3)
    )
    connection = apsw.Connection(str(model))
    expected = []
    upsert = "ON CONFLICT (a) DO UPDATE SET b = excluded.b" if key else ""
    for number, record in enumerate(records):
        try:
            connection.execute(f"INSERT INTO t VALUES (:a, :b) {upsert}", record)
        except apsw.ConstraintError:
            expected.append(number)
    connection.close()
    assert [batch * size + index for batch, index, _ in rejected] == expected
    assert query(path, "SELECT rowid, * FROM t ORDER BY rowid") == query(
        model, "SELECT rowid, * FROM t ORDER BY rowid"
    )


async def test_what_others_write_between_the_try_and_the_barrier_ends_the_run_before_the_save_and_the_next_one_rejects(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o.db"
    execute(path, "CREATE TABLE t (a UNIQUE)")
    sink = SQLiteSink(path, "t", if_exists="append")
    await sink.open(context(fence=1))
    token = await sink.prepare()
    await sink.write([{"a": 1}, {"a": 2}])
    execute(path, "INSERT INTO t VALUES (2)")
    with pytest.raises(SinkChanged, match=r"UNIQUE constraint failed: t.a.*run again"):
        await sink.prepare()
    await sink.close()
    again = SQLiteSink(path, "t", if_exists="append")
    await again.open(context(fence=2, completed=False))
    await again.recover(token)
    with pytest.raises(RecordsRejected) as caught:
        await again.write([{"a": 1}, {"a": 2}])
    assert list(caught.value.errors) == [1]
    await again.commit(await again.prepare())
    await again.close()
    assert query(path, "SELECT a FROM t ORDER BY rowid") == [(2,), (1,)]


async def test_a_trigger_that_ends_the_transaction_ends_the_run(tmp_path: Path, a_run: Any) -> None:
    path = tmp_path / "o.db"
    execute(
        path,
        "CREATE TABLE t (a UNIQUE)",
        "CREATE TRIGGER g BEFORE INSERT ON t WHEN NEW.a = 7 BEGIN SELECT RAISE(ROLLBACK, 'no 7'); END",
    )
    with pytest.raises(ConfigError, match=r"RAISE.ABORT"):
        await run(SQLiteSink(path, "t", if_exists="append"), a_run, [{"a": 1}, {"a": 1}, {"a": 7}, {"a": 2}])
    assert query(path, "SELECT * FROM t") == []


# --- upsert ---


async def test_upsert_keeps_one_row_for_each_key_with_its_last_values(tmp_path: Path, a_run: Any) -> None:
    path = tmp_path / "o.db"
    batches = [
        [{"a": 1, "b": "x", "v": 1}, {"a": 2, "b": "x", "v": 2}],
        [{"a": 1, "b": "x", "v": 3}, {"a": 1, "b": "y"}],
    ]
    sink = SQLiteSink(path, "t", key=["a", "b"])
    assert await run(sink, a_run, *batches, cut=1) == []
    assert query(path, "SELECT a, b, v FROM t") == [(1, "x", 3), (2, "x", 2), (1, "y", None)]
    ((_, index, why),) = await run(
        SQLiteSink(path, "t", key=["a", "b"], if_exists="append"),
        a_run,
        [{"a": 3, "b": None}, {"a": 3, "b": "z", "v": 5}],
    )
    assert (index, "'b' identifies the row" in why) == (0, True)
    assert (3, "z", 5) in query(path, "SELECT a, b, v FROM t")


async def test_a_key_alone_is_inserted_once(tmp_path: Path, a_run: Any) -> None:
    path = tmp_path / "o.db"
    assert await run(SQLiteSink(path, "t", key="a"), a_run, [{"a": 5}, {"a": 3}, {"a": 5}]) == []
    assert query(path, "SELECT a FROM t ORDER BY rowid") == [(3,), (5,)]


async def test_a_key_that_the_table_doesnt_enforce_is_an_error(tmp_path: Path, a_run: Any) -> None:
    path = tmp_path / "o.db"
    execute(path, "CREATE TABLE t (a PRIMARY KEY, b)")
    for key, why in (("b", "no primary key or unique index"), ("c", "has no columns")):
        with pytest.raises(ConfigError, match=why):
            await run(SQLiteSink(path, "t", key=key, if_exists="append"), a_run, [{"a": 1, "b": 2}])


async def test_a_key_is_written_though_it_has_a_default_and_the_first_record_lacks_it(
    tmp_path: Path, a_run: Any
) -> None:
    path = tmp_path / "o.db"
    execute(path, "CREATE TABLE t (a DEFAULT 7 PRIMARY KEY, b)")
    rejected = await run(
        SQLiteSink(path, "t", key="a", if_exists="append"), a_run, [{"b": 1}, {"a": 2, "b": 3}]
    )
    assert [index for _, index, _ in rejected] == [0]
    assert query(path, "SELECT * FROM t") == [(2, 3)]
