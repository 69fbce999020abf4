"""Parquet without checkpoints: row groups as the rows come, and nothing of them unless all is there."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agora.errors import AgoraError
from agora.sinks import ParquetSink, partfile, straightparts

RECORDS = [{"n": n, "text": "x" * (n % 3)} for n in range(40)]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (partfile, straightparts):
        monkeypatch.setattr(module, "GROUP_ROWS", 8)


async def write_all(sink: ParquetSink, context: Any, *, at_once: int, columns: bool = False) -> None:
    await sink.open(context)
    try:
        for start in range(0, len(RECORDS), at_once):
            some = RECORDS[start : start + at_once]
            if columns:
                await sink.write_columns(pa.RecordBatch.from_pylist(some))
            else:
                await sink.write(some)
        await sink.finish()
        await sink.publish()
    finally:
        await sink.close()


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("at_once", [1, 3, 8, 13, 40])
@pytest.mark.parametrize(("name", "part_rows"), [("out.parquet", 1), ("out", 1), ("out", 15), ("out", 1_000)])
async def test_parts_and_row_groups_are_of_a_useful_size(
    name: str, part_rows: int, at_once: int, columns: bool, tmp_path: Path, context: Any
) -> None:
    path = tmp_path / name
    await write_all(ParquetSink(path, part_rows=part_rows), context(), at_once=at_once, columns=columns)
    assert os.listdir(tmp_path) == [name]
    files = [path] if path.is_file() else sorted(path.iterdir())
    parts = [pq.ParquetFile(file) for file in files]
    assert [row for part in parts for row in part.read().to_pylist()] == RECORDS
    if path.is_file():
        assert len(parts) == 1
    else:
        assert all(part.metadata.num_rows >= part_rows for part in parts[:-1])
    groups = [
        part.metadata.row_group(group).num_rows for part in parts for group in range(part.num_row_groups)
    ]
    assert max(groups) < 2 * 8
    assert all(rows >= 8 for rows in groups[:-1])


@pytest.mark.parametrize("name", ["out", "out.parquet"])
async def test_a_failure_of_any_file_operation_leaves_the_target_as_it_was(
    name: str, tmp_path: Path, context: Any, machine: Any
) -> None:
    for number in range(1, 200):
        folder = tmp_path / str(number)
        folder.mkdir()
        with machine.watching(machine.fail_at(number)):
            try:
                await write_all(ParquetSink(folder / name, part_rows=15), context(), at_once=5)
            except OSError as error:
                assert error.errno == 28
                assert os.listdir(folder) in ([], [name])
                if os.listdir(folder) == []:
                    continue
        read = pq.read_table(folder / name).to_pylist()
        assert read == RECORDS
        if number > 20:
            return
    pytest.fail("the run never got through")


async def test_what_parquet_can_not_hold_ends_the_run(tmp_path: Path, context: Any) -> None:
    """It is found when a group is written, far behind its record, so no record can be blamed."""
    sink = ParquetSink(tmp_path / "out")
    await sink.open(context())
    months = pa.array([pa.scalar((1, 2, 3), pa.month_day_nano_interval())] * 10)
    await sink.write_columns(pa.RecordBatch.from_arrays([months], names=["a"]))
    with pytest.raises(AgoraError, match="can't be written as Parquet"):
        await sink.publish()
    await sink.close()
    assert os.listdir(tmp_path) == []


def encodings(path: Path) -> dict[str, bool]:
    """Of each column whether it has a dictionary."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    return {
        group.column(at).path_in_schema: group.column(at).has_dictionary_page
        for at in range(group.num_columns)
    }


@pytest.mark.parametrize("rows", [10, 30])
async def test_a_column_whose_first_values_all_differ_has_no_dictionary(
    rows: int, tmp_path: Path, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partfile, "_LOOKED_AT", 20)
    sink = ParquetSink(tmp_path / "out.parquet")
    await sink.open(context())
    data = {"id": list(range(rows)), "kind": ["a", "b"] * (rows // 2), "none": [None] * rows}
    await sink.write_columns(pa.RecordBatch.from_pydict(data))
    await sink.publish()
    await sink.close()
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == data
    assert encodings(tmp_path / "out.parquet") == {"id": rows < 20, "kind": True, "none": True}


async def test_nested_columns_keep_their_dictionaries(
    tmp_path: Path, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partfile, "_LOOKED_AT", 20)
    sink = ParquetSink(tmp_path / "out.parquet")
    await sink.open(context())
    await sink.write([{"id": n, "tags": ["a", "b"]} for n in range(30)])
    await sink.publish()
    await sink.close()
    assert encodings(tmp_path / "out.parquet") == {"id": True, "tags.list.element": True}
