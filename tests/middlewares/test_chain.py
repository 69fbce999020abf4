"""`MiddlewareChain`: the semantics that the engine is held to, and that the engine gives."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from model import StepModel, chains, make
from properties import examples
from support import ListSink, Records, run_virtual

from agora import MiddlewareChain, Pipeline, middleware
from agora.sinks import MemorySink


async def test_a_record_passes_the_steps_in_order() -> None:
    async def later(record: int) -> int:
        await trio.lowlevel.checkpoint()
        return record * 10

    chain = MiddlewareChain([lambda record: record + 1, later, middleware(lambda record: record - 1)])
    assert len(chain) == 3
    assert await chain.process(4) == 49
    assert await chain.process_range(1, 2, 4) == 40
    assert await chain.process_range(0, 0, 4) == 4


async def test_none_drops_and_no_later_step_sees_it() -> None:
    seen: list[int] = []
    chain = MiddlewareChain([lambda record: record if record % 2 else None, seen.append])
    assert await chain.process(2) is None
    assert seen == []


class Split:
    def expand(self, record: Any) -> list[Any]:
        return [record] * record


async def test_a_chain_that_multiplies_gives_a_list() -> None:
    chain = MiddlewareChain([Split(), lambda record: record + 1])
    assert await chain.process(3) == [4, 4, 4]
    assert await chain.process(1) == [2]
    assert await chain.process(0) == []
    assert await chain.process_range(1, 2, 3) == 4


class Lazily:
    async def expand(self, record: Any) -> AsyncIterator[Any]:
        for number in range(record):
            yield number
            yield None


async def test_an_async_generator_multiplies() -> None:
    assert await MiddlewareChain([Lazily()]).process(3) == [0, 1, 2]


class Batch:
    def process_batch(self, records: Any) -> Any:
        return [ValueError("odd") if record % 2 else record for record in records]


async def test_an_exception_in_the_results_of_a_batch_is_raised() -> None:
    chain = MiddlewareChain([Batch()])
    assert await chain.process(4) == 4
    with pytest.raises(ValueError, match="odd"):
        await chain.process(3)


async def test_under_pass_a_record_goes_on_as_it_entered_the_step() -> None:
    def spoil(record: Any) -> Any:
        record["spoiled"] = True
        raise ValueError

    chain = Pipeline(Records(1), name="p").map(spoil, on_error="pass").build().chain
    assert await chain.process({"id": 1}) == {"id": 1}


SIMPLE = ("map", "filter", "list", "batch", "count")


async def fold(count: int, steps: list[StepModel], how: dict[str, Any]) -> None:
    def build() -> Any:
        pipeline: Any = Pipeline(Records(count, make, block=how["block"]), name="p")
        for step in steps:
            pipeline = step.add_to(pipeline)
        return pipeline

    reference = build().build(dlq=MemorySink()).chain
    out: list[Any] = []
    failed: list[tuple[int, str]] = []
    for number in range(count):
        try:
            result = await reference.process(make(number))
        except ValueError as error:
            failed.append((number, str(error)))
            continue
        out += result if isinstance(result, list) else [] if result is None else [result]
    sink, dlq = ListSink(), MemorySink()
    summary = await build().to(sink).build(dlq=dlq, batch_size=how["size"], linger=how["linger"]).run()
    assert sink.records == out
    assert [(each.checkpoint["ordinal"], each.error_message) for each in dlq.records] == failed
    assert summary.dead_lettered == len(failed)


@settings(max_examples=examples(60, 1500), deadline=None)
@given(
    data=st.data(),
    count=st.integers(0, 30),
    how=st.fixed_dictionaries(
        {
            "size": st.sampled_from([1, 2, 7, 64]),
            "linger": st.sampled_from([0, 0.1]),
            "block": st.sampled_from([None, 3, 100]),
        }
    ),
)
def test_a_run_equals_a_fold_of_process(data: st.DataObject, count: int, how: dict[str, Any]) -> None:
    """Where children can't fail: a failed child fails its whole record here, and only itself in a run."""
    steps = []
    for step in data.draw(chains(dlq=True, kinds=SIMPLE)):
        if step.policy in ("stop", "skip"):
            continue
        steps.append(step)
        if step.multiplies:
            break
    run_virtual(fold, count, steps, how)


async def test_a_batch_step_that_raises_has_its_state_from_before():
    class Summing:
        total = 0

        def process_batch(self, records):
            for record in records:
                self.total += record
                if record > 5:
                    raise ValueError("too much")
            return [self.total for _ in records]

        def snapshot(self):
            return self.total

        def restore(self, state):
            self.total = state

    chain = MiddlewareChain([Summing()])
    assert await chain.process(1) == 1
    with pytest.raises(ValueError, match="too much"):
        await chain.process(6)
    assert await chain.process(2) == 3  # as in the engine
