"""Buffered stages: many records that wait at once, against a bare pool of trio tasks and aiometer."""

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import aiometer
import trio

from agora import Pipeline
from agora.sinks import MemorySink
from agora.sources import IterableSource
from benchmarks.rounds import Comparison, Contestant, interleaved

__all__ = ["buffered"]

MEAN_WAIT = 0.01
"""Seconds that a record waits."""
SEED = 13

Fetch = Callable[[int], Awaitable[int]]


def buffered(*, full: bool, rounds: int) -> list[Comparison]:
    """10,000 records that wait 10 ms each, at 100 and at 1,000 at once."""
    records = 10_000 if full else 5_000
    comparisons = []
    for concurrency in (100, 1_000):
        contestants = _contestants(records, concurrency, _steady, aiometer_too=True)
        comparisons += interleaved(
            f"wait {concurrency}", contestants, rounds=rounds, targets={"pool": 1.15, "aiometer": 1.0}
        )
    contestants = _contestants(records, 100, _exponential(records), aiometer_too=False)
    return [*comparisons, *interleaved("exponential 100", contestants, rounds=rounds, targets={"pool": 1.2})]


async def _steady(number: int) -> int:
    await trio.sleep(MEAN_WAIT)
    return number


def _exponential(records: int) -> Fetch:
    chance = random.Random(SEED)
    waits = [chance.expovariate(1 / MEAN_WAIT) for _ in range(records)]

    async def fetch(number: int) -> int:
        await trio.sleep(waits[number])
        return number

    return fetch


def _contestants(
    records: int, concurrency: int, fetch: Fetch, *, aiometer_too: bool
) -> dict[str, Contestant]:
    numbers = range(records)
    found: dict[str, Contestant] = {
        "agora": partial(trio.run, _agora, fetch, numbers, concurrency),
        "pool": lambda: sorted(trio.run(_pool, fetch, numbers, concurrency)),
    }
    if aiometer_too:
        found["aiometer"] = lambda: sorted(trio.run(_aiometer, fetch, numbers, concurrency))
    return found


async def _agora(fetch: Fetch, numbers: Sequence[int], concurrency: int) -> list[int]:
    sink = MemorySink()
    pipeline = Pipeline(IterableSource(numbers), name="buffered").map(fetch, concurrency=concurrency)
    await pipeline.to(sink).build().run()
    return sink.records


async def _pool(fetch: Fetch, numbers: Iterable[int], concurrency: int) -> list[int]:
    """The least that does it: tasks that draw from one iterator, results as they come."""
    results: list[int] = []
    waiting = iter(numbers)

    async def work() -> None:
        for number in waiting:
            results.append(await fetch(number))  # noqa: PERF401  - many tasks fill one list

    async with trio.open_nursery() as nursery:
        for _ in range(concurrency):
            nursery.start_soon(work)
    return results


async def _aiometer(fetch: Fetch, numbers: Sequence[int], concurrency: int) -> list[int]:
    async with aiometer.amap(fetch, numbers, max_at_once=concurrency) as results:
        return [result async for result in results]
