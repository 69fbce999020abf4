"""A replay between two barriers of a running pipeline: nothing lost, nothing twice, and the run goes on."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import trio
from support import CountingStore, Dedupe, ListSink, Records, run_virtual

from agora import AgoraError, Backpressure, Checkpoint, ConfigError, Pipeline
from agora.sinks import MemorySink
from agora.state import MemoryBackend, StateDLQSink


class Store(CountingStore):
    """Its n-th save fails: before it has happened, or behind that."""

    fail_at: list[tuple[int, str, BaseException]]

    async def save(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
        due = [(when, error) for n, when, error in self.fail_at if n == len(self.saved)]
        for when, error in due:
            if when == "before":
                raise error
        await super().save(pipeline, checkpoint, **more)
        for _, error in due:
            raise error

    @property
    def last(self) -> Checkpoint:
        """What was saved or amended last."""
        return max((*self.saved, *self.completed), key=lambda each: each.saved_at)


@attrs.define(eq=False)
class Rig:
    """A state with a checkpoint store and a queue, a source that waits where it is told to, and a switch for what
    fails."""

    state: MemoryBackend = attrs.field(factory=MemoryBackend)
    store: Store = attrs.field(init=False)
    dlq: StateDLQSink = attrs.field(init=False)
    bad: set[Any] = attrs.field(factory=set)
    waits: set[int] = attrs.field(factory=set)
    """Records before which the source waits for 100 virtual seconds."""

    def __attrs_post_init__(self) -> None:
        self.store, self.dlq = Store(self.state), StateDLQSink(self.state)
        object.__setattr__(self.store, "fail_at", [])

    def source(self, count: int, **more: Any) -> Records:
        return Records(count, delay=lambda number: 100.0 if number in self.waits else 0.0, **more)

    def build(self, pipeline: Any, **more: Any) -> Any:
        return pipeline.build(**{"checkpoint_store": self.store, "dlq": self.dlq, "linger": 1.0, **more})

    def check(self, record: Any) -> Any:
        """A step."""
        if record["id"] in self.bad:
            raise ValueError(f"bad {record['id']}")
        return record

    async def letters(self) -> list[Any]:
        return [letter async for letter in self.dlq.read("p")]

    async def left(self) -> list[tuple[Any, int]]:
        return [(letter.original["id"], letter.attempts) for letter in await self.letters()]


def virtually(test: Callable[[Rig], Awaitable[None]]) -> None:
    """Run a test of a rig on a virtual clock, under a few orders of the tasks."""

    async def main() -> None:
        rig = Rig()
        await rig.state.open()
        try:
            await test(rig)
        finally:
            await rig.state.close()

    for seed in range(3):
        run_virtual(main, seed=seed)


@asynccontextmanager
async def running(bound: Any) -> AsyncGenerator[Any]:
    """The handle of a run; its end is waited for."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(bound.run)


def ids(records: list[Any]) -> list[Any]:
    return [record["id"] for record in records]


@pytest.mark.parametrize("block", [None, 4])
def test_letters_are_delivered_between_what_was_read_before_and_what_comes_behind(block: int | None) -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1, 3}, {8}
        sink = MemorySink()
        source = rig.source(12, block=block)
        bound = rig.build(Pipeline(source, name="p").map(rig.check).to(sink))
        async with running(bound) as handle:
            await trio.sleep(5)  # all before the wait is delivered, no checkpoint is saved
            rig.bad.clear()
            began = trio.current_time()
            replayed = await handle.replay()
            assert trio.current_time() - began < 1  # it didn't wait for the next record
            assert ids(sink.records) == [0, 2, 4, 5, 6, 7, 1, 3]
            assert await rig.letters() == []
            saved = await rig.store.load("p")
            assert saved is not None
            assert (saved.ordinal, saved.completed, saved.run_id) == (8, False, handle.run_id)
            assert handle.stats().checkpoint == saved
            summary = await handle.wait()
        assert ids(sink.records) == [0, 2, 4, 5, 6, 7, 1, 3, 8, 9, 10, 11]
        assert (replayed.status, replayed.read, replayed.written) == ("completed", 2, 2)
        assert (replayed.dead_lettered, replayed.resumed_from) == (0, None)
        assert 0 <= replayed.duration < 1
        assert (summary.read, summary.written, summary.dead_lettered) == (12, 10, 2)
        assert source.given == list(range(12))

    virtually(test)


def test_what_fails_again_stays_with_one_attempt_more_and_filters_choose() -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1, 2, 3}, {6}
        sink = MemorySink()
        bound = rig.build(Pipeline(rig.source(8), name="p").map(rig.check, name="check").to(sink))
        async with running(bound) as handle:
            await trio.sleep(5)
            await handle.checkpoint()
            rig.bad = {1, 3}
            assert (await handle.replay(limit=2)).dead_lettered == 1
            assert await rig.left() == [(1, 2), (3, 1)]
            rig.bad.clear()
            assert (await handle.replay(stage="sink:x")).read == 0
            assert (await handle.replay(error_type="KeyError")).read == 0
            assert (await handle.replay(until=datetime.now(UTC) - timedelta(days=1))).read == 0
            third = (await rig.letters())[1].id
            assert (await handle.replay([third])).written == 1
            assert await rig.left() == [(1, 2)]
        assert ids(sink.records) == [0, 4, 5, 2, 3, 6, 7]

    virtually(test)


def test_states_of_steps_go_on_through_a_replay_and_are_saved_with_it() -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1, 2}, {6, 7}
        before, after = Dedupe(), Dedupe()
        sink = MemorySink()
        source = rig.source(10, make=lambda number: {"id": number % 7})
        pipeline = Pipeline(source, name="p").pipe(before, name="a").map(rig.check)
        bound = rig.build(pipeline.pipe(after, name="b").to(sink), checkpoint_every=100)
        async with running(bound) as handle:
            await trio.sleep(5)
            rig.bad.clear()
            await handle.replay()
            assert ids(sink.records) == [0, 3, 4, 5, 1, 2]
            saved = await rig.store.load("p")
            assert saved is not None
            # Behind the first the letters weren't dropped as their own duplicates; the second has seen them.
            assert [saved.states[name]["snapshot"] for name in "ab"] == [[0, 1, 2, 3, 4, 5]] * 2
            await trio.sleep(150)  # 6, which comes behind, and the wait before 7
            handle.stop()
        await bound.run()
        assert ids(sink.records) == [0, 3, 4, 5, 1, 2, 6]

    virtually(test)


def test_context_state_is_cut_with_the_replay() -> None:
    class Counting:
        def on_start(self, context: Any) -> None:
            self.state = context.state

        def process(self, record: Any) -> Any:
            self.state["n"] = self.state.get("n", 0) + 1
            return {**record, "n": self.state["n"]}

    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1}, {4}
        sink = MemorySink()
        bound = rig.build(
            Pipeline(rig.source(6), name="p").map(rig.check).pipe(Counting(), name="c").to(sink)
        )
        async with running(bound) as handle:
            await trio.sleep(5)
            rig.bad.clear()
            await handle.replay()
            handle.stop()
        await bound.run()
        assert [record["n"] for record in sink.records] == [1, 2, 3, 4, 5, 6]

    virtually(test)


@pytest.mark.parametrize(
    "backpressure", [Backpressure.fixed(1), Backpressure.fixed(3), Backpressure.adaptive(max_in_flight=40)]
)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_every_limit_and_stage_lets_a_replay_through(backpressure: Backpressure, concurrency: int) -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = set(range(0, 30, 2)), {30}

        async def step(record: Any) -> Any:
            await trio.sleep(0.01 * (record["id"] % 3))
            return rig.check(record)

        sink = MemorySink()
        bound = rig.build(
            Pipeline(rig.source(40), name="p").map(step, concurrency=concurrency).to(sink),
            backpressure=backpressure,
            checkpoint_every=7,
            batch_size=5,
        )
        async with running(bound) as handle:
            await trio.sleep(20)
            rig.bad.clear()
            assert (await handle.replay()).written == 15
            assert ids(sink.records) == [*range(1, 30, 2), *range(0, 30, 2)]
        assert ids(sink.records) == [*range(1, 30, 2), *range(0, 30, 2), *range(30, 40)]

    virtually(test)


def test_the_runs_own_cuts_fall_where_they_would_have_fallen() -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1}, {5, 9}
        bound = rig.build(
            Pipeline(rig.source(14), name="p").map(rig.check).to(MemorySink()), checkpoint_every=4
        )
        async with running(bound) as handle:
            await trio.sleep(5)
            rig.bad.clear()
            await handle.replay()
            summary = await handle.wait()
        # 5: the cut of the replay, and its own barrier at the same place.
        assert [each.ordinal for each in rig.store.saved] == [4, 5, 5, 8, 12, 14]
        assert summary.checkpoints == 5

    virtually(test)


def test_where_nothing_is_new_no_barrier_comes_before_the_replay_and_none_behind_one_without_letters() -> (
    None
):
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1}, {4}
        bound = rig.build(
            Pipeline(rig.source(6), name="p").map(rig.check).to(MemorySink()), checkpoint_every=4
        )
        async with running(bound) as handle:
            await trio.sleep(5)
            assert len(rig.store.saved) == 1
            rig.bad.clear()
            assert (await handle.replay()).checkpoints == 1
            assert (await handle.replay()).checkpoints == 0
            assert [each.ordinal for each in rig.store.saved] == [4, 4]

    virtually(test)


def test_before_the_first_record_a_replay_saves_the_place_that_it_keeps() -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {0}, {0}
        other = StateDLQSink(MemoryBackend())
        await other.state.open()
        letter = await letter_of(rig)
        await other.write([letter])
        rig.bad.clear()
        sink = MemorySink()
        store = CountingStore(MemoryBackend())
        bound = rig.build(
            Pipeline(rig.source(2), name="p").map(rig.check).to(sink), checkpoint_store=store, dlq=other
        )
        async with running(bound) as handle:
            await trio.sleep(5)
            assert (await handle.replay()).written == 1
            assert [each.ordinal for each in store.saved] == [0, 0]
        assert ids(sink.records) == [0, 0, 1]
        await other.state.close()

    async def letter_of(rig: Rig) -> Any:
        await rig.build(Pipeline(Records(1), name="p").map(rig.check).to(MemorySink())).run()
        [letter] = await rig.letters()
        return letter

    virtually(test)


@pytest.mark.parametrize("letters", [4, 5])
def test_behind_a_completed_run_a_replay_leaves_it_completed(letters: int) -> None:
    async def test(rig: Rig) -> None:
        rig.bad = set(range(letters))
        sink, source = MemorySink(), rig.source(6)
        bound = rig.build(
            Pipeline(source, name="p").map(rig.check).to(sink), checkpoint_every=2, batch_size=1
        )
        await bound.run()
        rig.bad, rig.waits, source.count = {0}, {6}, 8
        async with running(bound) as handle:
            await trio.sleep(5)
            rig.store.saved.clear()
            rig.store.completed.clear()
            assert (await handle.replay()).written == letters - 1
            # Opened again before the first letter is written, the end again behind the last.
            assert [each.completed for each in rig.store.saved][:2] == [False, False]
            assert not rig.store.completed[0].completed
            assert rig.store.last.completed
            rig.bad.clear()
            assert (await handle.replay()).written == 1
            assert rig.store.last.completed
            summary = await handle.wait()
        assert summary.read == 2
        assert ids(sink.records) == [*range(letters, 6), *range(1, letters), 0, 6, 7]
        last = await rig.store.load("p")
        assert last is not None
        assert (last.ordinal, last.completed) == (8, True)

    virtually(test)


# What is asked meanwhile.


def slow(rig: Rig) -> Callable[[Any], Awaitable[Any]]:
    """A step that takes a second for each letter that is replayed."""
    seen: set[Any] = set()

    async def step(record: Any) -> Any:
        if record["id"] in seen:
            await trio.sleep(1)
        seen.add(record["id"])
        return rig.check(record)

    return step


def test_two_replays_at_once_go_one_after_the_other() -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1, 2, 3}, {5}
        sink = MemorySink()
        bound = rig.build(Pipeline(rig.source(6), name="p").map(slow(rig)).to(sink))
        summaries: list[Any] = []

        async def ask(handle: Any) -> None:
            summaries.append(await handle.replay())

        async with running(bound) as handle:
            await trio.sleep(5)
            rig.bad = {2}
            async with trio.open_nursery() as asking:
                asking.start_soon(ask, handle)
                asking.start_soon(ask, handle)
            assert [(each.read, each.written) for each in summaries] == [(3, 2), (1, 0)]
            assert await rig.left() == [(2, 3)]
        assert sorted(ids(sink.records)) == [0, 1, 3, 4, 5]

    virtually(test)


def test_a_checkpoint_asked_for_during_a_replay_is_saved_behind_it_with_the_states_of_then() -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1, 2}, {5}
        bound = rig.build(
            Pipeline(rig.source(6), name="p").map(slow(rig)).pipe(Dedupe(), name="d").to(MemorySink())
        )
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            await trio.sleep(5)
            rig.bad.clear()
            nursery.start_soon(handle.replay)
            await trio.sleep(0.5)
            stats = handle.stats()
            assert (stats.read, stats.written, stats.dead_lettered, stats.in_flight) == (5, 3, 2, 0)
            saved = await handle.checkpoint()
            assert saved.ordinal == 5
            assert saved.states["d"]["snapshot"] == [0, 1, 2, 3, 4]
            assert await rig.store.load("p") == saved

    virtually(test)


def test_a_stop_ends_a_replay_behind_the_letter_at_hand_and_then_the_run() -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1, 2, 3}, {5}
        sink = MemorySink()
        pipeline = Pipeline(rig.source(8), name="p").map(slow(rig)).to(sink)
        bound = rig.build(pipeline, backpressure=Backpressure.fixed(1))
        replayed: list[Any] = []
        refused: list[Any] = []

        async def ask(handle: Any) -> None:
            replayed.append(await handle.replay())

        async def ask_in_vain(handle: Any) -> None:
            with pytest.raises(AgoraError, match="nothing was replayed") as raised:
                await handle.replay()
            refused.append(raised.value)

        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            await trio.sleep(5)
            rig.bad.clear()
            nursery.start_soon(ask, handle)
            await trio.sleep(0.2)
            nursery.start_soon(ask_in_vain, handle)
            await trio.sleep(0.2)
            handle.stop()
            nursery.start_soon(ask_in_vain, handle)
            summary = await handle.wait()
        [replay] = replayed
        assert (replay.status, replay.read, replay.written) == ("stopped", 1, 1)
        assert len(refused) == 2
        assert (summary.status, summary.read) == ("stopped", 5)
        assert ids(sink.records) == [0, 4, 1]
        assert await rig.left() == [(2, 1), (3, 1)]
        await bound.run()
        await bound.replay()
        assert ids(sink.records) == [0, 4, 1, 5, 6, 7, 2, 3]

    virtually(test)


@pytest.mark.parametrize("begun", [True, False])
def test_a_caller_that_is_cancelled_ends_its_replay_in_order_and_the_run_goes_on(begun: bool) -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1, 2, 3}, {5}
        sink = MemorySink()
        pipeline = Pipeline(rig.source(8), name="p").map(slow(rig)).to(sink)
        bound = rig.build(pipeline, backpressure=Backpressure.fixed(1))
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            await trio.sleep(5)
            rig.bad.clear()
            if not begun:
                await handle.checkpoint()
                [first, *_] = await rig.letters()
                nursery.start_soon(handle.replay, [first.id])
                await trio.sleep(0.1)
            with trio.move_on_after(0.5) as scope:
                await handle.replay()
            assert scope.cancelled_caught
            summary = await handle.wait()
        assert (summary.status, summary.read) == ("completed", 8)
        assert ids(sink.records) == [0, 4, 1, 5, 6, 7]
        assert await rig.left() == [(2, 1), (3, 1)]

    virtually(test)


@pytest.mark.parametrize("block", [None, 4])
def test_what_comes_during_a_replay_waits_for_its_end(block: int | None) -> None:
    async def test(rig: Rig) -> None:
        rig.bad = {1, 2}
        sink = MemorySink()
        source = Records(12, block=block, delay=lambda number: 6.0 if number == 4 else 0)
        pipeline = Pipeline(source, name="p").map(slow(rig)).pipe(Dedupe(), name="d")
        bound = rig.build(pipeline.to(sink), checkpoint_every=2)
        async with running(bound) as handle:
            await trio.sleep(5)
            rig.bad.clear()
            assert (await handle.replay()).written == 2  # from 5 s to 7 s; 4 and those behind it come at 6 s
            assert ids(sink.records) == [0, 3, 1, 2]
        assert ids(sink.records) == [0, 3, 1, 2, *range(4, 12)]
        for each in rig.store.saved:  # no state has seen what the checkpoint doesn't cover
            assert set(each.states["d"]["snapshot"]) <= set(range(each.ordinal))

    virtually(test)


class Ending(Records):
    """Takes its time over its end."""

    async def stream(self) -> AsyncGenerator[Any]:
        async for record in super().stream():
            yield record
        await trio.sleep(6)
        if self.fail_at == -1:
            raise self.error


@pytest.mark.parametrize("fails", [False, True])
def test_the_end_of_the_source_and_its_error_come_behind_the_replay(fails: bool) -> None:
    class Last:
        given: list[Any]

        def __init__(self) -> None:
            self.given = []

        def process(self, record: Any) -> Any:
            self.given.append(record["id"])
            return record

        def finish(self) -> list[Any]:
            return [{"id": f"end of {len(self.given)}"}]

    async def test(rig: Rig) -> None:
        rig.bad = {1, 2}
        sink = MemorySink()
        source = Ending(4, fail_at=-1 if fails else None)
        pipeline = Pipeline(source, name="p").map(slow(rig)).pipe(Dedupe(), name="d").pipe(Last())
        bound = rig.build(pipeline.to(sink))

        async def ask(handle: Any) -> None:
            rig.bad.clear()
            assert (await handle.replay()).written == 2  # from 5 s to 7 s; the source ends at 6 s

        raised = await ended(bound, ask)
        assert [str(error) for error in raised] == (["the source broke"] if fails else [])
        assert ids(sink.records) == [0, 3, 1, 2, *([] if fails else ["end of 4"])]
        last = await rig.store.load("p")
        assert last is not None
        assert last.completed is not fails
        assert last.states["d"]["snapshot"] == [0, 1, 2, 3]

    virtually(test)


def test_what_waits_in_a_sink_for_more_records_waits_on_through_a_replay() -> None:
    class Waiting(MemorySink):
        def finish(self) -> None:
            self.records.append({"id": "finished"})

    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1}, {3}
        sink = Waiting()
        bound = rig.build(Pipeline(rig.source(4), name="p").map(rig.check).to(sink))
        async with running(bound) as handle:
            await trio.sleep(5)
            rig.bad.clear()
            await handle.replay()
        assert ids(sink.records) == [0, 2, 1, 3, "finished"]

    virtually(test)


def test_letters_on_another_state_go_once_they_are_delivered() -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1, 2}, {4}
        other = StateDLQSink(MemoryBackend())
        sink = MemorySink()
        bound = rig.build(Pipeline(rig.source(5), name="p").map(rig.check).to(sink), dlq=other)
        async with running(bound) as handle:
            await trio.sleep(5)
            rig.bad = {2}
            assert (await handle.replay()).written == 1
            assert [each.attempts async for each in other.read("p")] == [2]
            rig.bad.clear()
            assert (await handle.replay()).written == 1
            assert [each async for each in other.read("p")] == []
        assert ids(sink.records) == [0, 3, 1, 2, 4]

    virtually(test)


# What is refused.


def test_a_run_that_is_over_stopping_or_through_with_its_source_refuses() -> None:
    async def test(rig: Rig) -> None:
        rig.bad = {1}
        release = trio.Event()

        async def step(record: Any) -> Any:
            if record["id"] == 3:
                await release.wait()
            return rig.check(record)

        bound = rig.build(Pipeline(rig.source(4), name="p").map(step).to(MemorySink()))
        async with running(bound) as handle:
            await trio.sleep(5)
            with pytest.raises(AgoraError, match="its source is exhausted; nothing was replayed"):
                await handle.replay()
            handle.stop()
            release.set()
            await handle.wait()
            with pytest.raises(AgoraError, match="it is over; nothing was replayed"):
                await handle.replay()
        assert await rig.left() == [(1, 1)]

    virtually(test)


def test_a_run_without_checkpoints_refuses_and_says_why() -> None:
    async def test(rig: Rig) -> None:
        for source, store in ((Records(3), None), (Records(3, supports_checkpoint=False), rig.store)):
            source.delay = lambda number: 1.0
            bound = rig.build(Pipeline(source, name="p").to(MemorySink()), checkpoint_store=store)
            async with running(bound) as handle:
                with pytest.raises(ConfigError, match="saves no checkpoints"):
                    await handle.replay()

    virtually(test)


def test_filters_and_queues_that_cannot_be_are_refused() -> None:
    async def test(rig: Rig) -> None:
        rig.waits = {0}
        for dlq in (None, ListSink()):
            bound = rig.build(Pipeline(rig.source(1), name="p").to(MemorySink()), dlq=dlq)
            async with running(bound) as handle:
                with pytest.raises(ConfigError, match="replay needs one that can"):
                    await handle.replay()
                handle.stop()
        bound = rig.build(Pipeline(rig.source(1), name="p").to(MemorySink()))
        async with running(bound) as handle:
            for wrong in ({"since": datetime(2026, 1, 1)}, {"until": datetime(2026, 1, 1)}):
                with pytest.raises(ConfigError, match="without an offset"):
                    await handle.replay(**wrong)
            for limit in (-1, True, 1.5):
                with pytest.raises(ConfigError, match="whole number"):
                    await handle.replay(limit=limit)
            with pytest.raises(ConfigError, match="collection"):
                await handle.replay("p:1:000000000000")
            handle.stop()

    virtually(test)


def test_a_replay_is_no_run_to_replay_in() -> None:
    async def test(rig: Rig) -> None:
        rig.bad = {0}
        bound = rig.build(Pipeline(Records(1), name="p").map(slow(rig)).to(MemorySink()))
        await bound.run()
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.replay)
            with pytest.raises(ConfigError, match="itself a replay"):
                await handle.replay()
            handle.stop()
            assert (await handle.wait()).status in ("stopped", "completed")

    virtually(test)


# Errors.


async def ended(bound: Any, ask: Callable[[Any], Awaitable[None]]) -> list[BaseException]:
    """Run, ask something of the handle; what the run raised."""
    raised: list[BaseException] = []

    async def run(*, task_status: Any) -> None:
        try:
            await bound.run(task_status=task_status)
        except (Exception, KeyboardInterrupt) as error:
            raised.append(error)

    async with trio.open_nursery() as nursery:
        handle = await nursery.start(run)
        await trio.sleep(5)
        await ask(handle)
    return raised


class Failing(MemorySink):
    """Fails once in one of the barrier's calls, at the n-th call behind `arm`."""

    def arm(self, method: str, nth: int, error: BaseException) -> None:
        object.__setattr__(self, "armed", [method, nth, error])

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "armed", ["", 0, None])

    armed: list[Any]

    def _strike(self, method: str) -> None:
        if self.armed[0] == method:
            self.armed[1] -= 1
            if self.armed[1] == 0:
                raise self.armed[2]

    async def write(self, records: Any) -> None:
        self._strike("write")
        await super().write(records)

    async def prepare(self) -> Any:
        self._strike("prepare")
        return await super().prepare()

    async def commit(self, token: Any) -> None:
        self._strike("commit")
        await super().commit(token)


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("step", ["write", "prepare", "before", "after", "commit"])
def test_an_error_or_a_crash_at_any_step_of_it_loses_and_repeats_nothing(
    step: str, nth: int, kind: type[BaseException]
) -> None:
    """The first is at the cut, the two behind it are the replay's own; writes are all of the replay."""

    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {0, 1, 2, 3, 4}, {6}
        source, sink = rig.source(8), Failing()
        pipeline = Pipeline(source, name="p").map(rig.check).pipe(Dedupe(), name="d").to(sink, name="out")
        bound = rig.build(pipeline, checkpoint_every=4, batch_size=2)
        error = kind("struck")

        async def ask(handle: Any) -> None:
            rig.bad.clear()
            if step in ("before", "after"):
                rig.store.fail_at.append((len(rig.store.saved) + nth - 1, step, error))
            else:
                sink.arm(step, nth, error)
            with pytest.raises(AgoraError, match="failed, and the replay with it") as raised:
                await handle.replay()
            assert raised.value.__cause__ is error

        raised = await ended(bound, ask)
        rig.store.fail_at.clear()
        sink.armed = ["", 0, None]
        if raised:
            assert raised == [error]
        await bound.run()
        await bound.replay()
        assert sorted(ids(sink.records)) == list(range(8))
        assert await rig.letters() == []
        assert sorted(set(source.given)) == list(range(8))

    virtually(test)


def test_an_error_in_it_says_that_it_was_a_replayed_letters() -> None:
    async def test(rig: Rig) -> None:
        rig.bad, rig.waits = {1}, {3}
        source = rig.source(4)
        down: list[int] = []

        def step(record: Any) -> Any:
            if down:
                raise OSError("down")
            return record

        pipeline = Pipeline(source, name="p").map(rig.check).map(step, name="late", on_error="stop")
        bound = rig.build(pipeline.to(MemorySink()))

        async def ask(handle: Any) -> None:
            rig.bad.clear()
            down.append(1)
            with pytest.raises(AgoraError):
                await handle.replay()

        [error] = await ended(bound, ask)
        assert isinstance(error, OSError)
        assert "stage middleware:late, replayed letter 0" in error.__notes__[0]
        assert await rig.left() == [(1, 1)]

    virtually(test)
