"""A run inside an app: stop, wait, checkpoint, stats, records."""

from typing import Any

import pytest
import trio
from support import CountingStore, ListSink, Records, run_virtual

from agora import AgoraError, Backpressure, ConfigError, Pipeline
from agora.sinks import MemorySink
from agora.sources import IterableSource


def test_stop_while_the_source_waits_delivers_and_checkpoints_what_was_read() -> None:
    async def main() -> None:
        source, sink, store = (
            Records(100, delay=lambda number: 0 if number < 5 else 1e5),
            ListSink(),
            CountingStore(),
        )
        bound = (
            Pipeline(source, name="p")
            .to(sink)
            .build(checkpoint_store=store, checkpoint_every=100, linger=1e4)
        )
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            await trio.sleep(1)
            assert sink.records == []
            handle.stop()
            handle.stop()
            summary = await handle.wait()
            handle.stop()
        assert (summary.status, summary.stop_reason, summary.read) == ("stopped", "stop", 5)
        assert len(sink.records) == 5
        assert [each.ordinal for each in store.saved] == [5]
        assert not store.saved[0].completed

    run_virtual(main)


@pytest.mark.parametrize("block", [None, 7])
def test_stop_while_the_source_is_fast_loses_and_repeats_nothing(block: int | None) -> None:
    async def main() -> None:
        source, sink, store = Records(3000, block=block), ListSink(delay=lambda: 0.01), CountingStore()
        bound = (
            Pipeline(source, name="p")
            .to(sink)
            .build(checkpoint_store=store, checkpoint_every=50, batch_size=16)
        )
        runs = 0
        while True:
            async with trio.open_nursery() as nursery:
                handle = await nursery.start(bound.run)
                await trio.sleep(0.3)
                handle.stop()
                summary = await handle.wait()
            runs += 1
            assert summary.read == summary.written
            if summary.status == "completed":
                break
        assert runs > 3
        assert [each["id"] for each in sink.records] == list(range(3000))
        assert block is not None or source.given == list(range(3000))  # blocks that were cut are read again

    run_virtual(main)


def test_a_record_that_comes_with_the_stop_is_not_lost() -> None:
    async def main(seed: int) -> None:
        send, receive = trio.open_memory_channel[int](0)
        sink = ListSink()
        bound = Pipeline(IterableSource(receive), name="p").to(sink).build()
        sent: list[int] = []

        async def feed(handle: Any) -> None:
            async with send:
                for number in range(seed % 4 + 1):
                    await send.send(number)
                    sent.append(number)
                handle.stop()
                with trio.move_on_after(5):
                    await send.send(99)
                    sent.append(99)

        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            nursery.start_soon(feed, handle)
        assert sink.records == sent

    for seed in range(12):
        run_virtual(main, seed, seed=seed)


def test_stop_before_the_first_record_reads_none() -> None:
    async def main() -> None:
        source = Records(5)
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(Pipeline(source, name="p").to(ListSink()).build().run)
            handle.stop()
            summary = await handle.wait()
        assert (summary.read, summary.status, source.given) == (0, "stopped", [])

    run_virtual(main)


class SlowBarrier(MemorySink):
    async def prepare(self) -> Any:
        await trio.sleep(10)
        return await super().prepare()


def test_stop_during_a_barrier_ends_behind_it() -> None:
    async def main() -> None:
        store, sink = CountingStore(), SlowBarrier()
        source = Records(1000, delay=lambda number: 1.0)
        bound = (
            Pipeline(source, name="p").to(sink).build(checkpoint_store=store, checkpoint_every=5, linger=0)
        )
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            await trio.sleep(12)
            assert not store.saved
            handle.stop()
            summary = await handle.wait()
        assert len(sink.records) == summary.read == store.saved[-1].ordinal
        assert store.saved[0].ordinal == 5

    run_virtual(main)


def test_wait_tells_of_a_run_that_failed_and_the_handle_stays_usable() -> None:
    async def main() -> None:
        bound = (
            Pipeline(Records(9, fail_at=3), name="p")
            .to(ListSink())
            .build(checkpoint_store=CountingStore(), checkpoint_every=2)
        )
        kept: list[Any] = []

        async def run(task_status: Any) -> None:
            with pytest.raises(RuntimeError, match="the source broke"):
                await bound.run(task_status=task_status)

        async with trio.open_nursery() as nursery:
            kept.append(await nursery.start(run))
        [handle] = kept
        with pytest.raises(AgoraError, match="failed") as raised:
            await handle.wait()
        assert isinstance(raised.value.__cause__, RuntimeError)
        handle.stop()
        assert handle.stats().read == 3
        with pytest.raises(AgoraError, match="checkpoint at record 3"):
            await handle.checkpoint()

    run_virtual(main)


def test_a_handle_of_a_cancelled_run_stays_usable() -> None:
    async def main() -> None:
        bound = Pipeline(Records(99, delay=lambda number: 1.0), name="p").to(ListSink()).build()
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            await trio.sleep(5.5)
            nursery.cancel_scope.cancel()
        handle.stop()
        with pytest.raises(AgoraError):
            await handle.wait()
        assert handle.stats().in_flight <= 6

    run_virtual(main)


def test_the_rate_is_of_the_time_since_the_first_record_could_come() -> None:
    async def main() -> None:
        bound = Pipeline(Records(9, delay=lambda number: 0.125), name="p").to(ListSink()).build()
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            assert (handle.stats().read, handle.stats().rate) == (0, 0.0)
            await trio.sleep(0.55)
            stats = handle.stats()
            assert (stats.read, stats.rate) == (4, pytest.approx(4 / 0.55))

    run_virtual(main)


def test_checkpoint_saves_behind_what_was_read_so_far() -> None:
    async def main() -> None:
        store, sink = CountingStore(), ListSink()
        source = Records(50, delay=lambda number: 1.0)
        bound = (
            Pipeline(source, name="p")
            .to(sink)
            .build(checkpoint_store=store, checkpoint_every=1000, linger=1e4)
        )
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            await trio.sleep(7.5)
            assert sink.records == []
            saved = await handle.checkpoint()
            assert saved.ordinal == saved.position == 7 == len(sink.records)
            assert handle.stats().checkpoint == saved
        assert [each.ordinal for each in store.saved] == [7, 50]
        assert await handle.checkpoint() == store.saved[-1]

    run_virtual(main)


def test_without_a_store_there_is_no_checkpoint_to_make() -> None:
    async def main() -> None:
        bound = Pipeline(Records(40, delay=lambda number: 0.5), name="p").to(ListSink()).build()
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            await trio.sleep(3)
            assert await handle.checkpoint() is None

    run_virtual(main)


def test_stats_show_the_run() -> None:
    async def main() -> None:
        sink = ListSink(delay=lambda: 2.0)
        source = Records(40, delay=lambda number: 0.5)
        bound = Pipeline(source, name="p").to(sink).build(backpressure=Backpressure.fixed(8), linger=0)
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            seen = []
            for _ in range(20):
                await trio.sleep(1)
                seen.append(handle.stats())
        assert all(0 <= each.in_flight <= each.in_flight_limit == 8 for each in seen)
        assert all(each.read >= each.written for each in seen)
        assert seen[-1].read > seen[3].read > 0
        assert max(each.in_flight for each in seen) > 2

    run_virtual(main)


# records()


def test_records_gives_the_results_and_the_sinks_theirs() -> None:
    async def main() -> None:
        sink = ListSink()
        bound: Any = Pipeline(Records(20), name="p").map(lambda record: record["id"]).to(sink).build()
        async with bound.records() as records:
            assert [each async for each in records] == list(range(20)) == sink.records

    run_virtual(main)


def test_records_without_a_sink_while_run_wants_one() -> None:
    async def main() -> None:
        bound = Pipeline(Records(3), name="p").build()
        async with bound.records() as records:
            assert len([each async for each in records]) == 3
        with pytest.raises(ConfigError, match="no sink"):
            await bound.run()

    run_virtual(main)


def test_leaving_records_early_ends_the_run_and_it_can_run_again() -> None:
    async def main() -> None:
        source = Records(10**6)
        bound = Pipeline(source, name="p").build(batch_size=4, backpressure=Backpressure.fixed(8))
        for _ in range(2):
            async with bound.records() as records:
                async for record in records:
                    if record["id"] % 10 == 5:
                        break
        assert len(source.given) < 60

    run_virtual(main)


def test_an_error_of_the_block_comes_out_itself() -> None:
    async def main() -> None:
        mine = KeyError("mine")
        with pytest.raises(KeyError) as raised:
            async with Pipeline(Records(9), name="p").build().records() as records:
                async for _ in records:
                    raise mine
        assert raised.value is mine

    run_virtual(main)


@pytest.mark.parametrize("fail_at", [0, 5])
def test_an_error_of_the_run_comes_out_where_the_iteration_ends(fail_at: int) -> None:
    async def main() -> None:
        broken = RuntimeError("broken")
        bound = Pipeline(Records(9, fail_at=fail_at, error=broken), name="p").build()
        seen: list[Any] = []
        believed = False
        with pytest.raises(RuntimeError) as raised:
            async with bound.records() as records:
                async for record in records:
                    seen.append(record["id"])  # noqa: PERF401  - what came before the error counts
                believed = True  # that this was all
        assert raised.value is broken
        assert seen == list(range(fail_at))
        assert not believed

    run_virtual(main)


def test_records_is_cancelled_with_its_block() -> None:
    async def main() -> None:
        with trio.move_on_after(3) as scope:
            async with Pipeline(Records(9, delay=lambda number: 1.0), name="p").build().records() as records:
                async for _ in records:
                    await trio.sleep_forever()
        assert scope.cancelled_caught

    run_virtual(main)


def test_a_checkpoint_never_covers_a_record_that_the_block_has_not_received() -> None:
    async def main() -> None:
        store = CountingStore()
        bound = Pipeline(Records(30), name="p").build(checkpoint_store=store, checkpoint_every=1)
        seen: list[int] = []
        for _ in range(10):
            async with bound.records() as records:
                async for record in records:
                    seen.append(record["id"])
                    assert not store.saved or store.saved[-1].ordinal <= len(set(seen))
                    if record["id"] % 4 == 3:
                        break
        assert sorted(set(seen)) == list(range(30))

    run_virtual(main)
