"""What a sink may be made of, and what it may do with what it is given."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from support import ListSink, Records

from agora import Pipeline
from agora.sources import IterableSource
from agora.state import CheckpointStore, MemoryBackend


def records(*values: Any) -> Any:
    return Pipeline(IterableSource(values), name="p")


class PlainRecords:
    def __init__(self) -> None:
        self.got: list[Any] = []

    def write_record(self, record: Any) -> int:
        self.got.append(record)
        return len(self.got)


class Plain:
    def __init__(self) -> None:
        self.got: list[Any] = []
        self.calls: list[str] = []

    def write(self, records: Sequence[Any]) -> None:
        self.got.extend(records)

    def flush(self) -> None:
        self.calls.append("flush")


class PlainTransaction(Plain):
    def prepare(self) -> str:
        self.calls.append("prepare")
        return "token"

    def commit(self, token: str) -> None:
        self.calls.append(f"commit {token}")

    def recover(self, token: str | None) -> None:
        self.calls.append("recover")


@pytest.mark.parametrize("made", [PlainRecords, Plain])
async def test_a_plain_sink_is_a_sink(made: Callable[[], Any]) -> None:
    sink, letters = made(), ListSink()
    await records(1, 2).to(sink).build(dlq=letters, batch_size=1).run()
    assert (sink.got, letters.records) == ([1, 2], [])


async def test_a_plain_flush_is_called_at_a_checkpoint() -> None:
    sink = Plain()
    await (
        Pipeline(Records(2), name="p").to(sink).build(checkpoint_store=CheckpointStore(MemoryBackend())).run()
    )
    assert sink.calls == ["flush"]


async def test_a_plain_transaction_is_carried_out() -> None:
    sink = PlainTransaction()
    await (
        Pipeline(Records(2), name="p").to(sink).build(checkpoint_store=CheckpointStore(MemoryBackend())).run()
    )
    assert sink.calls[-2:] == ["prepare", "commit token"]


class Emptying:
    """Takes its list apart, then says that it accepted nothing."""

    atomic_write = True

    def __init__(self, bad: Any = None) -> None:
        self.got: list[Any] = []
        self.bad = bad

    async def write(self, records: list[Any]) -> None:
        taken = []
        while records:
            taken.append(records.pop(0))
        if self.bad in taken:
            raise ValueError(self.bad)
        self.got += taken


async def test_a_sink_that_takes_its_list_apart_takes_nothing_from_others() -> None:
    first, second = Emptying(), ListSink()
    summary = await records(1, 2, 3).to(first).to(second).build().run()
    assert (first.got, second.records, summary.written) == ([1, 2, 3], [1, 2, 3], 3)


async def test_the_culprit_is_found_in_a_list_that_was_taken_apart() -> None:
    sink, letters = Emptying(bad=2), ListSink()
    await records(1, 2, 3).to(sink).build(dlq=letters).run()
    assert sink.got == [1, 3]
    assert [letter.original for letter in letters.records] == [2]


async def in_a_nursery(record: Any) -> Any:
    async def child() -> None:
        if record == 2:
            raise ValueError(record)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
    return record


class Nursery:
    async def write_record(self, record: Any) -> None:
        await in_a_nursery(record)


class NurseryBatches:
    atomic_write = True

    async def write(self, records: Sequence[Any]) -> None:
        for record in records:
            await in_a_nursery(record)


class NurserySteps:
    async def process_batch(self, records: Sequence[Any]) -> list[Any]:
        return [await in_a_nursery(record) for record in records]


def grouped(record: Any) -> bool:
    if record == 2:
        raise ExceptionGroup("a group", [ExceptionGroup("of one", [ValueError(record)])])
    return True


SHAPES = {
    "map": lambda: records(1, 2, 3).map(in_a_nursery).to(ListSink()),
    "buffered map": lambda: records(1, 2, 3).map(in_a_nursery, concurrency=2).to(ListSink()),
    "batches": lambda: records(1, 2, 3).pipe(NurserySteps()).to(ListSink()),
    "write_record": lambda: records(1, 2, 3).to(Nursery()),
    "write": lambda: records(1, 2, 3).to(NurseryBatches()),
    "where": lambda: records(1, 2, 3).to(ListSink(), where=grouped),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_group_of_one_is_its_one_error(shape: str) -> None:
    letters = ListSink()
    summary = await SHAPES[shape]().build(dlq=letters).run()
    assert [(letter.error_type, letter.error_message) for letter in letters.records] == [("ValueError", "2")]
    assert summary.written == 2
