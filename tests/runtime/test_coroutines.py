"""A plain function that gives a coroutine is an async step, whatever hides it from a look at the function."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import trio
from support import ListSink, Records, run_virtual

from agora import ConfigError, Pipeline
from agora.sinks import MemorySink


def number(record: Any) -> Any:
    return record["id"]


async def tenfold(record: int) -> int:
    await trio.lowlevel.checkpoint()
    return record * 10


async def odd(record: int) -> bool:
    await trio.lowlevel.checkpoint()
    return record % 2 == 1


async def twice(record: int) -> list[int]:
    await trio.lowlevel.checkpoint()
    return [record, record]


def hiding(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(fn)
    def wrapper(record: Any) -> Any:
        return fn(record)

    return wrapper


def sometimes(record: int) -> Any:
    """A coroutine only for some records, and not the first."""
    return tenfold(record) if record > 1 else record * 10


class Batches:
    def process_batch(self, records: Any) -> Any:
        async def later() -> Any:
            await trio.lowlevel.checkpoint()
            return [record * 10 for record in records]

        return later()


CASES: list[tuple[Callable[[Any], Any], list[int]]] = [
    (lambda pipeline: pipeline.map(hiding(tenfold)), [0, 10, 20, 30]),
    (lambda pipeline: pipeline.map(sometimes), [0, 10, 20, 30]),
    (lambda pipeline: pipeline.map(sometimes, on_error="pass"), [0, 10, 20, 30]),
    (lambda pipeline: pipeline.map(sometimes).map(hiding(tenfold)), [0, 100, 200, 300]),
    (lambda pipeline: pipeline.map(tenfold).map(sometimes), [0, 100, 200, 300]),
    (lambda pipeline: pipeline.map(sometimes, concurrency=2), [0, 10, 20, 30]),
    (lambda pipeline: pipeline.filter(hiding(odd)), [1, 3]),
    (lambda pipeline: pipeline.filter(hiding(odd), concurrency=2), [1, 3]),
    (lambda pipeline: pipeline.flat_map(hiding(twice)), [0, 0, 1, 1, 2, 2, 3, 3]),
    (lambda pipeline: pipeline.flat_map(hiding(twice), concurrency=2), [0, 0, 1, 1, 2, 2, 3, 3]),
    (lambda pipeline: pipeline.flat_map(twice).map(sometimes), [0, 0, 10, 10, 20, 20, 30, 30]),
    (lambda pipeline: pipeline.pipe(Batches()), [0, 10, 20, 30]),
]


@pytest.mark.parametrize(("add", "gives"), CASES)
def test_a_coroutine_never_becomes_the_record(add: Callable[[Any], Any], gives: list[int]) -> None:
    async def main() -> None:
        sink = ListSink()
        bound = add(Pipeline(Records(4), name="p").map(number)).to(sink).build(batch_size=3)
        await bound.run()
        assert sink.records == gives
        folded: list[int] = []
        for each in range(4):
            result = await bound.chain.process({"id": each})
            folded += result if isinstance(result, list) else [] if result is None else [result]
        assert folded == gives

    run_virtual(main)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_what_such_a_coroutine_raises_is_its_records_failure(concurrency: int) -> None:
    async def fails(record: int) -> int:
        await trio.lowlevel.checkpoint()
        raise ValueError(record)

    def step(record: int) -> Any:
        return fails(record) if record == 2 else record

    async def main() -> None:
        sink, dlq = ListSink(), MemorySink()
        pipeline = Pipeline(Records(4), name="p").map(number).map(step, concurrency=concurrency, name="step")
        await pipeline.to(sink).build(dlq=dlq).run()
        assert sink.records == [0, 1, 3]
        [letter] = dlq.records
        assert (letter.stage, letter.original, letter.error_type) == (
            "middleware:step",
            {"id": 2},
            "ValueError",
        )

    run_virtual(main)


def test_a_where_that_gives_a_coroutine_ends_the_run_and_is_no_records_failure() -> None:
    async def main() -> None:
        dlq = MemorySink()
        bound = Pipeline(Records(4), name="p").to(ListSink(), where=hiding(odd), name="out").build(dlq=dlq)
        with pytest.raises(ConfigError, match=r"where of sink:out gave a coroutine"):
            await bound.run()
        assert dlq.records == []

    run_virtual(main)
