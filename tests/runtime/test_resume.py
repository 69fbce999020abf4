"""A stream run in pieces gives what it gives in one."""

from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from model import StepModel, by_key, chains, expected, letter_fields, make, one_sink
from properties import examples
from support import CountingStore, Records, run_virtual, stored_state

from agora import Checkpoint, Pipeline
from agora.middlewares.step import step_from
from agora.sinks import MemorySink
from agora.state import StateDLQSink

KINDS = ("map", "filter", "list", "lazy", "batch", "count", "countbatch")


def build(
    steps: list[StepModel], source: Records, sink: Any, store: CountingStore, every: int, size: int
) -> Any:
    pipeline: Any = Pipeline(source, name="p")
    for step in steps:
        pipeline = step.add_to(pipeline)
    return pipeline.to(sink, name="k0").build(
        checkpoint_store=store,
        checkpoint_every=every,
        dlq=StateDLQSink(store.state),
        batch_size=size,
        linger=0.05,
    )


async def in_pieces(
    count: int,
    steps: list[StepModel],
    pieces: list[tuple[str, int]],
    block: int | None,
    every: int,
    size: int,
) -> None:
    want = expected(count, steps, [one_sink()], dlq=True)
    store, sink = CountingStore(), MemorySink()
    await store.state.open()
    status, runs = "", 0
    while status != "completed":
        how, number = pieces[runs % len(pieces)] if runs < 12 else ("whole", 0)
        runs += 1
        source = Records(count, make, block=block, delay=lambda at: 0.1 * (at % 3))
        bound = build(steps, source, sink, store, every, size)  # with new parts, as a new process has
        with trio.CancelScope() as scope:
            if how == "max_records":
                status = (await bound.run(max_records=number)).status
            elif how == "cancelled":
                scope.deadline = trio.current_time() + number / 10
                status = (await bound.run()).status
            elif how == "source fails":
                source.fail_at = min(count, source.count) * number // 20
                try:
                    status = (await bound.run()).status
                except RuntimeError:
                    status = "failed"
            else:
                status = (await bound.run()).status
    letters = [letter async for letter in StateDLQSink(store.state).read("p")]
    await store.state.close()
    note(f"expected {want}, got {sink.records}, {letters}")
    assert sink.records == want.sinks["k0"]
    assert by_key(map(letter_fields, letters)) == by_key(want.letters)
    assert len({letter.id for letter in letters}) == len(letters)


@settings(max_examples=examples(80, 2000), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.data(),
    count=st.integers(0, 25),
    pieces=st.lists(
        st.tuples(st.sampled_from(["max_records", "cancelled", "source fails"]), st.integers(0, 20)),
        min_size=1,
        max_size=5,
    ),
    block=st.sampled_from([None, 1, 4, 100]),
    every=st.sampled_from([1, 2, 5, 100]),
    size=st.sampled_from([1, 3, 64]),
)
def test_pieces_give_what_the_whole_gives(
    data: st.DataObject,
    count: int,
    pieces: list[tuple[str, int]],
    block: int | None,
    every: int,
    size: int,
) -> None:
    steps = [step for step in data.draw(chains(dlq=True, kinds=KINDS)) if step.policy != "stop"]
    run_virtual(in_pieces, count, steps, pieces, block, every, size)


class Totals:
    """Keeps its state in `context.state`."""

    def on_start(self, context: Any) -> None:
        self.state = context.state

    def process(self, record: Any) -> Any:
        total = self.state["total"] = self.state.get("total", 0) + record["id"]
        return {"id": record["id"], "total": total}


class StateReadingStore(CountingStore):
    """Reads after each save what was saved of the step `totals`."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "totals", [])

    totals: list[int]

    async def save(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
        await super().save(pipeline, checkpoint, **more)
        self.totals.append((await stored_state(self, "totals"))["total"])


def test_context_state_is_cut_with_the_stream_and_comes_back() -> None:
    async def main() -> None:
        store, sink = StateReadingStore(), MemorySink()
        for number in (5, None):
            # the source is ahead of the writer: what is saved is the state where the cut passed
            bound = (
                Pipeline(Records(12, block=12), name="p").pipe(Totals(), name="totals").to(sink, name="out")
            )
            await bound.build(checkpoint_store=store, checkpoint_every=2, batch_size=2).run(
                max_records=number
            )
        assert [record["total"] for record in sink.records] == [sum(range(n + 1)) for n in range(12)]
        assert store.totals == [sum(range(each.ordinal)) for each in store.saved]

    run_virtual(main)


def test_a_step_that_uses_context_state_can_not_be_buffered() -> None:
    async def main() -> None:
        bound = Pipeline(Records(3), name="p").pipe(Totals(), concurrency=2).to(MemorySink()).build()
        with pytest.raises(Exception, match=r"context\.state"):
            await bound.run()

    run_virtual(main)
    assert step_from(Totals()).stateful is False
