"""Order of effects, the error that comes out, checkpoints, time."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
import trio
from support import CountingStore, ListSink, Records, agora_threads, run_virtual

from agora import Backpressure, Pipeline, SourceChanged
from agora.sinks import MemorySink


@pytest.mark.parametrize("block", [None, 5])
def test_fixed_1_interleaves_source_chain_and_sink_record_by_record(block: int | None) -> None:
    events: list[str] = []

    async def main() -> None:
        class Source(Records):
            async def stream(self) -> AsyncGenerator[Any]:
                async with aclosing(Records.stream(self)) as stream:
                    async for record in stream:
                        events.append(f"read {record['id']}")
                        yield record

        def step(record: Any) -> Any:
            events.append(f"step {record['id']}")
            return record

        async def later(record: Any) -> Any:
            events.append(f"later {record['id']}")
            return record

        source = Source(6) if block is None else Records(6, block=block)
        pipeline = Pipeline(source, name="p").map(step).map(later, concurrency=4)
        await (
            pipeline.to(lambda record: events.append(f"write {record['id']}"))
            .build(backpressure=Backpressure.fixed(1))
            .run()
        )

    run_virtual(main)
    names = ["read", "step", "later", "write"][block is not None :]
    assert events == [f"{name} {number}" for number in range(6) for name in names]


def test_the_original_error_comes_out_itself_with_notes_that_say_where_and_how_to_go_on() -> None:
    async def main() -> None:
        broken = KeyError("broken")

        def step(record: Any) -> Any:
            if record["id"] == 17:
                raise broken
            return record

        sink, store = ListSink(), CountingStore()
        bound = (
            Pipeline(Records(40), name="orders")
            .map(step, name="convert")
            .to(sink)
            .build(checkpoint_store=store, checkpoint_every=5, batch_size=4)
        )
        with pytest.raises(KeyError) as raised:
            await bound.run(run_id="run-7")
        assert raised.value is broken
        notes = "\n".join(broken.__notes__)
        for part in ("'orders'", "run-7", "middleware:convert", "record 17", "behind record 15"):
            assert part in notes
        assert [each["id"] for each in sink.records] == list(range(17))
        assert [each.ordinal for each in store.saved] == [5, 10, 15]

    run_virtual(main)


@pytest.mark.parametrize("concurrency", [1, 5])
def test_what_comes_before_a_failure_is_delivered_first_whatever_finished_first(concurrency: int) -> None:
    async def main() -> None:
        async def step(record: Any) -> Any:
            await trio.sleep(0 if record["id"] == 7 else 5)
            if record["id"] >= 7:
                raise ValueError(record["id"])
            return record

        sink = ListSink()
        with pytest.raises(ValueError, match="7"):
            await Pipeline(Records(30), name="p").map(step, concurrency=concurrency).to(sink).build().run()
        assert [each["id"] for each in sink.records] == list(range(7))

    run_virtual(main)


def test_under_stop_a_segment_runs_no_later_records() -> None:
    seen: list[int] = []

    def step(record: Any) -> Any:
        seen.append(record["id"])
        if record["id"] == 3:
            raise ValueError
        return record

    class Batches:
        min_concurrency = 1

        def process_batch(self, records: Any) -> Any:
            seen.extend(record["id"] for record in records)
            return [ValueError() if record["id"] == 3 else record for record in records]

    async def main(pipeline: Any) -> None:
        with pytest.raises(ValueError):  # noqa: PT011  - any
            await pipeline.to(lambda record: None).build(batch_size=2).run()

    run_virtual(main, Pipeline(Records(30), name="p").map(step))
    assert seen == [0, 1, 2, 3]
    seen.clear()
    run_virtual(main, Pipeline(Records(30), name="p").pipe(Batches()))
    assert seen == [0, 1, 2, 3]
    seen.clear()
    run_virtual(main, Pipeline(Records(3000), name="p").pipe(Batches(), concurrency=2))
    assert max(seen) < 30


def test_the_error_of_a_source_comes_behind_what_it_gave() -> None:
    async def main(block: int | None) -> None:
        broken = OSError("gone")
        sink, store = ListSink(), CountingStore()
        source = Records(20, block=block, fail_at=11, error=broken)
        bound = (
            Pipeline(source, name="p")
            .to(sink)
            .build(checkpoint_store=store, checkpoint_every=4, batch_size=3)
        )
        with pytest.raises(OSError, match="gone") as raised:
            await bound.run()
        assert raised.value is broken
        assert len(sink.records) == 11
        assert [each.ordinal for each in store.saved] == [4, 8]
        assert "stage source, record 11" in "\n".join(broken.__notes__)

    run_virtual(main, None)
    run_virtual(main, 6)


def test_a_source_that_raises_when_it_is_closed_fails_the_run_behind_what_was_read() -> None:
    class Source(Records):
        async def stream(self) -> AsyncGenerator[Any]:
            try:
                async with aclosing(Records.stream(self)) as stream:
                    async for record in stream:
                        yield record
            finally:
                raise OSError("cleanup")

    async def main(max_records: int | None) -> None:
        sink = ListSink()
        with pytest.raises(OSError, match="cleanup"):
            await Pipeline(Source(9), name="p").to(sink).build().run(max_records=max_records)
        assert len(sink.records) == (max_records or 9)

    run_virtual(main, 4)
    run_virtual(main, None)


def test_a_source_may_hold_a_cancel_scope_over_its_yields() -> None:
    class Source(Records):
        async def stream(self) -> AsyncGenerator[Any]:
            with trio.CancelScope():
                async with aclosing(Records.stream(self)) as stream:
                    async for record in stream:
                        yield record

    async def main() -> None:
        for run in range(3):
            source, sink = Source(50, delay=lambda number: 0.1), ListSink()
            bound = Pipeline(source, name="p").to(sink).build(linger=0.15, batch_size=7)
            async with trio.open_nursery() as nursery:
                handle = await nursery.start(bound.run)
                await trio.sleep((1.23, 0, 1e3)[run])
                handle.stop()
                summary = await handle.wait()
            assert summary.read == len(sink.records)

    run_virtual(main)


def test_a_source_with_tasks_of_its_own_is_a_safe_channel() -> None:
    class Source(Records):
        @trio.as_safe_channel
        async def stream(self) -> AsyncGenerator[Any]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                async with aclosing(Records.stream(self)) as stream:
                    async for record in stream:
                        yield record
                nursery.cancel_scope.cancel()

    async def main() -> None:
        source, sink, store = Source(20), ListSink(), CountingStore()
        bound = Pipeline(source, name="p").to(sink).build(checkpoint_store=store, checkpoint_every=3)
        assert (await bound.run(max_records=7)).stop_reason == "max_records"
        assert (await bound.run()).read == 13
        assert [each["id"] for each in sink.records] == list(range(20))
        broken = Source(20, fail_at=5)
        with pytest.raises(RuntimeError, match="the source broke") as raised:
            await Pipeline(broken, name="q").to(sink).build().run()
        assert raised.value is broken.error

    run_virtual(main)


# Checkpoints.


def test_saves_come_exactly_every_so_many_records_and_once_at_the_end_if_anything_is_new() -> None:
    async def main() -> None:
        for count, every in ((10, 5), (11, 5), (4, 5), (0, 5), (3, 1)):
            store = CountingStore()
            bound = Pipeline(Records(count), name="p").to(ListSink())
            built = bound.build(checkpoint_store=store, checkpoint_every=every, batch_size=2)
            await built.run()
            due = [*range(every, count + 1, every)]
            assert [each.ordinal for each in store.saved] == due + ([count] if count % every else [])
            saves = len(store.saved)
            await built.run()
            assert len(store.saved) == saves

    run_virtual(main)


def test_records_are_counted_from_the_start_of_each_run() -> None:
    async def main() -> None:
        store = CountingStore()
        bound = (
            Pipeline(Records(20), name="p").to(ListSink()).build(checkpoint_store=store, checkpoint_every=5)
        )
        await bound.run(max_records=7)
        await bound.run()
        assert [each.ordinal for each in store.saved] == [5, 7, 12, 17, 20]

    run_virtual(main)


def test_committed_is_told_after_each_barrier_and_after_a_recovery_never_on_a_fresh_start() -> None:
    async def main() -> None:
        store, source = CountingStore(), Records(10)
        bound = Pipeline(source, name="p").to(MemorySink()).build(checkpoint_store=store, checkpoint_every=4)
        await bound.run(max_records=5)
        assert source.told == [4, 5]
        await bound.run()
        assert source.told == [4, 5, 5, 9, 10]
        assert source.prepared == [None, 5]
        source.told.clear()
        await bound.run(restart=True)
        assert source.told == [4, 8, 10]
        assert source.prepared[-1] is None

    run_virtual(main)


def test_committed_is_never_told_ahead_of_the_save() -> None:
    async def main() -> None:
        store = CountingStore()

        class Source(Records):
            async def committed(self, position: Any) -> None:
                assert store.saved[-1].position == position
                self.told.append(position)

        source = Source(10)
        await (
            Pipeline(source, name="p").to(ListSink()).build(checkpoint_store=store, checkpoint_every=4).run()
        )
        assert source.told == [4, 8, 10]

    run_virtual(main)


def test_a_source_without_checkpoints_never_touches_the_store(caplog: pytest.LogCaptureFixture) -> None:
    class Untouchable:
        def _refuse(self, *args: Any, **more: Any) -> Any:
            raise AssertionError("the store was called")

        load = save = complete = begin = genesis = delete = list = _refuse

    async def main() -> None:
        source = Records(10, supports_checkpoint=False)
        bound = (
            Pipeline(source, name="p")
            .to(ListSink())
            .build(checkpoint_store=Untouchable(), checkpoint_every=2)
        )
        summary = await bound.run()
        assert (summary.read, summary.checkpoints) == (10, 0)

    run_virtual(main)
    assert "doesn't support checkpoints" in caplog.text


def test_the_interval_saves_when_something_is_new() -> None:
    async def main() -> None:
        store = CountingStore()
        source = Records(12, delay=lambda number: 100.0 if number == 6 else 1.0)
        began = trio.current_time()
        times: list[float] = []

        class Sink(MemorySink):
            async def commit(self, token: Any) -> None:
                times.append(trio.current_time() - began)

        await (
            Pipeline(source, name="p").to(Sink()).build(checkpoint_store=store, checkpoint_interval=2.5).run()
        )
        assert sum(each is not None for each in store.saved) == len(times)
        quiet = [each for each in times if 8 < each < 105]
        assert quiet == []
        assert len(times) in (5, 6, 7)
        assert store.saved[-1].ordinal == 12

    run_virtual(main)


def test_a_part_filled_batch_waits_no_longer_than_linger() -> None:
    async def main() -> None:
        waits: list[float] = []

        async def sink(record: Any) -> None:
            waits.append(trio.current_time() - record["at"])

        source = Records(30, lambda number: {"at": trio.current_time()}, delay=lambda number: 0.3)
        await Pipeline(source, name="p").to(sink).build(linger=1.0).run()
        assert len(waits) == 30
        assert max(waits) <= 1.0 + 1e-6
        assert max(waits) > 0.5  # and batches did form

    run_virtual(main)


def test_max_records_reads_so_many_and_no_more() -> None:
    async def main() -> None:
        for block in (None, 4):
            source, sink = Records(50, block=block), ListSink()
            bound = Pipeline(source, name="p").to(sink).build(batch_size=3)
            for number in (0, 1, 7, 10):
                summary = await bound.run(max_records=number)
                assert (summary.read, summary.status, summary.stop_reason) == (
                    number,
                    "stopped",
                    "max_records",
                )
            assert block is not None or len(source.given) == 18

    run_virtual(main)


def test_a_restart_gives_everything_once_more() -> None:
    async def main() -> None:
        store, sink = CountingStore(), MemorySink()
        bound = Pipeline(Records(10), name="p").to(sink).build(checkpoint_store=store, checkpoint_every=4)
        await bound.run(max_records=6)
        summary = await bound.run(restart=True)
        assert (summary.read, summary.resumed_from) == (10, None)
        assert [each["id"] for each in sink.records] == list(range(10))

    run_virtual(main)


# Real time.


async def test_a_slow_synchronous_step_leaves_other_tasks_their_turn() -> None:
    gaps: list[float] = []

    async def other() -> None:
        last = time.perf_counter()
        while True:
            await trio.lowlevel.checkpoint()
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    def slow(record: Any) -> Any:
        time.sleep(0.01)
        return record

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await Pipeline(Records(70, block=70), name="p").map(slow).to(ListSink()).build().run()
        nursery.cancel_scope.cancel()
    assert sorted(gaps)[-2] < 0.1  # 50 ms, one record's own time, and a loaded machine's
    assert max(gaps) < 0.3
    assert agora_threads() == []


async def test_a_slow_sink_of_single_records_leaves_other_tasks_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await Pipeline(Records(60, block=60), name="p").to(lambda record: time.sleep(0.01)).build().run()
        nursery.cancel_scope.cancel()
    assert turns > 8


# Memory.


def test_what_a_multiplying_step_sends_ahead_of_a_slow_sink_is_bounded() -> None:
    alive = peak = 0

    class Child:
        def __init__(self) -> None:
            nonlocal alive, peak
            alive += 1
            peak = max(peak, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    class Counting:
        seen = 0

        async def write(self, records: Any) -> None:
            self.seen += len(records)
            await trio.sleep(1)

    async def main(concurrency: int) -> None:
        sink = Counting()
        pipeline = Pipeline(Records(3), name="p").flat_map(
            lambda record: (Child() for _ in range(100_000)), concurrency=concurrency
        )
        summary = await pipeline.map(lambda child: child).to(sink).build(batch_size=100).run()
        assert sink.seen == summary.written == 300_000

    for concurrency in (1, 2):
        peak = 0
        run_virtual(main, concurrency)
        assert peak < 2_000


class Held:
    def __init__(self) -> None:
        self.count = 0

    def process(self, record: Any) -> None:
        self.count += 1

    def finish(self) -> Any:
        return (number for number in range(self.count * 1000))


def test_what_finish_gives_goes_on_in_slices() -> None:
    async def main() -> None:
        sink = ListSink()
        await Pipeline(Records(30), name="p").pipe(Held()).to(sink).build(batch_size=100).run()
        assert sink.records == list(range(30_000))
        assert max(sink.calls) <= 100

    run_virtual(main)


def test_children_that_wait_behind_a_slow_one_are_bounded() -> None:
    running = peak = 0

    async def slow_first(child: int) -> int:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await trio.sleep(1000 if child == 0 else 0.001)
        return child

    async def main() -> None:
        sink = ListSink()

        async def write(child: int) -> None:
            nonlocal running
            running -= 1
            sink.records.append(child)

        pipeline = Pipeline(Records(1), name="p").flat_map(lambda record: range(30_000))
        await pipeline.map(slow_first, concurrency=4).to(write).build(batch_size=50).run()
        assert sink.records == list(range(30_000))

    run_virtual(main)
    assert peak < 2_000


def test_an_error_in_opening_tells_the_way_on_by_the_checkpoint_that_there_is() -> None:
    class Moved(Records):
        def identity(self) -> Any:
            return "another"

    async def main() -> None:
        store = CountingStore()
        await store.state.open()
        await Pipeline(Records(3), name="p").to(ListSink()).build(checkpoint_store=store).run()
        with pytest.raises(SourceChanged) as caught:
            await Pipeline(Moved(3), name="p").to(ListSink()).build(checkpoint_store=store).run()
        assert "the next run goes on behind record 3" in "".join(caught.value.__notes__)
        await store.state.close()

    run_virtual(main)
