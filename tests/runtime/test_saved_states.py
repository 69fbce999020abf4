"""`context.state` and the barrier: changes travel with cuts, are saved with the checkpoint that covers them, and are
forgotten with it."""

from typing import Any

import pytest
import trio
from support import CountingStore, ListSink, Records, run_virtual, stored_state

from agora import Checkpoint, ConfigError, Pipeline, StateError
from agora.runtime.barrier import Barrier
from agora.sinks import MemorySink
from agora.state import CheckpointStore, MemoryBackend, StateDLQSink
from agora.state.transaction import opened


class Count:
    """Counts what it sees, and keeps the ids."""

    def on_start(self, context: Any) -> None:
        self.state = context.state
        self.state.setdefault("n", 0)

    def process(self, record: Any) -> Any:
        self.state["n"] += 1
        self.state[f"id {record['id']}"] = True
        return record


def counted(number: int) -> dict[str, Any]:
    """The state of `Count` behind so many records."""
    return {"n": number} | {f"id {each}": True for each in range(number)}


class Holding:
    """A step whose snapshot holds what a checkpoint can't."""

    def process(self, record: Any) -> Any:
        return record

    def snapshot(self) -> Any:
        return {"at": [1, object()]}

    def restore(self, state: Any) -> None: ...


def test_a_snapshot_that_would_not_come_back_ends_the_run_and_is_named() -> None:
    store = CountingStore()
    bound = Pipeline(Records(3), name="p").pipe(Holding(), name="m").to(ListSink())
    with pytest.raises(StateError, match=r"states\.m\.snapshot\.at\[1\] is <object .*can't be saved"):
        run_virtual(bound.build(checkpoint_store=store).run)
    assert store.saved == []


class ReadingStore(CountingStore):
    """Reads after each save what was saved of the step `count`."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "states", [])

    states: list[dict[str, Any]]

    async def save(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
        await super().save(pipeline, checkpoint, **more)
        self.states.append(await stored_state(self, "count", pipeline))


def counting(store: Any, count: int, sink: Any = None, **options: Any) -> Any:
    pipeline = Pipeline(Records(count, block=count or None), name="p").pipe(Count(), name="count")
    options = {"checkpoint_every": 2, "batch_size": 2} | options
    return pipeline.to(ListSink() if sink is None else sink, name="out").build(
        checkpoint_store=store, **options
    )


async def rows(store: CheckpointStore, pipeline: str = "p") -> list[str]:
    return [key async for key, _ in store.state.scan(f"states:{pipeline}")]


def test_what_is_saved_is_the_state_at_the_checkpoint_while_the_source_runs_ahead() -> None:
    async def main() -> None:
        store = ReadingStore()
        async with opened(store.state):
            await counting(store, 9, ListSink(delay=lambda: 1.0)).run()
        assert store.states == [counted(each.ordinal) for each in store.saved]
        assert [each.ordinal for each in store.saved] == [2, 4, 6, 8, 9]

    run_virtual(main)


def test_changes_of_a_cut_at_which_nothing_is_saved_go_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def needed(self: Barrier, cut: Any, *, anything_new: bool) -> bool:
        return cut.ordinal % 6 == 0 or cut.completed

    monkeypatch.setattr(Barrier, "needed", needed)

    async def main() -> None:
        store = ReadingStore()
        async with opened(store.state):
            await counting(store, 15).run()
        assert [each.ordinal for each in store.saved] == [6, 12, 15]
        assert store.states == [counted(each.ordinal) for each in store.saved]

    run_virtual(main)


def test_what_is_saved_is_not_saved_again() -> None:
    class Watching(CountingStore):
        sizes: list[int] = []  # noqa: RUF012  - of the one that there is

        async def save(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
            await super().save(pipeline, checkpoint, **more)
            self.sizes.append(len(more.get("also", ())))

    async def main() -> None:
        store = Watching()
        async with opened(store.state):
            await counting(store, 40).run()
        assert store.sizes == [1] * 20  # a row each

    run_virtual(main)


def test_a_step_has_its_saved_state_when_it_is_started() -> None:
    class Look(Count):
        def on_start(self, context: Any) -> None:
            seen.append(dict(context.state))
            super().on_start(context)

    seen: list[Any] = []

    async def main() -> None:
        store = CheckpointStore(MemoryBackend())
        async with opened(store.state):
            for count in (3, 5):
                pipeline = Pipeline(Records(count), name="p").pipe(Look(), name="count").to(ListSink())
                await pipeline.build(checkpoint_store=store).run()

    run_virtual(main)
    assert seen == [{}, counted(3)]


def test_a_run_that_fails_leaves_the_state_of_its_last_checkpoint() -> None:
    async def main() -> None:
        store, sink = CheckpointStore(MemoryBackend()), ListSink()
        async with opened(store.state):
            bound = counting(store, 9, ListSink(bad=lambda record: record["id"] == 5))
            with pytest.raises(Exception, match="refused"):
                await bound.run()
            assert await stored_state(store, "count") == counted(4)
            await counting(store, 9, sink).run()
            assert await stored_state(store, "count") == counted(9)
        assert [record["id"] for record in sink.records] == [4, 5, 6, 7, 8]

    run_virtual(main)


def test_starting_over_and_reset_forget_the_rows_of_this_pipeline_alone() -> None:
    async def main() -> None:
        store = CheckpointStore(MemoryBackend())
        async with opened(store.state):
            await counting(store, 9).run()
            other = Pipeline(Records(3), name="p:count").pipe(Count(), name="count").to(ListSink())
            await other.build(checkpoint_store=store).run()
            with pytest.raises(ZeroDivisionError):
                source = Records(9, fail_at=1, error=ZeroDivisionError())
                failing = Pipeline(source, name="p").pipe(Count(), name="count").to(ListSink(), name="out")
                await failing.build(checkpoint_store=store).run(restart=True)
            assert await rows(store) == []  # in the transaction that forgets the checkpoint
            await counting(store, 9).run()
            assert await stored_state(store, "count") == counted(9)
            await store.delete("p")
            assert await rows(store) == []
            assert await stored_state(store, "count", "p:count") == counted(3)

    run_virtual(main)


def test_the_state_of_a_step_that_is_gone_goes_with_the_next_checkpoint() -> None:
    async def main() -> None:
        store = CheckpointStore(MemoryBackend())
        async with opened(store.state):
            await counting(store, 4).run()
            without = Pipeline(Records(6), name="p").to(ListSink(), name="out").build(checkpoint_store=store)
            await without.run(max_records=0)
            assert await stored_state(store, "count") == counted(4)
            await without.run()
            assert await rows(store) == []
            await counting(store, 7).run()
            assert await stored_state(store, "count") == {"n": 1, "id 6": True}

    run_virtual(main)


def test_rows_that_are_missing_end_the_run_before_a_record_is_read() -> None:
    async def main() -> None:
        store, sink = CheckpointStore(MemoryBackend()), ListSink()
        async with opened(store.state):
            await counting(store, 9).run()
            await store.state.delete("states:p", (await rows(store))[2])
            with pytest.raises(StateError, match=r"state of step 'count' of pipeline 'p'.*restart=True"):
                await counting(store, 12, sink).run()
            assert sink.records == []
            await counting(store, 12, sink).run(restart=True)
            assert await stored_state(store, "count") == counted(12)

    run_virtual(main)


def test_a_large_state_is_loaded_with_turns_for_others() -> None:
    class Fill:
        def on_start(self, context: Any) -> None:
            if "0" not in context.state:
                context.state.update({str(number): number for number in range(30_000)})

        def process(self, record: Any) -> Any:
            return record

    async def main() -> None:
        store = CheckpointStore(MemoryBackend())
        async with opened(store.state):
            for count in (1, 2):
                pipeline = Pipeline(Records(count), name="p").pipe(Fill(), name="fill").to(ListSink())
                bound = pipeline.build(checkpoint_store=store)
                turns = 0
                async with trio.open_nursery() as nursery:

                    async def look() -> None:
                        nonlocal turns
                        while True:
                            await trio.lowlevel.checkpoint()
                            turns += 1

                    nursery.start_soon(look)
                    handle = await nursery.start(bound.run)
                    if count == 2:
                        assert turns > 50
                    await handle.wait()
                    nursery.cancel_scope.cancel()

    trio.run(main)


class Minimal:
    """A store of a user's own that knows no changes beside the checkpoint."""

    def __init__(self) -> None:
        self.saved: dict[str, Checkpoint] = {}

    async def load(self, pipeline: str) -> Checkpoint | None:
        return self.saved.get(pipeline)

    async def save(self, pipeline: str, checkpoint: Checkpoint) -> None:
        self.saved[pipeline] = checkpoint


@pytest.mark.parametrize("policy", [None, "skip", "pass"])
def test_a_store_that_could_not_save_it_refuses_the_first_use_with_the_reason(policy: Any) -> None:
    class Use:
        def on_start(self, context: Any) -> None:
            self.state = context.state

        def process(self, record: Any) -> Any:
            if record["id"] == 2:
                self.state["n"] = 1
            return record

    async def main() -> None:
        store, dlq = Minimal(), MemorySink()
        pipeline = Pipeline(Records(5), name="p").pipe(Use(), name="use", on_error=policy).to(ListSink())
        with pytest.raises(
            ConfigError, match=r"step 'use' can't use context\.state.*Minimal.*`also`.*snapshot"
        ):
            await pipeline.build(checkpoint_store=store, dlq=dlq).run()
        assert dlq.records == []
        await Pipeline(Records(2), name="q").pipe(Use()).to(ListSink()).build(checkpoint_store=store).run()
        assert store.saved["q"].ordinal == 2

    run_virtual(main)


@pytest.mark.parametrize(("key", "value"), [("k", object()), (5, 1)])
@pytest.mark.parametrize("policy", [None, "skip", "pass"])
def test_what_can_not_be_saved_ends_the_run_whatever_the_policy(key: Any, value: Any, policy: Any) -> None:
    class Wrong:
        def on_start(self, context: Any) -> None:
            self.state = context.state

        def process(self, record: Any) -> Any:
            self.state[key] = value
            return record

    async def main() -> None:
        dlq = MemorySink()
        pipeline = Pipeline(Records(5), name="p").pipe(Wrong(), name="wrong", on_error=policy).to(ListSink())
        bound = pipeline.build(checkpoint_store=CheckpointStore(MemoryBackend()), dlq=dlq)
        with pytest.raises(ConfigError, match=rf"step 'wrong'.*context\.state.*{key}"):
            await bound.run()
        assert dlq.records == []

    run_virtual(main)


def test_a_replay_goes_on_with_the_saved_state_and_saves_what_it_changes() -> None:
    async def main() -> None:
        state = MemoryBackend()
        broken = [True]

        def fail(record: Any) -> Any:
            if broken[0] and record["id"] % 3 == 2:
                raise ValueError("not yet")
            return record

        async with opened(state):
            store = CheckpointStore(state)
            pipeline = Pipeline(Records(9), name="p").map(fail).pipe(Count(), name="count").to(ListSink())
            bound = pipeline.build(checkpoint_store=store, dlq=StateDLQSink(state), checkpoint_every=2)
            assert (await bound.run()).dead_lettered == 3
            assert (await stored_state(store, "count"))["n"] == 6
            broken[0] = False
            assert (await bound.replay()).written == 3
            assert await stored_state(store, "count") == counted(9)

    run_virtual(main)


def test_a_replay_in_a_run_shares_the_state_of_the_run() -> None:
    async def main() -> None:
        state = MemoryBackend()
        broken = [True]

        def fail(record: Any) -> Any:
            if broken[0] and record["id"] % 3 == 2:
                raise ValueError("not yet")
            return record

        async with opened(state):
            store = ReadingStore()
            object.__setattr__(store, "state", state)
            source = Records(12, delay=lambda number: 10.0 if number == 6 else 0.0)
            pipeline = Pipeline(source, name="p").map(fail).pipe(Count(), name="count").to(ListSink())
            bound = pipeline.build(checkpoint_store=store, dlq=StateDLQSink(state), checkpoint_every=2)
            async with trio.open_nursery() as nursery:
                handle = await nursery.start(bound.run)
                await trio.sleep(5)
                broken[0] = False
                summary = await handle.replay()
                assert summary.written == 2
                await handle.wait()
            assert await stored_state(store, "count") == counted(12)

    run_virtual(main)


def test_without_checkpoints_it_is_a_mapping_of_the_run() -> None:
    async def main() -> None:
        state = MemoryBackend()
        async with opened(state):
            for _ in range(2):
                sink = ListSink()
                pipeline = Pipeline(Records(4, supports_checkpoint=False), name="p").pipe(
                    Count(), name="count"
                )
                await pipeline.to(sink).build(checkpoint_store=CheckpointStore(state)).run()
                assert len(sink.records) == 4
            assert [key async for key, _ in state.scan("states:p")] == []

    run_virtual(main)
