"""agora with plain functions over records. The parts come from their packages when they are used, so that a task
imports what it needs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio

from agora import Pipeline, sinks, sources, state
from benchmarks.contenders.five import FIVE, one
from benchmarks.contenders.harness import clock, load, save
from benchmarks.contenders.orders import FLIGHT_NUMBERS, add_euros, add_gain, is_large, is_late, whole_or_na

Step = Callable[[Any], Any]


def csv_to_jsonl(source: Path, target: Path, *, every: int | None = None, letters: bool = False) -> None:
    """With `every`, checkpoints; with `letters`, rows that can't be read become dead letters."""
    orders = Pipeline(
        sources.CsvSource(source, types={"amount": float}),
        name="orders",
        on_error=("dead_letter" if every else "skip") if letters else None,
    )
    _run(
        orders,
        (is_large, add_euros),
        sinks.JsonLinesSink(target, if_exists="replace"),
        _checkpoints(target, every, letters),
    )


def jsonl_to_parquet(source: Path, target: Path) -> None:
    orders = Pipeline(sources.JsonLinesSource(source), name="orders")
    _run(orders, (is_large, add_euros), sinks.ParquetSink(target, if_exists="replace"))


def parquet_to_parquet(source: Path, target: Path) -> None:
    orders = Pipeline(sources.ParquetSource(source), name="orders")
    _run(orders, (is_large, add_euros), sinks.ParquetSink(target, if_exists="replace"))


def flights(source: Path, target: Path) -> None:
    departures = Pipeline(
        sources.CsvSource(source, types=dict.fromkeys(FLIGHT_NUMBERS, whole_or_na)), name="flights"
    )
    _run(departures, (is_late, add_gain), sinks.JsonLinesSink(target, if_exists="replace"))


def five_maps(source: Path, target: Path) -> None:
    numbers = load(source)
    sink = sinks.MemorySink()
    with clock():
        pipeline = Pipeline(sources.IterableSource(numbers), name="maps")
        for step in FIVE:
            pipeline = pipeline.map(step)
        trio.run(pipeline.to(sink).build().run)
    save(target, sink.records)


def waits(source: Path, target: Path, *, concurrency: int) -> None:
    seconds: Sequence[float] = load(source)

    async def fetch(number: int) -> int:
        await trio.sleep(seconds[number])
        return number

    sink = sinks.MemorySink()
    with clock():
        pipeline = Pipeline(sources.IterableSource(range(len(seconds))), name="waits")
        trio.run(pipeline.map(fetch, concurrency=concurrency).to(sink).build().run)
    save(target, sink.records)


def at_rest(source: Path, target: Path) -> None:
    """Ten records of a channel, then a wait for an eleventh that doesn't come."""
    del source  # it makes its own
    sink = sinks.MemorySink()

    async def main() -> None:
        send, receive = trio.open_memory_channel[int](0)
        pipeline = Pipeline(sources.IterableSource(receive), name="rest").map(one).to(sink)
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(pipeline.build().run)
            for number in range(10):
                await send.send(number)
            with trio.move_on_after(0.5):
                await trio.sleep_forever()
            handle.stop()
            await send.aclose()

    trio.run(main)
    save(target, sink.records)


def _checkpoints(target: Path, every: int | None, letters: bool) -> dict[str, Any]:
    if every is None:
        return {}
    backend = state.SQLiteBackend(target.with_suffix(".db"))
    options: dict[str, Any] = {"checkpoint_store": state.CheckpointStore(backend), "checkpoint_every": every}
    return options | ({"dlq": state.StateDLQSink(backend)} if letters else {})


def _run(
    pipeline: Pipeline, steps: tuple[Step, Step], sink: Any, options: dict[str, Any] | None = None
) -> None:
    keep, change = steps
    trio.run(pipeline.filter(keep).map(change).to(sink).build(**(options or {})).run)
