"""Blocks of text files are taken apart into batches without a small remainder."""

from pathlib import Path
from typing import Any

import pytest
import trio

from agora.sources import CsvSource, Demand, JsonLinesSource


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
