"""Runs into a SQLite table: what was there, starting over, whole pipelines killed and resumed, other users."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import psutil
import pytest
import trio
from trio.testing import MockClock

from agora import Pipeline
from agora.errors import ConfigError, SinkChanged
from agora.sinks import SQLiteSink, sqlitedb
from agora.sources import IterableSource, JsonLinesSource
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink


def query(path: Path, sql: str) -> list[Any]:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def execute(path: Path, *statements: str) -> None:
    query(path, "; ".join(statements))


def numbers(path: Path) -> list[int]:
    return [n for (n,) in query(path, "SELECT n FROM t ORDER BY rowid")]


def pipeline(folder: Path, sink: SQLiteSink, *, state: str = "state.db", every: int = 20) -> Any:
    """Copies `in.jsonl`; a record that the table refuses is a dead letter."""
    backend = SQLiteBackend(folder / state)
    return (
        Pipeline(JsonLinesSource(folder / "in.jsonl"), name="copy")
        .to(sink, name="table")
        .build(
            checkpoint_store=CheckpointStore(backend),
            checkpoint_every=every,
            dlq=StateDLQSink(backend),
            batch_size=7,
        )
    )


def write_input(folder: Path, values: Sequence[Any], mode: str = "w") -> None:
    with (folder / "in.jsonl").open(mode) as file:
        file.writelines(json.dumps({"n": value}) + "\n" for value in values)


# --- a table that is there ---


async def test_with_checkpoints_a_table_that_is_there_is_refused_unless_one_says_what_to_do(
    tmp_path: Path,
) -> None:
    path = tmp_path / "o.db"
    write_input(tmp_path, range(50))
    execute(path, "CREATE TABLE T (n INTEGER, more DEFAULT 'x')", "INSERT INTO T VALUES (-1, 'old')")
    with pytest.raises(SinkChanged, match="if_exists"):
        await pipeline(tmp_path, SQLiteSink(path, "t")).run()
    assert query(path, "SELECT * FROM t") == [(-1, "old")]
    await pipeline(tmp_path, SQLiteSink(path, "t", if_exists="append")).run()
    assert numbers(path) == [-1, *range(50)]
    assert query(path, "SELECT DISTINCT more FROM t WHERE n >= 0") == [("x",)]


async def test_replace_with_checkpoints_keeps_the_old_rows_until_the_first_commit(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o.db"
    execute(path, "CREATE TABLE t (n INTEGER UNIQUE)", "INSERT INTO t VALUES (1)")
    sink = SQLiteSink(path, "t", if_exists="replace")
    await sink.open(context(fence=1))
    await sink.prepare()
    await sink.write([{"n": 1}, {"n": 2}])
    token = await sink.prepare()
    assert numbers(path) == [1]
    await sink.commit(token)
    assert numbers(path) == [1, 2]
    await sink.write([{"n": 3}])
    await sink.commit(await sink.prepare())
    await sink.close()
    assert numbers(path) == [1, 2, 3]


async def test_without_checkpoints_the_table_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "o.db"

    def copy(values: Any, **options: Any) -> Any:
        records = ({"n": value} for value in values)
        return Pipeline(IterableSource(records), name="p").to(SQLiteSink(path, "t", **options)).build().run()

    def broken() -> Any:
        yield from range(2_000)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        await copy(broken())
    assert not path.parent.exists() or os.listdir(path.parent) == []
    await copy(range(3))
    assert (numbers(path), os.listdir(path.parent)) == ([0, 1, 2], ["o.db"])
    with pytest.raises(RuntimeError, match="the source broke"):
        await copy(broken())
    assert numbers(path) == [0, 1, 2]
    await copy(range(5, 7))
    assert numbers(path) == [5, 6]
    await copy([7], if_exists="append")
    assert numbers(path) == [5, 6, 7]
    with pytest.raises(SinkChanged, match="if_exists"):
        await copy([8], if_exists="error")
    await copy([])
    assert numbers(path) == []
    assert query(path, "SELECT name FROM sqlite_schema") == [("t",)]


async def test_a_table_without_records_is_made_where_its_columns_are_known(tmp_path: Path) -> None:
    write_input(tmp_path, [])
    path = tmp_path / "o.db"
    await pipeline(tmp_path, SQLiteSink(path, "t", schema={"n": "INTEGER"})).run()
    assert numbers(path) == []
    write_input(tmp_path, range(3))
    await pipeline(tmp_path, SQLiteSink(path, "t", schema={"n": "INTEGER"})).run()
    assert numbers(path) == [0, 1, 2]
    with pytest.raises(SinkChanged, match="schema that it had"):
        await pipeline(tmp_path, SQLiteSink(path, "t", schema={"n": "TEXT"})).run()
    other = tmp_path / "other.db"
    await Pipeline(IterableSource([]), name="p").to(SQLiteSink(other, "t")).build().run()
    assert not other.exists()


async def test_what_cant_be_written_is_refused_by_name(tmp_path: Path, context: Any) -> None:
    execute(tmp_path / "o.db", "CREATE VIEW t AS SELECT 1")
    (tmp_path / "text").write_text("no database " * 1_000)
    (tmp_path / "directory").mkdir()
    for name, why in (
        ("o.db", "is a view"),
        ("text", "isn't a SQLite database"),
        ("directory", "is no file"),
    ):
        sink = SQLiteSink(tmp_path / name, "t")
        with pytest.raises(ConfigError, match=why) as caught:
            await sink.open(context(fence=1))
        assert name in str(caught.value)
        await sink.close()


@pytest.mark.parametrize(
    "options",
    [
        {"table": ""}, {"table": "sqlite_x"}, {"table": "_agora_marks_1"}, {"key": []}, {"columns": []}, {"schema": {}},
        {"columns": ["a", "A"]}, {"schema": {"a": "INT"}}, {"schema": {"a": "TEXT"}, "columns": ["a"]},
        {"key": "b", "columns": ["a"]}, {"key": ["a", "a"]}, {"columns": [1]},
    ],
)  # fmt: skip
def test_options_that_contradict_are_an_error_before_anything_runs(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SQLiteSink("o.db", **{"table": "t", **options})


# --- starting over ---


async def test_a_restart_deletes_the_rows_of_the_pipeline_and_keeps_all_others(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    write_input(tmp_path, range(50))
    execute(path, "CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (-2), (-1)")
    run = pipeline(tmp_path, SQLiteSink(path, "t", if_exists="append"))
    await run.run(max_records=30)
    await run.run()
    execute(path, "INSERT INTO t VALUES (-3)")
    write_input(tmp_path, range(100, 103))
    await run.run(restart=True)
    assert numbers(path) == [-2, -1, -3, 100, 101, 102]


async def test_a_restart_drops_the_table_that_the_pipeline_made(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    write_input(tmp_path, range(5))
    await pipeline(tmp_path, SQLiteSink(path, "t")).run()
    (tmp_path / "in.jsonl").write_text('{"other": "x"}\n')
    await pipeline(tmp_path, SQLiteSink(path, "t")).run(restart=True)
    assert query(path, "SELECT other FROM t") == [("x",)]
    execute(path, "DROP TABLE t")
    await pipeline(tmp_path, SQLiteSink(path, "t")).run(restart=True)
    path.unlink()
    await pipeline(tmp_path, SQLiteSink(path, "t")).run(restart=True)
    assert query(path, "SELECT other FROM t") == [("x",)]


@pytest.mark.parametrize("how", ["upsert", "between", "deleted", "ids"])
async def test_a_restart_is_refused_where_rows_cant_be_told_from_others(how: str, tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    write_input(tmp_path, range(10, 50))
    options: dict[str, Any] = {}
    if how == "upsert":
        options = {"key": "n"}
    elif how == "ids":
        execute(path, "CREATE TABLE t (n INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (5), (60)")
        options = {"if_exists": "append"}
    run = pipeline(tmp_path, SQLiteSink(path, "t", **options))
    await run.run(max_records=30)
    if how == "between":
        execute(path, "INSERT INTO t VALUES (-3)")
    await run.run()
    if how == "deleted":
        execute(path, "DELETE FROM t WHERE n = 20")
    before = numbers(path)
    with pytest.raises(SinkChanged, match="can't be told from others"):
        await run.run(restart=True)
    assert numbers(path) == before
    await pipeline(tmp_path, SQLiteSink(path, "t", **{**options, "if_exists": "replace"})).run(restart=True)
    assert numbers(path) == [*range(10, 50)]


# --- whole pipelines ---


@pytest.mark.parametrize("state", ["state.db", "o.db"], ids=["another file", "the state file"])
async def test_a_run_in_pieces_gives_the_rows_and_letters_of_one_that_isnt_disturbed(
    state: str, tmp_path: Path
) -> None:
    path = tmp_path / "o.db"
    write_input(tmp_path, [n if n % 10 else "bad" for n in range(1, 100)])
    run = pipeline(tmp_path, SQLiteSink(path, "t", schema={"n": "INTEGER"}), state=state)
    totals = [await run.run(max_records=33) for _ in range(3)]
    assert numbers(path) == [n for n in range(1, 100) if n % 10]
    assert [summary.written for summary in totals] == [30, 30, 30]
    assert sum(summary.dead_lettered for summary in totals) == 9
    write_input(tmp_path, [100], "a")
    again = await run.run()
    assert (again.read, numbers(path)[-1]) == (1, 100)
    assert "exactly once" in str(run.explain())


async def test_the_table_of_the_state_itself_is_refused(tmp_path: Path) -> None:
    write_input(tmp_path, range(3))
    with pytest.raises(ConfigError, match="where agora keeps its state"):
        await pipeline(
            tmp_path, SQLiteSink(tmp_path / "o.db", "Entries", if_exists="replace"), state="o.db"
        ).run()


async def test_columns_may_change_between_runs_and_lost_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    execute(path, "CREATE TABLE t (n INTEGER, m INTEGER)")
    write_input(tmp_path, [1])
    await pipeline(tmp_path, SQLiteSink(path, "t", columns="n", if_exists="append")).run()
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write('{"n": 2, "m": 3}\n')
    await pipeline(tmp_path, SQLiteSink(path, "t", columns=["m", "n"], if_exists="append")).run()
    assert query(path, "SELECT n, m FROM t") == [(1, None), (2, 3)]
    execute(path, "ALTER TABLE t DROP COLUMN m")
    with pytest.raises(SinkChanged, match="lost the columns"):
        await pipeline(tmp_path, SQLiteSink(path, "t", if_exists="append")).run()


def test_a_config_file_says_it_all(tmp_path: Path) -> None:
    write_input(tmp_path, [1, 2, 1])
    (tmp_path / "agora.toml").write_text(
        'format = "agora/1"\n[pipelines.p]\nsource = { type = "jsonl", path = "in.jsonl" }\n'
        'sinks = [{ type = "sqlite", path = "o.db", table = "t", key = "n", schema = { n = "INTEGER" } }]\n'
    )
    command = [sys.executable, "-m", "agora", "run", str(tmp_path / "agora.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path / "o.db") == [1, 2]


async def test_two_sinks_share_a_database_and_not_a_table(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    backend = SQLiteBackend(tmp_path / "state.db")
    write_input(tmp_path, range(30))

    def build(*tables: str) -> Any:
        sinks = [SQLiteSink(path, table) for table in tables]
        source = JsonLinesSource(tmp_path / "in.jsonl")
        return (
            Pipeline(source, name="p")
            .to(*sinks)
            .build(checkpoint_store=CheckpointStore(backend), checkpoint_every=7)
        )

    with pytest.raises(ConfigError, match="both write"):
        await build("t", "T").run()
    await build("t", "u").run()
    assert numbers(path) == [n for (n,) in query(path, "SELECT n FROM u ORDER BY rowid")] == [*range(30)]


SCRIPT = """
import os, signal, sys, threading
from pathlib import Path
import apsw, trio
sys.path.insert(0, sys.argv[3])
from test_sqlite_runs import pipeline
from agora.sinks import SQLiteSink

folder, left = Path(sys.argv[1]), int(sys.argv[2])

def before(cursor, sql, bindings):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return True

def watch(connection):
    if connection.filename.endswith("o.db"):
        connection.exec_trace = before

apsw.connection_hooks.append(watch)
trio.run(pipeline(folder, SQLiteSink(folder / "o.db", "t"), state=sys.argv[4]).run)
"""


@pytest.mark.parametrize("state", ["state.db", "o.db"], ids=["another file", "the state file"])
def test_a_run_that_is_killed_again_and_again_gives_each_row_once_and_in_order(
    state: str, tmp_path: Path
) -> None:
    write_input(tmp_path, range(200))
    kills = 0
    for attempt in range(40):
        command = [
            sys.executable,
            "-c",
            SCRIPT,
            str(tmp_path),
            str(90 + attempt * 71),
            str(Path(__file__).parent),
            state,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
        if (tmp_path / "o.db").exists():
            found = [
                name
                for (name,) in query(tmp_path / "o.db", "SELECT name FROM sqlite_schema WHERE name = 't'")
            ]
            rows = numbers(tmp_path / "o.db") if found else []
            assert rows == [*range(len(rows))]
            assert len(rows) % 20 == 0
    assert kills >= 3
    assert numbers(tmp_path / "o.db") == [*range(200)]
    left = query(tmp_path / "o.db", "SELECT name FROM sqlite_schema WHERE name LIKE '%staged%'")
    assert left == []


# --- others ---


@contextmanager
def locked(path: Path) -> Any:
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def test_a_database_that_stays_locked_ends_the_run_and_one_that_is_freed_doesnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "o.db"
    write_input(tmp_path, range(30))
    run = pipeline(tmp_path, SQLiteSink(path, "t"))
    await run.run()
    write_input(tmp_path, range(30, 60), "a")
    with monkeypatch.context() as patch, locked(path):
        patch.setattr(sqlitedb, "_BUSY_MILLISECONDS", 50)
        with pytest.raises(OSError, match="locked"):
            await run.run()
    assert numbers(path) == [*range(30)]

    async def free_soon(lock: Any) -> None:
        await trio.sleep(0.2)
        lock.__exit__(None, None, None)

    lock = locked(path)
    lock.__enter__()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(free_soon, lock)
        await run.run()
    assert numbers(path) == [*range(60)]


async def test_a_reader_sees_whole_checkpoints_and_doesnt_hold_up_the_run(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o.db"
    sink = SQLiteSink(path, "t")
    await sink.open(context(fence=1))
    await sink.prepare()
    await sink.write([{"n": 1}])
    await sink.commit(await sink.prepare())
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    seen = reader.execute("SELECT n FROM t").fetchall()
    await sink.write([{"n": 2}])
    await sink.commit(await sink.prepare())
    assert reader.execute("SELECT n FROM t").fetchall() == seen == [(1,)]
    reader.execute("ROLLBACK")
    assert reader.execute("SELECT n FROM t").fetchall() == [(1,), (2,)]
    reader.close()
    await sink.close()


def test_a_whole_run_works_on_a_virtual_clock(tmp_path: Path) -> None:
    write_input(tmp_path, range(50))
    sink = SQLiteSink(tmp_path / "o.db", "t")
    trio.run(pipeline(tmp_path, sink).run, clock=MockClock(autojump_threshold=0))
    assert numbers(tmp_path / "o.db") == [*range(50)]


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when its task is scheduled for the n-th time."""

    def __init__(self, number: int, scope: trio.CancelScope, task: trio.lowlevel.Task) -> None:
        self.left, self.scope, self.task = number, scope, task

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


@pytest.mark.parametrize("fence", [0, 1])
async def test_a_run_cancelled_at_any_checkpoint_leaves_no_connection_and_what_the_token_covers(
    fence: int, tmp_path: Path, context: Callable[..., Any]
) -> None:
    number, cancelled = 0, True
    while cancelled:
        number += 1
        path = tmp_path / f"{number}.db"
        tokens: list[Any] = []
        with trio.CancelScope() as scope:
            instrument = CancelAt(number, scope, trio.lowlevel.current_task())
            trio.lowlevel.add_instrument(instrument)
            try:
                await short_run(SQLiteSink(path, "t"), context(fence=fence), tokens)
            finally:
                trio.lowlevel.remove_instrument(instrument)
        cancelled = scope.cancelled_caught
        assert [f.path for f in psutil.Process().open_files() if str(path) in f.path] == []
        if fence:
            sink = SQLiteSink(path, "t")
            await sink.open(context(fence=2, completed=False))
            if tokens:
                await sink.recover(tokens[-1])
                assert (numbers(path) if tokens[-1]["number"] else []) == [*range(tokens[-1]["number"])]
            await sink.close()
        else:
            assert (
                [name for name in os.listdir(tmp_path) if str(number) in name] == []
                if cancelled
                else [path.name]
            )
    assert number > 5


async def short_run(sink: SQLiteSink, context: Any, tokens: list[Any]) -> None:
    try:
        await sink.open(context)
        if context.transactional:
            tokens.append(await sink.prepare())
        for n in range(3):
            await sink.write([{"n": n}])
            if context.transactional:
                tokens.append(await sink.prepare())
                await sink.commit(tokens[-1])
        if not context.transactional:
            await sink.publish()
    finally:
        with trio.CancelScope(shield=True):
            await sink.close()


async def test_a_sink_that_isnt_open_says_so() -> None:
    sink = SQLiteSink("o.db", "t")
    with pytest.raises(trio.ClosedResourceError, match=r"o\.db"):
        await sink.write([{"n": 1}])
    await sink.close()
