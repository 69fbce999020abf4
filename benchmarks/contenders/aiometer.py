"""aiometer: bounded concurrency over an async function, results as they come."""

from pathlib import Path

import aiometer
import trio

from benchmarks.contenders.harness import clock, load, save


def waits(source: Path, target: Path, *, concurrency: int) -> None:
    seconds = load(source)

    async def fetch(number: int) -> int:
        await trio.sleep(seconds[number])
        return number

    async def main() -> list[int]:
        async with aiometer.amap(fetch, range(len(seconds)), max_at_once=concurrency) as results:
            return [result async for result in results]

    with clock():
        results = trio.run(main)
    save(target, sorted(results))
