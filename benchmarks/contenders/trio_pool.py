"""The least that does it: trio tasks that draw from one iterator; no order, no failures kept."""

from pathlib import Path

import trio

from benchmarks.contenders.harness import clock, load, save


def waits(source: Path, target: Path, *, concurrency: int) -> None:
    seconds = load(source)
    results: list[int] = []

    async def main() -> None:
        waiting = iter(range(len(seconds)))

        async def work() -> None:
            for number in waiting:
                await trio.sleep(seconds[number])
                results.append(number)

        async with trio.open_nursery() as nursery:
            for _ in range(concurrency):
                nursery.start_soon(work)

    with clock():
        trio.run(main)
    save(target, sorted(results))
