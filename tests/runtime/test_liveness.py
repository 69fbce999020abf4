"""No combination of limits, sizes and steps waits for itself."""

import itertools
import os
import random
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from support import CountingStore, ListSink, Records, run_virtual

from agora import Backpressure, Pipeline

SIZES = (1, 2, 3, 7, 64, 300)
AXES: Sequence[Sequence[Any]] = (
    SIZES,  # in-flight limit
    SIZES,  # batch size
    (*SIZES, None),  # checkpoint_every
    SIZES,  # concurrency
    ("plain", "multiplying", "dropping", "finishing"),
    (None, 1, 5, 100),  # block of the source
)
COUNT = 67


def pairwise(axes: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """A small set of combinations in which every two values of two axes meet."""
    chosen: list[tuple[Any, ...]] = []
    draw = random.Random(11)
    open_pairs = {
        (one, a, two, b)
        for one, two in itertools.combinations(range(len(axes)), 2)
        for a in axes[one]
        for b in axes[two]
    }
    while open_pairs:
        candidates = [tuple(draw.choice(axis) for axis in axes) for _ in range(40)]

        def met(combination: tuple[Any, ...]) -> set[Any]:
            return {
                (one, combination[one], two, combination[two])
                for one, two in itertools.combinations(range(len(axes)), 2)
            }

        best = max(candidates, key=lambda each: len(met(each) & open_pairs))
        if met(best) & open_pairs:
            chosen.append(best)
            open_pairs -= met(best)
    return chosen


def whole_grid() -> list[tuple[Any, ...]]:
    return list(itertools.product(*AXES))


class Held:
    def __init__(self) -> None:
        self.held: list[Any] = []

    def process(self, record: Any) -> None:
        self.held.append(record)

    def finish(self) -> list[Any]:
        return self.held


def step(pipeline: Any, what: str) -> tuple[Any, int]:
    if what == "multiplying":
        return pipeline.flat_map(lambda record: [record] * 5), 5 * COUNT
    if what == "dropping":
        return pipeline.filter(lambda record: False), 0
    if what == "finishing":
        return pipeline.pipe(Held()), COUNT
    return pipeline.map(lambda record: record), COUNT


async def ends(combination: tuple[Any, ...]) -> None:
    limit, batch_size, every, concurrency, what, block = combination

    async def slow(record: Any) -> Any:
        await trio.sleep(0.01)
        return record

    store = None if every is None else CountingStore()
    sink = ListSink()
    pipeline: Any = Pipeline(Records(COUNT, block=block), name="p").map(slow, concurrency=concurrency)
    pipeline, written = step(pipeline, what)
    bound = (
        pipeline.map(slow, concurrency=concurrency)
        .to(sink)
        .build(
            checkpoint_store=store,
            checkpoint_every=every,
            batch_size=batch_size,
            backpressure=Backpressure.fixed(limit),
        )
    )
    summary = await bound.run()
    assert (summary.read, summary.written, len(sink.records)) == (COUNT, written, written)
    assert summary.peak_in_flight <= limit


GRID = whole_grid() if os.environ.get("AGORA_WHOLE_GRID") else pairwise(AXES)


@pytest.mark.parametrize("part", range(4))
def test_every_combination_of_limits_and_steps_ends(part: int) -> None:
    """`AGORA_WHOLE_GRID=1` for all of them, not only all pairs."""
    for combination in GRID[part::4]:
        try:
            run_virtual(ends, combination, limit=10_000)
        except BaseException as error:
            error.add_note(f"limit, batch_size, every, concurrency, step, block = {combination}")
            raise
