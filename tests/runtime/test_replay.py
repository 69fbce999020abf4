"""A replay sends each letter from where it failed, through what it hasn't passed."""

from typing import Any

import pytest
from support import CountingStore, ListSink, Records, run_virtual

from agora import AgoraError, ConfigError, Pipeline
from agora.deadletter import DLQRecord
from agora.sinks import MemorySink
from agora.state import StateDLQSink


class Switch:
    """Fails for some records until it is repaired."""

    def __init__(self, *bad: Any) -> None:
        self.bad, self.seen = set(bad), []

    def __call__(self, record: Any) -> Any:
        self.seen.append(record["id"])
        if record["id"] in self.bad:
            raise ValueError(f"bad {record['id']}")
        return record


class Once:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def snapshot(self) -> Any:
        return list(self.seen)

    def restore(self, state: Any) -> None:
        self.seen = list(state)

    def process(self, record: Any) -> Any:
        if record["id"] in self.seen:
            return None
        self.seen.append(record["id"])
        return record


async def letters(store: CountingStore) -> list[DLQRecord]:
    return [each async for each in StateDLQSink(store.state).read("p")]


async def with_state(main: Any, *args: Any) -> None:
    store = CountingStore()
    await store.state.open()
    await main(store, *args)
    await store.state.close()


def build(pipeline: Any, store: CountingStore, **options: Any) -> Any:
    return pipeline.build(checkpoint_store=store, dlq=StateDLQSink(store.state), **options)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_deduplicated_record_is_not_dropped_as_its_own_duplicate(concurrency: int) -> None:
    async def main(store: CountingStore) -> None:
        step, sink, once = Switch(2, 4), MemorySink(), Once()
        pipeline = Pipeline(Records(6), name="p").pipe(once).map(step, concurrency=concurrency).to(sink)
        bound = build(pipeline, store, checkpoint_every=2)
        await bound.run()
        before: Any = await store.load("p")
        step.bad.clear()
        summary = await bound.replay()
        assert (summary.read, summary.written) == (2, 2)
        assert [record["id"] for record in sink.records] == [0, 1, 3, 5, 2, 4]
        assert await letters(store) == []
        after: Any = await store.load("p")
        assert (after.position, after.ordinal, after.completed) == (
            before.position,
            before.ordinal,
            before.completed,
        )
        assert after.states == before.states
        assert (await bound.run()).read == 0

    run_virtual(with_state, main)


def test_one_child_of_a_split_does_not_repeat_its_siblings() -> None:
    async def main(store: CountingStore) -> None:
        step, sink = Switch("1b"), MemorySink()
        pipeline = Pipeline(Records(3), name="p").flat_map(
            lambda record: [{"id": f"{record['id']}{letter}"} for letter in "abc"]
        )
        bound = build(pipeline.map(step).to(sink), store)
        await bound.run()
        step.bad.clear()
        step.seen.clear()
        await bound.replay()
        assert step.seen == ["1b"]
        assert sorted(record["id"] for record in sink.records) == sorted(
            f"{n}{c}" for n in range(3) for c in "abc"
        )

    run_virtual(with_state, main)


def test_a_sinks_letter_goes_to_that_sink_alone() -> None:
    async def main(store: CountingStore) -> None:
        bad, step = {1, 3}, Switch()
        good, picky = ListSink(), ListSink(bad=lambda record: record["id"] in bad)
        pipeline = Pipeline(Records(5), name="p").map(step).to(good, name="good")
        bound = build(pipeline.to(picky, name="picky", where=lambda record: record["id"] < 4), store)
        await bound.run()
        bad.clear()
        step.seen.clear()
        await bound.replay()
        assert [record["id"] for record in good.records] == [0, 1, 2, 3, 4]
        assert [record["id"] for record in picky.records] == [0, 2, 1, 3]
        assert step.seen == []

    run_virtual(with_state, main)


def test_what_fails_again_stays_with_one_attempt_more() -> None:
    async def main(store: CountingStore) -> None:
        step, sink = Switch(1, 2, 3), MemorySink()
        bound = build(Pipeline(Records(5), name="p").map(step).to(sink), store)
        await bound.run()
        first = await letters(store)
        step.bad = {2}
        summary = await bound.replay()
        assert (summary.written, summary.dead_lettered) == (2, 1)
        [left] = await letters(store)
        assert (left.id, left.attempts, left.original) == (first[1].id, 2, {"id": 2})
        step.bad.clear()
        await bound.replay(ids=[left.id])
        assert await letters(store) == []
        assert [record["id"] for record in sink.records] == [0, 4, 1, 3, 2]

    run_virtual(with_state, main)


def test_letters_are_chosen() -> None:
    async def main(store: CountingStore) -> None:
        step, sink = Switch(0, 1, 2, 3), MemorySink()
        bound = build(Pipeline(Records(4), name="p").map(step, name="check").to(sink), store)
        await bound.run()
        step.bad.clear()
        await bound.replay(stage="middleware:other")
        await bound.replay(error_type="KeyError")
        assert sink.records == []
        await bound.replay(stage="middleware:check", error_type="ValueError", limit=3)
        assert len(sink.records) == 3
        assert len(await letters(store)) == 1

    run_virtual(with_state, main)


@pytest.mark.parametrize("block", [None, 2])
def test_a_replay_that_fails_removes_and_delivers_nothing_twice(block: int | None) -> None:
    async def main(store: CountingStore) -> None:
        class Breaking(MemorySink):
            broken = False

            async def write(self, records: Any) -> None:
                if self.broken and len(self.records) >= 4:
                    raise OSError("disk")
                await super().write(records)

        step, sink = Switch(1, 2, 3), Breaking()
        bound = build(Pipeline(Records(5, block=block), name="p").map(step).to(sink), store, batch_size=1)
        await bound.run()
        step.bad.clear()
        sink.broken = True
        with pytest.raises(OSError, match="disk"):
            await bound.replay()
        assert len(await letters(store)) == 3
        sink.broken = False
        await bound.replay()
        assert sorted(record["id"] for record in sink.records) == [0, 1, 2, 3, 4]
        assert await letters(store) == []

    run_virtual(with_state, main)


def test_a_replay_wants_a_queue_that_can_read_and_a_run_before() -> None:
    async def main(store: CountingStore) -> None:
        with pytest.raises(ConfigError, match="no dlq"):
            await Pipeline(Records(1), name="p").to(ListSink()).build().replay()
        with pytest.raises(ConfigError, match="MemorySink"):
            await Pipeline(Records(1), name="p").to(ListSink()).build(dlq=MemorySink()).replay()
        with pytest.raises(AgoraError, match="run it first"):
            await build(Pipeline(Records(1), name="p").to(ListSink()), store).replay()

    run_virtual(with_state, main)
