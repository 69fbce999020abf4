"""A source's RecordBatches as blocks by themselves (`agora.runtime.recordbatches`)."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pyarrow as pa
import pytest

from agora.runtime.recordbatches import batch_blocks, gives_batches
from agora.sources.base import Block


class Streaming:
    async def stream(self) -> AsyncGenerator[Any]:
        return
        yield


class Batches:
    """Of three rows, none, and one; its position is the number of rows that it has given."""

    at = 0

    async def batches(self) -> AsyncGenerator[pa.RecordBatch]:
        for rows in ([0, 1, 2], [], [3]):
            self.at += len(rows)
            yield pa.RecordBatch.from_arrays([pa.array(rows, pa.int64())], names=["id"])


class Resumable(Batches):
    supports_checkpoint = True

    def checkpoint(self) -> int:
        return self.at


class Both(Streaming, Batches):
    pass


@pytest.mark.parametrize(
    ("source", "wanted", "gives"),
    [
        (Streaming(), True, False),
        (Batches(), True, True),
        (Batches(), False, True),
        (Both(), True, True),
        (Both(), False, False),
    ],
)
def test_batches_are_asked_for_where_they_are_wanted_or_all_that_there_is(
    source: Any, wanted: bool, gives: bool
) -> None:
    assert gives_batches(source, wanted=wanted) == gives


async def blocks_of(source: Any) -> list[Block]:
    async with aclosing(batch_blocks(source)) as blocks:
        return [block async for block in blocks]


@pytest.mark.parametrize("kind", [Batches, Resumable])
async def test_each_batch_with_rows_is_a_block_that_tells_its_records(kind: Any) -> None:
    first, second = await blocks_of(kind())
    assert list(first.rows) == [{"id": 0}, {"id": 1}, {"id": 2}]
    assert list(second.rows) == [{"id": 3}]
    for block in (first, second):
        assert block.original is not None
        assert block.original(0) == block.rows[0]


async def test_a_place_is_the_batch_before_it_and_what_is_to_be_passed_over_behind_that() -> None:
    first, second = await blocks_of(Resumable())
    assert first.position is not None
    assert second.position is not None
    assert [(first.position(n), first.skip(n)) for n in range(4)] == [(0, 0), (0, 1), (0, 2), (3, 0)]
    assert [(second.position(n), second.skip(n)) for n in range(2)] == [(3, 0), (4, 0)]


async def test_a_source_that_does_not_resume_has_no_places() -> None:
    assert [block.position for block in await blocks_of(Batches())] == [None, None]
