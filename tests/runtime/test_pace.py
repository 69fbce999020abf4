"""The loop gets its turn while synchronous parts of a pipeline work, and isn't woken while nothing does.

On the real clock, with a ticker of the caller's own: the promise is 50 ms, what is asked here leaves room for a noisy
machine.
"""

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

import pytest
import trio
import trio.testing
from support import ListSink

from agora import Pipeline
from agora.sources import IterableSource

COUNT = 350
STEP = 0.001
MOST = 0.16
"""Seconds; a pipeline that never gives way takes `COUNT * STEP` and more."""


def longest_gap(bound: Any) -> float:
    gaps: list[float] = []

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await trio.sleep(0.005)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            await bound.run()
            nursery.cancel_scope.cancel()

    trio.run(main)
    return max(gaps)


def slow(record: Any) -> Any:
    time.sleep(STEP)
    return record


def dropping(record: Any) -> None:
    time.sleep(STEP)


def failing(record: Any) -> None:
    time.sleep(STEP)
    raise ValueError(record)


async def cached(record: Any) -> Any:
    """Looks up one record, and has the others at hand."""
    if record == 0:
        await trio.sleep(0.1)
    return slow(record)


def barren(record: Any) -> Iterator[None]:
    for _ in range(COUNT // 2):
        time.sleep(STEP)
        yield None


class Held:
    """Gives everything at the end, none of it quickly."""

    def finish(self) -> Iterator[Any]:
        for number in range(COUNT):
            yield slow(number)


class HeldRows(Held):
    def process(self, record: Any) -> None:
        return None


class HeldBatches(Held):
    def process_batch(self, records: Sequence[Any]) -> list[Any]:
        return [None] * len(records)


class FailingBatches:
    """Each batch fails, down to the single record."""

    def process_batch(self, records: Sequence[Any]) -> list[Any]:
        failing(records)
        return []


class WatchedFailures:
    def process_batch(self, records: Sequence[Any]) -> list[Any]:
        raise ValueError(records)

    def on_error(self, record: Any, error: Exception) -> None:
        time.sleep(STEP)


class FailingWrites:
    atomic_write = True

    async def write(self, records: Sequence[Any]) -> None:
        failing(records)


class WaitsOnce:
    async def stream(self) -> AsyncGenerator[Any]:
        await trio.sleep(0.1)
        for number in range(COUNT):
            yield slow(number)


def numbers() -> Any:
    return Pipeline(IterableSource(range(COUNT)), name="p")


SHAPES: dict[str, Callable[[], Any]] = {
    "map": lambda: numbers().map(slow).to(ListSink()),
    "dropping filter": lambda: numbers().filter(dropping).to(ListSink()),
    "failing map": lambda: numbers().map(failing, on_error="skip").to(ListSink()),
    "dropping flat_map": lambda: Pipeline(IterableSource(range(2)), name="p").flat_map(barren).to(ListSink()),
    "buffered dropping flat_map": lambda: (
        Pipeline(IterableSource(range(4)), name="p").flat_map(barren, concurrency=4).to(ListSink())
    ),
    "async step with a cache": lambda: numbers().map(cached).to(ListSink()),
    "buffered step with a cache": lambda: numbers().map(cached, concurrency=4).to(ListSink()),
    "async sink with a cache": lambda: numbers().to(cached),
    "source that waits once": lambda: Pipeline(WaitsOnce(), name="p").to(ListSink()),
    "where": lambda: numbers().to(ListSink(), where=slow),
    "dropping where": lambda: numbers().to(ListSink(), where=dropping),
    "failing sink": lambda: numbers().to(failing, on_error="skip"),
    "failing writes": lambda: numbers().to(FailingWrites(), on_error="skip"),
    "failing batches": lambda: numbers().pipe(FailingBatches(), on_error="skip").to(ListSink()),
    "watched failures": lambda: numbers().pipe(WatchedFailures(), on_error="skip").to(ListSink()),
    "finish of rows": lambda: Pipeline(IterableSource(range(2)), name="p").pipe(HeldRows()).to(ListSink()),
    "finish of batches": lambda: (
        Pipeline(IterableSource(range(2)), name="p").pipe(HeldBatches()).to(ListSink())
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loop_gets_its_turn_whatever_the_work(shape: str) -> None:
    # On a machine that is busy with other things a gap may be theirs; it isn't in each of three runs.
    gaps = (longest_gap(SHAPES[shape]().build(batch_size=512)) for _ in range(3))
    assert any(gap < MOST for gap in gaps)


class Turns(trio.abc.Instrument):
    count = 0

    def after_io_wait(self, timeout: float) -> None:
        self.count += 1


class Silent:
    def __init__(self) -> None:
        self.waits = trio.Event()

    async def stream(self) -> AsyncGenerator[int]:
        yield 1
        self.waits.set()
        await trio.sleep_forever()


async def test_a_run_that_waits_does_not_wake_the_loop() -> None:
    source, turns = Silent(), Turns()
    async with trio.open_nursery() as nursery:
        handle = await nursery.start(Pipeline(source, name="p").to(ListSink()).build(linger=0).run)
        await source.waits.wait()
        await trio.testing.wait_all_tasks_blocked(0.05)
        trio.lowlevel.add_instrument(turns)
        await trio.sleep(0.3)
        trio.lowlevel.remove_instrument(turns)
        assert turns.count <= 2
        handle.stop()


async def test_a_sink_that_waits_does_not_wake_the_loop() -> None:
    turns, writes, goes_on = Turns(), trio.Event(), trio.Event()

    async def write(record: int) -> None:
        writes.set()
        await goes_on.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Pipeline(IterableSource([1]), name="p").to(write).build().run)
        await writes.wait()
        await trio.testing.wait_all_tasks_blocked(0.05)
        trio.lowlevel.add_instrument(turns)
        await trio.sleep(0.3)
        trio.lowlevel.remove_instrument(turns)
        assert turns.count <= 2
        goes_on.set()
