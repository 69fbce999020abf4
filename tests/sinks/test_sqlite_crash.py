"""After a crash at any write of SQLite, or a failure of one, recovery gives the rows that the saved token covers."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from agora.errors import AgoraError, PipelineBusy, SinkChanged
from agora.sinks import SQLiteSink
from agora.testing.faults import DiskRecorder, Failpoints, Fault, Loss, write_tree

RECORDS = [{"n": n, "text": "x" * n} for n in range(20)]
SCRIPT = [
    "write",
    "prepare",
    "commit",
    "write",
    "write",
    "prepare",
    "commit",
    "prepare",
    "write",
    "prepare",
    "commit",
]
MADE = 'CREATE TABLE t ("n" INTEGER, "text" TEXT UNIQUE)'


@contextmanager
def database(path: Path) -> Iterator[apsw.Connection]:
    """Not by `sqlite3`: of two copies of SQLite in one process, one drops the locks of the other."""
    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(10_000)
        yield connection
    finally:
        connection.close()


def rows(path: Path) -> list[int] | None:
    """The `n` of the table, in the order of its rowids; `None` where there is no table."""
    if not path.exists():
        return None
    with database(path) as connection:
        if not connection.table_exists("main", "t"):
            return None
        return [n for (n,) in connection.execute("SELECT n FROM t ORDER BY rowid")]


def tables(path: Path) -> list[str]:
    with database(path) as connection:
        found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        return [name for (name,) in found]


def make_table(path: Path, *old: int) -> None:
    with database(path) as connection:
        connection.execute(MADE)
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"old {n}") for n in old])


class Story:
    """One run of SCRIPT; knows at every moment which token is saved and what it covers."""

    def __init__(self, sink: SQLiteSink, was: list[int] | None, base: list[int]) -> None:
        self.sink = sink
        self.written = base
        self.token: Any = None
        self.covered = was
        self.count = 0

    async def run(self, context: Any, script: Sequence[str] = SCRIPT) -> None:
        await self.sink.open(context)
        self.token = await self.sink.prepare()
        for act in script:
            await self.act(act)

    async def act(self, act: str) -> None:
        if act == "write":
            batch = RECORDS[self.count : self.count + 2]
            await self.sink.write(batch)
            self.written = [*self.written, *(record["n"] for record in batch)]
            self.count += 2
        elif act == "prepare":
            token = await self.sink.prepare()
            self.token, self.covered = token, self.written
        else:
            await self.sink.commit(self.token)


CASES = ["new", "append", "replace", "upsert"]


def start(case: str, path: Path) -> tuple[SQLiteSink, Story]:
    if case == "new":
        sink = SQLiteSink(path, "t")
        return sink, Story(sink, None, [])
    if case == "upsert":
        sink = SQLiteSink(path, "t", key="n")
        return sink, Story(sink, None, [])
    make_table(path, -2, -1)
    sink = SQLiteSink(path, "t", if_exists=case)  # type: ignore[arg-type]  # the cases are of its names
    return sink, Story(sink, [-2, -1], [-2, -1] if case == "append" else [])


async def recovered(story: Story, path: Path, token: Any, context: Any) -> list[int] | None:
    """What the next run finds; it goes on, and its rows are behind."""
    old = story.sink
    sink = SQLiteSink(path, "t", key=old.key, if_exists=old.if_exists)
    await sink.open(context(fence=2, completed=False))
    await sink.recover(token)
    found = rows(path)
    await sink.write([{"n": 99, "text": "more"}])
    assert rows(path) == found
    token = await sink.prepare()
    assert rows(path) == found
    await sink.commit(token)
    kept = [] if old.if_exists == "replace" and token["after"] == 0 else found or []
    assert rows(path) == [*kept, 99]
    await sink.close()
    assert tables(path) == ["_agora_marks_1", "t"]
    return found


@pytest.mark.parametrize("case", CASES)
async def test_a_crash_before_any_write_of_the_database_is_recovered_to_what_the_token_covers(
    case: str, tmp_path: Path, context: Any, machine: Any
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    sink, story = start(case, live / "o.db")
    moments: list[tuple[Path, Any, list[int] | None]] = []

    def snapshot(_call: int, _operation: object) -> None:
        if story.token is not None:
            frozen = tmp_path / str(len(moments))
            shutil.copytree(live, frozen)
            moments.append((frozen / "o.db", story.token, story.covered))

    with machine.watching(snapshot):
        await story.run(context(fence=1))
        snapshot(0, "the end")
        await sink.close()
    assert len(moments) > 50
    assert {tuple(covered) if covered else () for _, _, covered in moments} >= {tuple(story.written)}
    for path, token, expected in moments:
        assert await recovered(story, path, token, context) == expected


@pytest.mark.parametrize("case", CASES)
async def test_a_write_of_the_database_that_fails_ends_the_run_and_the_next_one_has_what_the_token_covers(
    case: str, tmp_path: Path, context: Any
) -> None:
    number, failed = 1, True
    while failed:
        folder = tmp_path / str(number)
        folder.mkdir()
        sink, story = start(case, folder / "o.db")
        failed = await run_failing_at(number, sink, story, context)
        if story.token is not None:
            assert await recovered(story, folder / "o.db", story.token, context) == story.covered
        number += 1
    assert number > 30


async def run_failing_at(number: int, sink: SQLiteSink, story: Story, context: Any) -> bool:
    """Whether it came to the n-th operation; that one fails, and nothing after it."""
    with Failpoints(number, Fault.ENOSPC) as points:
        try:
            await story.run(context(fence=1), SCRIPT[3:7])
        except OSError as error:
            assert str(story.sink.path.parent) in str(error)
            assert points.struck is not None
        finally:
            try:
                await sink.close()
            except OSError:
                assert points.struck is not None
    return points.struck is not None


@pytest.mark.parametrize("case", CASES)
async def test_an_object_that_is_abandoned_after_any_call_leaves_what_the_token_covers(
    case: str, tmp_path: Path, context: Any
) -> None:
    for length in range(len(SCRIPT) + 1):
        folder = tmp_path / str(length)
        folder.mkdir()
        sink, story = start(case, folder / "o.db")
        await sink.open(context(fence=1))
        story.token = await sink.prepare()
        for act in SCRIPT[:length]:
            await story.act(act)
        assert await recovered(story, folder / "o.db", story.token, context) == story.covered
        with pytest.raises((PipelineBusy, SinkChanged)):  # the old one wakes up, and has no say anymore
            await sink.write([{"n": 77, "text": "stale"}])
            await sink.commit(await sink.prepare())
        await sink.close()
        assert 77 not in (rows(folder / "o.db") or [])


@pytest.mark.parametrize("case", ["new", "upsert"])
async def test_what_was_prepared_or_committed_survives_a_loss_of_power(
    case: str, tmp_path: Path, context: Any
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    sink, story = start(case, live / "o.db")
    moments: list[tuple[int, Any, list[int] | None]] = []
    with DiskRecorder(live) as recorder:
        await sink.open(context(fence=1))
        story.token = await sink.prepare()
        moments.append((len(recorder.log), story.token, story.covered))
        for act in SCRIPT:
            await story.act(act)
            moments.append((len(recorder.log), story.token, story.covered))
        await sink.close()
    for moment, token, expected in moments:
        for loss in (Loss.total(), Loss.none(), Loss.random(moment)):
            write_tree(recorder.after(moment, loss), tmp_path / "image")
            assert await recovered(story, tmp_path / "image/o.db", token, context) == expected


async def test_a_commit_of_a_runner_that_was_taken_over_reaches_nothing(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "o.db"
    stale, fresh = SQLiteSink(path, "t"), SQLiteSink(path, "t")
    await stale.open(context(fence=1))
    base = await stale.prepare()
    await stale.write([{"n": 1}])
    token = await stale.prepare()
    await fresh.open(context(fence=2, completed=False))
    await fresh.recover(base)
    for _ in range(2):
        with pytest.raises(PipelineBusy, match="fence 2"):
            await stale.commit(token)
        with pytest.raises(PipelineBusy, match="fence 2"):
            await stale.write([{"n": 2}])
        assert rows(path) is None
    await fresh.write([{"n": 3}])
    await fresh.commit(await fresh.prepare())
    await stale.close()
    await fresh.close()
    assert rows(path) == [3]


async def test_a_token_is_committed_any_number_of_times(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "o.db"
    sink = SQLiteSink(path, "t")
    await sink.open(context(fence=1))
    base = await sink.prepare()
    await sink.commit(base)
    await sink.write(RECORDS[:3])
    first = await sink.prepare()
    await sink.commit(first)
    await sink.commit(first)
    await sink.write(RECORDS[3:5])
    second = await sink.prepare()
    await sink.commit(first)
    assert rows(path) == [0, 1, 2]
    await sink.commit(second)
    await sink.commit(second)
    await sink.commit(first)
    await sink.close()
    assert rows(path) == [0, 1, 2, 3, 4]
    again = SQLiteSink(path, "t")
    await again.open(context(fence=2, completed=False))
    await again.recover(second)
    await again.commit(second)
    await again.close()
    assert rows(path) == [0, 1, 2, 3, 4]


async def run_once(
    path: Path, context: Any, token: Any = None, *, completed: bool = False, **options: Any
) -> Any:
    sink = SQLiteSink(path, "t", **options)
    await sink.open(context(fence=1) if token is None else context(fence=2, completed=completed))
    try:
        if token is not None:
            await sink.recover(token)
        count = 0 if token is None else token["number"] * 2
        await sink.write(RECORDS[count : count + 2])
        token = await sink.prepare()
        await sink.commit(token)
    finally:
        await sink.close()
    return token


async def test_a_table_that_is_ahead_of_the_checkpoint_is_refused(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "o.db"
    first = await run_once(path, context)
    await run_once(path, context, first)
    for completed in (False, True):
        with pytest.raises(SinkChanged, match="state is older"):
            await run_once(path, context, first, completed=completed)
    assert rows(path) == [0, 1, 2, 3]


async def test_a_database_that_was_restored_from_a_copy_is_refused(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "o.db"
    first = await run_once(path, context)
    shutil.copy(path, tmp_path / "copy.db")
    second = await run_once(path, context, first)
    shutil.copy(tmp_path / "copy.db", path)
    with pytest.raises(SinkChanged, match="older than the checkpoint"):
        await run_once(path, context, second)


@pytest.mark.parametrize("what", ["table", "file"])
async def test_what_is_missing_after_a_completed_run_is_begun_anew_and_after_another_refused(
    what: str, tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o.db"
    token = await run_once(path, context)
    if what == "file":
        path.unlink()
    else:
        drop(path)
    with pytest.raises(SinkChanged, match="is missing"):
        await run_once(path, context, token, completed=False)
    token = await run_once(path, context, token, completed=True)
    assert rows(path) == [2, 3]
    await run_once(path, context, token)
    assert rows(path) == [2, 3, 4, 5]


async def test_a_crash_of_the_run_that_begins_a_missing_table_anew_is_recovered(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "o.db"
    token = await run_once(path, context)
    drop(path)
    sink = SQLiteSink(path, "t")
    await sink.open(context(fence=2, completed=True))
    await sink.recover(token)
    await sink.write([{"n": 7}])
    frozen = tmp_path / "frozen"
    shutil.copytree(tmp_path, frozen)
    await sink.close()
    await run_once(frozen / "o.db", context, token, completed=False)
    assert rows(frozen / "o.db") == [2, 3]


def drop(path: Path) -> None:
    with database(path) as connection:
        connection.execute("DROP TABLE t")


async def test_a_table_that_holds_no_mark_is_refused(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "o.db"
    token = await run_once(path, context)
    path.unlink()
    make_table(path)
    for completed in (False, True):
        with pytest.raises(SinkChanged, match="holds no mark"):
            await run_once(path, context, token, completed=completed)


async def test_a_token_of_another_sink_or_table_is_refused(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "o.db"
    token = await run_once(path, context)
    for strange in ({"size": 3}, None, {**token, "table": "other"}):
        with pytest.raises(AgoraError, match="new name="):
            await run_once(path, context, strange or {"number": 0})
