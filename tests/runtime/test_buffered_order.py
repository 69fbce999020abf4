"""Of what fails at once in a buffered stage, what stands first ends the run."""

from typing import Any

import pytest
import trio
from support import ListSink, Records, run_virtual

from agora import Pipeline


def test_of_two_concurrent_failures_under_stop_the_one_that_stands_first_ends_the_run() -> None:
    """The later record fails while what stands before the earlier one is still worked on."""
    ends = {0: 3.0, 1: 0.0, 2: 1.0, 3: 2.0}

    async def step(record: Any) -> Any:
        await trio.sleep(ends[record["id"]])
        if record["id"] >= 2:
            raise ValueError(record["id"])
        return record

    sink = ListSink()
    pipeline = Pipeline(Records(4), name="p").map(step, concurrency=4, on_error="stop").to(sink)
    with pytest.raises(ValueError, match="2"):
        run_virtual(pipeline.build(batch_size=1).run)
    assert [record["id"] for record in sink.records] == [0, 1]
