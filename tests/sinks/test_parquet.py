"""Parquet parts: exact values, parts of a useful size, and the target always what the token says."""

import datetime
import decimal
import os
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agora.errors import ConfigError, RecordsRejected, SinkChanged
from agora.sinks import ParquetSink

RECORDS = [{"n": n, "text": "x" * n} for n in range(40)]


def visible(path: Path) -> list[str]:
    return sorted(name for name in os.listdir(path) if not name.startswith(".")) if path.exists() else []


def rows(path: Path) -> list[Any]:
    """What a reader of the directory finds, parts in the order of their names."""
    if path.is_file():
        return list(pq.ParquetFile(path).read().to_pylist())
    return [row for name in visible(path) for row in pq.ParquetFile(path / name).read().to_pylist()]


async def write_all(sink: Any, context: Any, records: list[Any]) -> None:
    await sink.open(context)
    try:
        await sink.write(records)
        await sink.publish()
    finally:
        await sink.close()


@pytest.mark.parametrize("name", ["out", "out.parquet"])
async def test_without_checkpoints_the_target_appears_whole_at_the_end(
    name: str, tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "deep" / name
    sink = ParquetSink(path)
    await sink.open(context())
    await sink.write(RECORDS)
    assert not path.exists()
    await sink.publish()
    await sink.close()
    assert rows(path) == RECORDS
    assert path.is_file() == (name == "out.parquet")
    assert os.listdir(path.parent) == [name]


@pytest.mark.parametrize("name", ["out", "out.parquet"])
async def test_a_run_that_ends_early_leaves_nothing(name: str, tmp_path: Path, context: Any) -> None:
    sink = ParquetSink(tmp_path / name, part_rows=5)
    await sink.open(context())
    await sink.write(RECORDS)
    await sink.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["out", "out.parquet"])
async def test_a_run_without_records_makes_what_can_be_read(name: str, tmp_path: Path, context: Any) -> None:
    await write_all(ParquetSink(tmp_path / name), context(), [])
    assert rows(tmp_path / name) == []
    await write_all(ParquetSink(tmp_path / name, schema={"n": "int64"}), context(), [])
    assert pq.read_table(tmp_path / name).column_names == ["n"]


async def test_without_checkpoints_an_existing_directory_is_replaced_extended_or_refused(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "out"
    await write_all(ParquetSink(path), context(), RECORDS[:3])
    await write_all(ParquetSink(path), context(), RECORDS[3:6])
    assert rows(path) == RECORDS[3:6]
    await write_all(ParquetSink(path, if_exists="append"), context(), RECORDS[6:9])
    assert rows(path) == RECORDS[3:9]
    with pytest.raises(SinkChanged, match="if_exists"):
        await write_all(ParquetSink(path, if_exists="error"), context(), RECORDS)
    assert os.listdir(tmp_path) == ["out"]


async def test_checkpoints_do_not_make_parts_and_the_last_part_is_made_at_the_end(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "out"
    sink = ParquetSink(path, part_rows=10)
    await sink.open(context(fence=1))
    await sink.recover(await sink.prepare())
    assert not path.exists()
    for start in range(0, 28, 4):
        await sink.write(RECORDS[start : start + 4])
        await sink.commit(await sink.prepare())
    assert [pq.ParquetFile(path / name).metadata.num_rows for name in visible(path)] == [12, 12]
    await sink.finish()
    await sink.commit(await sink.prepare())
    await sink.close()
    assert rows(path) == RECORDS[:28]
    assert visible(path) == [f"part-{number:010d}-1.parquet" for number in range(3)]
    assert [name for name in os.listdir(path) if name.startswith(".")] == []


SCRIPT = ["w", "p", "c", "w", "w", "p", "c", "w", "p", "w", "p", "c", "w", "f", "p", "c"]


class Story:
    def __init__(self, sink: Any, base: list[Any]) -> None:
        self.sink, self.written, self.token = sink, list(base), None
        self.covered, self.count = list(base), 0

    async def run(self, context: Any) -> None:
        await self.sink.open(context)
        self.token = await self.sink.prepare()
        await self.sink.recover(self.token)
        for act in SCRIPT:
            if act == "w":
                await self.sink.write(RECORDS[self.count : self.count + 3])
                self.written += RECORDS[self.count : self.count + 3]
                self.count += 3
            elif act == "p":
                self.token = await self.sink.prepare()
                self.covered = list(self.written)
            elif act == "c":
                await self.sink.commit(self.token)
            else:
                await self.sink.finish()


async def drained(path: Path, context: Any, token: Any, if_exists: Any) -> list[Any]:
    """What is in the target after a new run has recovered and come to its end."""
    again = ParquetSink(path, part_rows=5, if_exists=if_exists)
    await again.open(context)
    await again.recover(token)
    await again.finish()
    await again.commit(await again.prepare())
    await again.close()
    return rows(path)


async def started(existing: str, path: Path, context: Any) -> tuple[Any, list[Any]]:
    if existing == "none":
        return ParquetSink(path, part_rows=5), []
    await write_all(ParquetSink(path), context(), [{"n": -1, "text": "old"}])
    sink = ParquetSink(path, part_rows=5, if_exists=existing)  # type: ignore[arg-type]  # a parameter of the test
    return sink, [{"n": -1, "text": "old"}] if existing == "append" else []


@pytest.mark.parametrize("existing", ["none", "append", "replace"])
async def test_a_crash_before_any_file_operation_is_recovered_to_what_the_token_covers(
    existing: str, tmp_path: Path, context: Any, machine: Any
) -> None:
    live, frozen = tmp_path / "live", tmp_path / "frozen"
    live.mkdir()
    sink, base = await started(existing, live / "out", context)
    story = Story(sink, base)
    moments: list[tuple[Path, Any, list[Any]]] = []

    def snapshot(call: int, _operation: object) -> None:
        if story.token is not None:
            machine.copy_tree(live, frozen / str(call))
            moments.append((frozen / str(call), story.token, list(story.covered)))

    with machine.watching(snapshot):
        await story.run(context(fence=1))
        await sink.close()
    assert len(moments) > 20
    assert rows(live / "out") == story.covered
    if_exists = None if existing == "none" else existing
    for directory, token, expected in moments:
        for takeover in (False, True):
            copy = directory.with_name(f"{directory.name}-{takeover}")
            machine.copy_tree(directory, copy)
            resumed = context(fence=2, completed=False, takeover=takeover)
            found = await drained(copy / "out", resumed, token, if_exists)
            untouched = existing == "replace" and not expected
            assert found == ([{"n": -1, "text": "old"}] if untouched else expected)
            hidden = os.listdir(copy / "out") if (copy / "out").exists() else []
            assert [name for name in hidden if name.startswith(".")] == []


@pytest.mark.parametrize("existing", ["none", "append", "replace"])
async def test_a_failure_of_any_file_operation_leaves_what_recovery_restores(
    existing: str, tmp_path: Path, context: Any, machine: Any
) -> None:
    for number in range(1, 200):
        path = tmp_path / str(number) / "out"
        sink, base = await started(existing, path, context)
        story = Story(sink, base)
        failed = False
        with machine.watching(machine.fail_at(number)):
            try:
                await story.run(context(fence=1))
            except OSError:
                failed = True
            try:
                await sink.close()
            except OSError:
                failed = True
        if story.token is not None:
            resumed = context(fence=2, completed=False)
            found = await drained(path, resumed, story.token, None if existing == "none" else existing)
            untouched = existing == "replace" and not story.covered
            assert found == ([{"n": -1, "text": "old"}] if untouched else story.covered), number
        if not failed:
            assert number > 20
            return
    pytest.fail("the run never got through")


async def finished(path: Path, context: Any) -> Any:
    sink = ParquetSink(path, part_rows=5)
    story = Story(sink, [])
    await story.run(context(fence=1))
    await sink.close()
    return story.token


async def recovered(path: Path, context: Any, token: Any, **options: Any) -> Any:
    sink = ParquetSink(path, part_rows=5, **options)
    await sink.open(context)
    try:
        await sink.recover(token)
    except BaseException:
        await sink.close()
        raise
    return sink


async def test_an_old_holder_that_wakes_takes_no_name_from_the_new_one(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "out"
    frozen, taken = ParquetSink(path, part_rows=5), ParquetSink(path, part_rows=5)
    await frozen.open(context(fence=1))
    await frozen.write(RECORDS[:6])
    token = await frozen.prepare()  # a part, and no row for the next one
    await frozen.commit(token)
    await taken.open(context(fence=2, completed=False, takeover=True))
    await taken.recover(token)
    await frozen.write(RECORDS[10:12])
    await frozen.prepare()
    await taken.write(RECORDS[6:8])
    await taken.commit(await taken.prepare())
    await frozen.close()
    await taken.finish()
    await taken.commit(await taken.prepare())
    await taken.close()
    assert rows(path) == RECORDS[:8]


async def test_an_old_holder_whose_spool_was_taken_over_makes_no_part_of_it(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "out"
    frozen, taken = ParquetSink(path, part_rows=5), ParquetSink(path, part_rows=5)
    await frozen.open(context(fence=1))
    await frozen.write(RECORDS[:2])
    token = await frozen.prepare()
    await taken.open(context(fence=2, completed=False, takeover=True))
    await taken.recover(token)
    await taken.write(RECORDS[2:6])
    await taken.commit(await taken.prepare())
    await frozen.write(RECORDS[10:16])
    with pytest.raises(SinkChanged, match="taken over"):
        await frozen.prepare()
    await frozen.close()
    await taken.close()
    assert rows(path) == RECORDS[:6]


async def test_a_target_that_is_not_what_the_token_says_is_refused(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "out"
    token = await finished(path, context)
    first, *_, last = visible(path)
    extra = path / "part-0000000009-9.parquet"
    extra.write_bytes((path / last).read_bytes())
    for completed in (True, False):
        with pytest.raises(SinkChanged, match="newer than the checkpoint"):
            await recovered(path, context(fence=2, completed=completed), token)
    extra.unlink()
    with pytest.raises(SinkChanged, match="schema"):
        await recovered(path, context(fence=2, completed=True), token, schema={"n": "int32"})
    (path / first).write_bytes(b"short")
    with pytest.raises(SinkChanged, match="5 bytes instead of"):
        await recovered(path, context(fence=2, completed=False), token)
    (path / first).unlink()
    with pytest.raises(SinkChanged, match="missing"):
        await recovered(path, context(fence=2, completed=True), token)
    with pytest.raises(SinkChanged, match="another kind"):
        await recovered(path, context(fence=2, completed=True), {"size": 3})


async def test_after_a_completed_run_a_directory_that_was_moved_away_begins_anew(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "out"
    token = await finished(path, context)
    path.rename(tmp_path / "away")
    with pytest.raises(SinkChanged, match="missing"):
        await recovered(path, context(fence=2, completed=False), token)
    sink = await recovered(path, context(fence=2, completed=True), token)
    await sink.write([{"other": 1}])
    await sink.finish()
    await sink.commit(await sink.prepare())
    await sink.close()
    assert rows(path) == [{"other": 1}]


@pytest.mark.parametrize("existing", ["none", "append"])
async def test_a_restart_undoes_what_this_pipeline_wrote(existing: str, tmp_path: Path, context: Any) -> None:
    path = tmp_path / "out"
    sink, base = await started(existing, path, context)
    story = Story(sink, base)
    await story.run(context(fence=1))
    await sink.close()
    again = ParquetSink(path, if_exists=None if existing == "none" else "append")
    await again.open(context(fence=2, completed=True))
    await again.restart(story.token)
    assert rows(path) == base
    assert path.exists() == (existing == "append")
    await again.recover(await again.prepare())
    await again.write(RECORDS[:2])
    await again.finish()
    await again.commit(await again.prepare())
    await again.close()
    assert rows(path) == base + RECORDS[:2]


async def test_a_restart_needs_nothing_to_be_there(tmp_path: Path, context: Any) -> None:
    path = tmp_path / "out"
    token = await finished(path, context)
    path.rename(tmp_path / "away")
    sink = ParquetSink(path)
    await sink.open(context(fence=2))
    await sink.restart(token)
    await sink.close()
    assert os.listdir(tmp_path) == ["away"]


async def test_an_existing_directory_is_refused_before_anything_is_written(
    tmp_path: Path, context: Any
) -> None:
    path = tmp_path / "out"
    await write_all(ParquetSink(path), context(), RECORDS)
    sink = ParquetSink(path)
    await sink.open(context(fence=1))
    with pytest.raises(SinkChanged, match="if_exists"):
        await sink.prepare()
    await sink.close()
    assert rows(path) == RECORDS


@attrs.frozen
class Point:
    x: int
    at: datetime.date | None = None


BAD = [
    ({"a": 1}, {"a": 2.5}),
    ({"a": 1}, {"a": "1"}),
    ({"a": 1}, {"a": True}),
    ({"a": 1}, {"a": 2**64}),
    ({"a": "x"}, {"a": b"x"}),
    ({"a": "x"}, {"a": "\ud800"}),
    ({"a": datetime.date(2020, 1, 1)}, {"a": datetime.datetime(2020, 1, 1, 3)}),
    ({"a": [1]}, {"a": [1.5]}),
    ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}),
    ({"a": 1}, {"a": 1, "b": 2}),
    ({"a": 1}, {"a": object()}),
    ({"a": 1}, 5),
    ({"a": None}, {"a": 1}),
]


@pytest.mark.parametrize(("first", "bad"), BAD)
async def test_another_type_or_column_after_the_first_cut_rejects_that_record_alone(
    first: Any, bad: Any, tmp_path: Path, context: Any
) -> None:
    sink = ParquetSink(tmp_path / "out")
    await sink.open(context(fence=1))
    await sink.write([first])
    await sink.commit(await sink.prepare())
    with pytest.raises(RecordsRejected) as caught:
        await sink.write([first, bad, first])
    assert list(caught.value.errors) == [1]
    await sink.finish()
    await sink.commit(await sink.prepare())
    await sink.close()
    assert rows(tmp_path / "out") == [first, first, first]


async def test_before_the_first_cut_columns_and_numbers_may_widen(tmp_path: Path, context: Any) -> None:
    sink = ParquetSink(tmp_path / "out")
    await sink.open(context(fence=1))
    await sink.write([{"a": 1, "d": decimal.Decimal("1.5")}])
    with pytest.raises(RecordsRejected) as caught:
        await sink.write([{"a": 2.5}, {"a": "text"}, {"a": None, "b": "x", "d": decimal.Decimal("100.25")}])
    assert list(caught.value.errors) == [1]
    await sink.finish()
    await sink.commit(await sink.prepare())
    await sink.close()
    assert rows(tmp_path / "out") == [
        {"a": 1.0, "d": decimal.Decimal("1.5"), "b": None},
        {"a": 2.5, "d": None, "b": None},
        {"a": None, "d": decimal.Decimal("100.25"), "b": "x"},
    ]


async def test_attrs_instances_are_rows(tmp_path: Path, context: Any) -> None:
    await write_all(ParquetSink(tmp_path / "out"), context(), [Point(1, datetime.date(2020, 1, 1)), Point(2)])
    assert rows(tmp_path / "out") == [{"x": 1, "at": datetime.date(2020, 1, 1)}, {"x": 2, "at": None}]


VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.booleans(),
    st.binary(),
    st.dates(),
    st.datetimes(),
    st.lists(st.integers(0, 9)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), min_size=1), min_size=1))
async def test_what_is_accepted_is_read_back_equal(batches: Any, tmp_path_factory: Any, context: Any) -> None:
    path = tmp_path_factory.mktemp("round") / "out"
    sink = ParquetSink(path)
    await sink.open(context())
    accepted = []
    for batch in batches:
        refused: Any = {}
        try:
            await sink.write(batch)
        except RecordsRejected as error:
            refused = error.errors
        accepted += [record for index, record in enumerate(batch) if index not in refused]
    await sink.publish()
    await sink.close()
    found = rows(path)
    assert [{k: v for k, v in row.items() if v is not None} for row in found] == [
        {k: v for k, v in record.items() if v is not None} for record in accepted
    ]


def test_options_that_can_not_be_are_refused_when_they_are_given() -> None:
    for options in ({"part_rows": 0}, {"schema": {"a": "strange"}}, {"schema": {}}, {"schema": 5}):
        with pytest.raises(ConfigError):
            ParquetSink("out", **options)  # type: ignore[arg-type]  # the point of the test
    assert ParquetSink("out", schema=pa.schema([("a", pa.int8())])).target == "parquet:out"
