"""State of steps: saved with the stream, undone with a batch, never left over from a run that failed."""

from typing import Any

import pytest
from support import Dedupe, ListSink, Records, run_virtual, stored_state

from agora import ConfigError, Pipeline
from agora.middlewares.step import step_from
from agora.runtime.states import StepStates
from agora.runtime.stepstate import StepState
from agora.sinks import MemorySink
from agora.state import CheckpointStore, MemoryBackend, StateDLQSink
from agora.state.transaction import opened


class SeenInContext:
    """Drops what it has seen; by `context.state`."""

    def on_start(self, context: Any) -> None:
        self.state = context.state

    def process(self, record: Any) -> Any:
        key = str(record["id"])
        if key in self.state:
            return None
        self.state[key] = 1
        return record


class Failing:
    """A function that fails at record 2 while it is told to."""

    fails = True

    def __call__(self, record: Any) -> Any:
        if self.fails and record["id"] == 2:
            raise ValueError("not yet")
        return record


def ids(sink: ListSink) -> list[int]:
    return [record["id"] for record in sink.records]


@pytest.mark.parametrize("seen", [Dedupe, SeenInContext])
@pytest.mark.parametrize("stored", [True, False])
def test_a_run_after_a_failed_one_in_the_same_process_starts_with_clean_state(
    seen: Any, stored: bool
) -> None:
    async def main() -> None:
        sink, failing = ListSink(), Failing()
        store = CheckpointStore(MemoryBackend()) if stored else None
        pipeline = Pipeline(Records(4), name="p").pipe(seen()).map(failing, name="failing").to(sink)
        bound = pipeline.build(checkpoint_store=store, batch_size=1)
        with pytest.raises(ValueError, match="not yet"):
            await bound.run()
        failing.fails = False
        for options in ({}, {"restart": True}):
            sink.records.clear()
            summary = await bound.run(**options)  # type: ignore[arg-type]  - options by name
            assert (summary.dropped, ids(sink)) == (0, [0, 1, 2, 3])

    run_virtual(main)


def test_every_pipeline_built_with_a_step_starts_it_clean() -> None:
    async def main() -> None:
        begun = Pipeline(Records(4), name="p").pipe(Dedupe())
        for _ in range(2):
            sink = ListSink()
            await begun.to(sink).build().run()
            assert ids(sink) == [0, 1, 2, 3]

    run_virtual(main)


def test_a_run_that_goes_on_has_the_state_of_the_checkpoint_not_the_first() -> None:
    async def main() -> None:
        sink = ListSink()
        source = Records(4, make=lambda number: {"id": number % 2})
        store = CheckpointStore(MemoryBackend())
        bound = Pipeline(source, name="p").pipe(Dedupe()).to(sink).build(checkpoint_store=store)
        await bound.run(max_records=2)
        summary = await bound.run()
        assert (summary.dropped, ids(sink)) == (2, [0, 1])

    run_virtual(main)


@pytest.mark.parametrize("seen", [Dedupe, SeenInContext])
def test_a_replayed_record_is_not_dropped_as_its_own_duplicate(seen: Any) -> None:
    async def main() -> None:
        state, sink, failing = MemoryBackend(), ListSink(), Failing()
        dlq = StateDLQSink(state)
        async with opened(state):
            pipeline = Pipeline(Records(4), name="p").pipe(seen()).map(failing, name="failing").to(sink)
            bound = pipeline.build(checkpoint_store=CheckpointStore(state), dlq=dlq)
            await bound.run()
            assert ids(sink) == [0, 1, 3]
            failing.fails = False
            await bound.replay()
            assert ids(sink) == [0, 1, 3, 2]
            assert await dlq.count("p") == 0

    run_virtual(main)


class CountInContext:
    """Counts records in its state, by whole batches, and fails at record 3 behind having counted it."""

    def on_start(self, context: Any) -> None:
        self.state = context.state
        self.state.setdefault("ids", [])

    def process_batch(self, records: Any) -> Any:
        for record in records:
            self.state["n"] = self.state.get("n", 0) + 1
            self.state["ids"].append(record["id"])
            if record["id"] == 3:
                raise ValueError("three")
        return records


def test_a_failed_batch_takes_what_it_did_to_context_state_back() -> None:
    async def main() -> None:
        state = MemoryBackend()
        store = CheckpointStore(state)
        async with opened(state):
            pipeline = Pipeline(Records(6), name="p").pipe(CountInContext(), name="count").to(ListSink())
            await pipeline.build(checkpoint_store=store, dlq=MemorySink()).run()
            assert await stored_state(store, "count") == {"n": 5, "ids": [0, 1, 2, 4, 5]}

    run_virtual(main)


def test_undoing_gives_back_what_was_set_changed_in_place_and_deleted() -> None:
    state = StepState("step")
    state.update({"list": [1], "gone": 1, "same": 0})
    state.begin()
    state["new"] = 1
    del state["gone"]
    value: Any = state["list"]
    value.append(2)
    state["list"] = 7
    assert state == {"list": 7, "new": 1, "same": 0}
    state.undo()
    assert state == {"list": [1], "gone": 1, "same": 0}
    with pytest.raises(KeyError):
        state["new"]


@pytest.mark.parametrize("use", [len, list, lambda state: "a" in state, lambda state: state.get("a")])
def test_a_step_counts_as_stateful_from_its_first_look_at_its_state_on(use: Any) -> None:
    states, step = StepStates(pipeline="p", saves=False), step_from(SeenInContext())
    mapping = states.mapping(step)
    assert not states.stateful(step)
    use(mapping)
    assert states.stateful(step)


class Buffered:
    min_concurrency = 2

    def on_start(self, context: Any) -> None:
        self.state = context.state


class BufferedRecords(Buffered):
    async def process(self, record: Any) -> Any:
        self.state["a"] = 1
        return record


class BufferedBatches(Buffered):
    async def process_batch(self, records: Any) -> Any:
        self.state["a"] = 1
        return records


@pytest.mark.parametrize("part", [BufferedRecords, BufferedBatches])
@pytest.mark.parametrize("policy", [None, "skip", "pass"])
def test_a_buffered_step_that_uses_context_state_ends_the_run_whatever_its_policy(
    part: Any, policy: Any
) -> None:
    async def main() -> None:
        dlq = MemorySink()
        bound = Pipeline(Records(5), name="p").pipe(part(), on_error=policy).to(ListSink()).build(dlq=dlq)
        with pytest.raises(ConfigError, match=r"can't use context\.state"):
            await bound.run()
        assert dlq.records == []

    run_virtual(main)
