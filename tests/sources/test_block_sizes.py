"""Blocks of files are taken apart into batches without a small remainder."""

from contextlib import aclosing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trio

from agora.sources import CsvSource, Demand, JsonLinesSource, ParquetSource


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("batch", [512, 200])
def test_a_block_is_a_little_less_than_whole_batches(kind: str, batch: int, tmp_path: Path) -> None:
    path = tmp_path / "f"
    if kind == "csv":
        path.write_text("id,name\n" + "".join(f"{n:05},name {n % 90 + 10} of many\n" for n in range(20_000)))
    else:
        path.write_text("".join(f'{{"id": {n + 10_000}, "name": "{n % 90 + 10}"}}\n' for n in range(20_000)))
    source: Any = CsvSource(path) if kind == "csv" else JsonLinesSource(path)

    async def sizes() -> list[int]:
        return [len(block.rows) async for block in source.blocks(Demand(rows=batch, batch=batch))]

    found = trio.run(sizes)
    assert sum(found) == 20_000
    assert all(-size % batch <= 0.02 * size for size in found[1:-1])


def test_records_that_are_large_come_in_blocks_as_before(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("".join(f"{'x' * 10_000}\n" for _ in range(40)))
    source = CsvSource(path, header=False, columns=["x"])

    async def sizes() -> list[int]:
        return [len(block.rows) async for block in source.blocks(Demand(rows=512))]

    found = trio.run(sizes)
    assert sum(found) == 40
    assert max(found) <= 7


@pytest.mark.parametrize(
    ("columns", "batch", "rows"),
    [
        (False, 512, 4_096),
        (False, 1_000, 4_000),
        (False, 5_000, 4_096),  # taken together again
        (True, 512, 65_536),
        (True, 1_000, 65_000),
    ],
)
def test_a_block_of_parquet_is_whole_batches(columns: bool, batch: int, rows: int, tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": range(70_000)}), tmp_path / "x.parquet")

    async def first() -> int:
        demand = Demand(rows=batch, batch=batch, columns=columns)
        async with aclosing(ParquetSource(tmp_path / "x.parquet").blocks(demand)) as blocks:
            return len((await anext(blocks)).rows)

    assert trio.run(first) == rows
