"""Records that come one by one are worked on at once, as many as the step may."""

from typing import Any

import trio
from support import ListSink, Records, run_virtual

from agora import Pipeline


def test_records_that_come_one_by_one_are_begun_as_they_come() -> None:
    began: list[float] = []

    async def step(record: Any) -> Any:
        began.append(trio.current_time() - start)
        await trio.sleep(10)
        return record

    async def main() -> None:
        nonlocal start
        start = trio.current_time()
        pipeline = Pipeline(Records(5, delay=lambda number: 1.0), name="p").map(step, concurrency=4)
        await pipeline.to(ListSink()).build(batch_size=1, linger=0).run()

    start = 0.0
    run_virtual(main)
    assert began == [1, 2, 3, 4, 11]
