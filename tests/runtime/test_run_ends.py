"""How runs end (`agora.runtime.run`, `agora.runtime.stream`): what sinks and queues are asked for, what errors say, and
what is told of the run."""

from functools import partial
from typing import Any

import pytest
import trio
from support import CountingStore, ListSink, Records, run_virtual

from agora import AgoraError, Pipeline, seam
from agora.state import MemoryBackend, StateDLQSink
from agora.tracing import InMemoryTracer


class Sink(ListSink):
    """Notes what it is asked for at the end."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.told: list[str] = []

    def finish(self) -> None:
        self.told.append("finish")

    async def flush(self) -> None:
        self.told.append("flush")

    async def publish(self) -> None:
        self.told.append("publish")


class Live(Sink):
    live = True


async def as_it_is(record: Any) -> Any:
    return record


def fail(record: Any) -> Any:
    raise ValueError(record)


def test_without_checkpoints_targets_appear_at_the_end_of_a_run_that_didn_t_fail() -> None:
    sink, live = Sink(), Live()
    bound = Pipeline(Records(4), name="p").to(sink).to(live).build()
    run_virtual(bound.run)
    assert sink.told == ["finish", "flush", "publish"]
    sink.told.clear()
    live.told.clear()
    run_virtual(lambda: bound.run(max_records=2))
    assert sink.told == ["flush", "publish"]  # what waits for more records isn't finished: the source isn't
    assert "publish" not in live.told
    failing = Pipeline(Records(4), name="p").map(fail).to(broken := Sink()).build()
    with pytest.raises(ValueError, match="0"):
        run_virtual(failing.run)
    assert broken.told == []


def test_letters_appear_however_the_run_ends() -> None:
    queue = Sink()
    run_virtual(Pipeline(Records(2), name="p").map(fail).to(ListSink()).build(dlq=queue).run)
    assert (queue.told, len(queue.records)) == (["finish", "flush", "publish"], 2)
    queue.told.clear()
    broken = Pipeline(Records(9), name="p").map(fail).to(ListSink()).build(dlq=queue, max_dead_letters=3)
    with pytest.raises(AgoraError, match="max_dead_letters"):
        run_virtual(broken.run)
    assert queue.told == ["finish", "flush", "publish"]
    queue.told.clear()

    class Refusing(Records):
        def open(self, context: Any) -> None:
            raise OSError("refused")

    with pytest.raises(OSError, match="refused"):
        run_virtual(Pipeline(Refusing(1), name="p").to(ListSink()).build(dlq=queue).run)
    assert queue.told == []  # nothing was begun


def test_with_checkpoints_nothing_is_published_and_a_queue_is_flushed_at_each() -> None:
    sink, queue = Sink(), Sink()
    bound = Pipeline(Records(4), name="p").to(sink).build(
        checkpoint_store=CountingStore(), dlq=queue, checkpoint_every=2, batch_size=2
    )  # fmt: skip
    run_virtual(bound.run)
    assert "publish" not in [*sink.told, *queue.told]
    assert sink.told.count("flush") == queue.told.count("flush") >= 2
    assert sink.told.count("finish") == 1


class Closing(Sink):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def close(self) -> None:
        self.error.add_note("a note of its own")
        raise self.error


def test_the_first_error_comes_out_with_its_place_the_way_on_and_what_came_then() -> None:
    bound = Pipeline(Records(4), name="p").map(fail, name="m").to(Closing(OSError("late")), name="s").build()
    with pytest.raises(ValueError, match="0") as raised:
        run_virtual(bound.run)
    place, then = raised.value.__notes__
    assert place.startswith("in pipeline 'p', run ")
    assert place.endswith(
        ", stage middleware:m, record 0; nothing was checkpointed: the next run starts from the beginning"
    )
    assert then == "then OSError: late (a note of its own; while closing sink:s (Closing.close))"


@pytest.mark.parametrize(
    ("fail_at", "way_on"),
    [
        (1, "no checkpoint was saved yet: the next run starts from the beginning"),
        (3, "the next run goes on behind record 2, where the last checkpoint is"),
    ],
)
def test_with_checkpoints_the_way_on_is_told(fail_at: int, way_on: str) -> None:
    source = Records(6, fail_at=fail_at)
    bound = (
        Pipeline(source, name="p").to(ListSink()).build(checkpoint_store=CountingStore(), checkpoint_every=2)
    )
    with pytest.raises(RuntimeError, match="the source broke") as raised:
        run_virtual(bound.run)
    assert raised.value.__notes__[0].endswith(f"stage source, record {fail_at}; {way_on}")


def test_where_the_store_cannot_be_asked_nothing_is_said_of_checkpoints() -> None:
    class Broken(CountingStore):
        async def load(self, pipeline: str) -> Any:
            raise OSError("no disk")

    with pytest.raises(OSError, match="no disk") as raised:
        run_virtual(Pipeline(Records(1), name="p").to(ListSink()).build(checkpoint_store=Broken()).run)
    assert (
        "; what was checkpointed is as it was, and the next run goes on from there"
        in raised.value.__notes__[0]
    )


class Rude(Records):
    """Raises when it is closed."""

    async def stream(self) -> Any:
        try:
            for number in range(9):
                yield number
        finally:
            raise KeyError("rude")


def test_a_source_that_raises_when_it_is_closed_fails_the_run_with_its_place() -> None:
    sink = ListSink()
    with pytest.raises(KeyError, match="rude") as raised:
        run_virtual(lambda: Pipeline(Rude(1), name="p").to(sink).build().run(max_records=2, run_id="r"))
    assert sink.records == [0, 1]
    assert raised.value.__notes__ == [
        "in pipeline 'p', run r; nothing was checkpointed: the next run starts from the beginning"
    ]


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("name", ["agora.source", "agora.middleware.m", "agora.sink.s"])
def test_an_error_of_a_tracer_ends_the_run_as_it_is_with_its_place(name: str, concurrency: int) -> None:
    class Failing(InMemoryTracer):
        def span(self, asked: str, **more: Any) -> Any:
            if asked == name:
                raise KeyError(name)
            return super().span(asked, **more)

    pipeline = Pipeline(Records(3), name="p").map(as_it_is, name="m", concurrency=concurrency)
    with pytest.raises(KeyError, match=name) as raised:
        run_virtual(pipeline.to(ListSink(), name="s").build(tracer=Failing()).run)
    assert "the next run starts from the beginning" in raised.value.__notes__[0]


def test_an_error_that_comes_later_and_has_no_notes_is_told_as_it_is() -> None:
    sink = ListSink(how="record", bad=lambda record: True, delay=lambda: 1.0)
    bound = Pipeline(Rude(1), name="p").to(sink).build()
    with pytest.raises(ValueError, match="refused 0") as raised:
        run_virtual(lambda: bound.run(max_records=2))  # it is closed before the first one is written
    assert raised.value.__notes__[1:] == ["then KeyError: 'rude'"]


def test_what_finish_gives_is_counted_as_coming_of_the_last_record() -> None:
    class Holding:
        def process(self, record: Any) -> None: ...

        def finish(self) -> list[Any]:
            return ["a", "b"]

    sink = ListSink()
    told = run_virtual(Pipeline(Records(3), name="p").pipe(Holding()).to(sink).build().run)
    assert (told.read, told.written, told.dropped, sink.records) == (3, 2, 2, ["a", "b"])


def test_a_transactional_queue_is_prepared_and_committed_with_the_sinks() -> None:
    class Queue(ListSink):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[str] = []

        async def prepare(self) -> Any:
            return len(self.records)

        async def commit(self, token: Any) -> None:
            self.told.append(f"commit {token}")

    queue, store = Queue(), CountingStore()
    run_virtual(
        Pipeline(Records(2), name="p").map(fail).to(ListSink()).build(dlq=queue, checkpoint_store=store).run
    )
    assert queue.told[0] == "commit 2"
    assert store.saved[-1].sinks["(dlq)"] == 2


def test_a_summary_tells_all_of_the_run_and_nothing_of_others() -> None:
    def odd(record: Any) -> Any:
        return record["id"] % 2

    store = CountingStore()
    sink = ListSink(bad=lambda record: record["id"] == 7)
    bound = (
        Pipeline(Records(10, block=5), name="p")
        .filter(odd, name="odd")
        .map(lambda record: record if record["id"] != 3 else fail(3), name="three")
        .to(sink, name="s", where=lambda record: record["id"] != 9, on_error="skip")
        .build(checkpoint_store=store, dlq=ListSink(), checkpoint_every=5)
    )
    told = run_virtual(bound.run)
    assert (told.pipeline, told.status, told.stop_reason, told.resumed_from) == ("p", "completed", None, None)
    assert (told.read, told.written, told.dropped, told.dead_lettered, told.skipped) == (10, 2, 6, 1, 1)
    assert told.checkpoints == len(store.saved) == 2
    stages = {
        name: (each.entered, each.left, each.dropped, each.failed) for name, each in told.stages.items()
    }
    assert stages == {
        "source": (10, 10, 0, 0),
        "middleware:odd": (10, 5, 5, 0),
        "middleware:three": (5, 4, 0, 1),
        "sink:s": (3, 2, 0, 1),
    }
    assert 5 <= told.peak_in_flight <= 10
    assert told.run_id == store.saved[-1].run_id


def test_the_duration_is_that_of_the_run_by_the_clock_at_hand() -> None:
    class Clocked(seam.Seam):
        def monotonic(self) -> float:
            return trio.current_time()

    async def main() -> Any:
        await trio.sleep(50)
        return await Pipeline(Records(3, delay=lambda number: 2.0), name="p").to(ListSink()).build().run()

    with seam.use(Clocked()):
        assert round(run_virtual(main).duration, 3) == 6


def test_what_is_under_way_is_told_as_it_goes() -> None:
    async def main() -> None:
        await trio.sleep(7)
        store = CountingStore()
        bound = (
            Pipeline(Records(10, delay=lambda number: 1.0), name="p")
            .filter(lambda record: record["id"] % 2 == 0)
            .to(ListSink(delay=lambda: 0.0))
            .build(checkpoint_store=store, checkpoint_every=4, linger=0.0, batch_size=1)
        )
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            await trio.sleep(0.5)
            assert (handle.stats().read, handle.stats().rate) == (0, 0.0)
            await trio.sleep(0.5 + 0.25)
            assert round(handle.stats().rate, 3) == round(1 / 1.25, 3)
            await trio.sleep(6.5 - 1.25)
            now = handle.stats()
            assert (now.read, now.written, now.dropped, now.dead_lettered, now.skipped) == (6, 3, 3, 0, 0)
            assert (now.in_flight, now.checkpoint.ordinal) == (0, 4)
            assert round(now.rate, 3) == round(6 / 6.5, 3)
            assert now.in_flight_limit >= 1
            saved = await handle.checkpoint()
            assert saved is not None
            assert saved.ordinal == 6
            handle.stop()
            assert (await handle.wait()).stop_reason == "stop"
        assert await handle.checkpoint() == saved  # it is over: the last one

    run_virtual(main)


def test_where_none_is_saved_there_is_no_checkpoint_to_ask_for() -> None:
    async def main() -> Any:
        async with trio.open_nursery() as nursery:
            bound = Pipeline(Records(3, delay=lambda number: 1.0), name="p").to(ListSink()).build()
            handle = await nursery.start(bound.run)
            assert handle.stats().rate == 0.0
            return await handle.checkpoint()

    assert run_virtual(main) is None


class Part(Sink):
    """Is all that a pipeline has."""

    supports_checkpoint = False

    def process(self, record: Any) -> Any:
        return record

    async def stream(self) -> Any:
        await trio.sleep(1)
        yield {"id": 1}


@pytest.mark.parametrize("place", ["source", "step", "sink", "queue"])
@pytest.mark.parametrize("other", ["source", "step", "sink", "queue"])
def test_a_part_is_in_one_run_at_a_time_wherever_it_stands(place: str, other: str) -> None:
    shared = Part()

    def bound(where: str) -> Any:
        parts = {"source": Part(), "step": Part(), "sink": Part(), "queue": Part()} | {where: shared}
        return (
            Pipeline(parts["source"], name=where)
            .pipe(parts["step"])
            .to(parts["sink"])
            .build(dlq=parts["queue"])
        )

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(bound(place).run)
            with pytest.raises(
                trio.BusyResourceError, match=f"{other!r}: Part is in use by a run of pipeline {place!r}"
            ):
                await bound(other).run()
        await bound(other).run()

    run_virtual(main)


def test_a_queue_on_a_state_may_serve_several_runs_at_once() -> None:
    async def main() -> None:
        queue = StateDLQSink(MemoryBackend())
        await queue.state.open()
        async with trio.open_nursery() as nursery:
            for name in "ab":
                pipeline = Pipeline(Part(), name=name).map(fail).to(ListSink())
                await nursery.start(pipeline.build(dlq=queue).run)
        assert [[letter.pipeline async for letter in queue.read(name)] for name in "ab"] == [["a"], ["b"]]

    run_virtual(main)


def test_two_pipelines_without_a_queue_share_nothing() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name in "ab":
                await nursery.start(Pipeline(Part(), name=name).to(ListSink()).build().run)

    run_virtual(main)


def test_who_asks_for_a_checkpoint_of_a_run_that_fails_first_is_told() -> None:
    class Failing(ListSink):
        async def write(self, records: Any) -> None:
            await trio.sleep(5)
            raise OSError("disk")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            bound = Pipeline(Records(3, delay=lambda number: number * 10.0), name="p").to(Failing())
            handle = await nursery.start(watched, bound.build(checkpoint_store=CountingStore(), linger=0.0))
            await trio.sleep(1)
            with pytest.raises(AgoraError, match="ended before the checkpoint at record 1 was saved"):
                await handle.checkpoint()

    async def watched(bound: Any, *, task_status: Any) -> None:
        with pytest.raises(OSError, match="disk"):
            await bound.run(task_status=task_status)

    run_virtual(main)


# Replays beside and within a run.


def flaky(broken: list[bool]) -> Any:
    def step(record: Any) -> Any:
        if broken[0]:
            raise ValueError(record["id"])
        return record

    return step


def with_letters(store: CountingStore, sink: Any, source: Any, broken: list[bool]) -> Any:
    return (
        Pipeline(source, name="p")
        .map(flaky(broken), name="m")
        .to(sink)
        .build(checkpoint_store=store, dlq=StateDLQSink(store.state))
    )


async def three_letters(store: CountingStore, sink: Any, source: Any) -> Any:
    """The pipeline, mended, with three letters of its first three records."""
    await store.state.open()
    broken = [True]
    bound = with_letters(store, sink, source, broken)
    assert (await bound.run(max_records=3)).dead_lettered == 3
    broken[0] = False
    return bound


def test_a_replay_s_summary_is_its_own() -> None:
    async def main() -> None:
        sink = ListSink()
        bound = await three_letters(CountingStore(), sink, Records(3))
        told = await bound.replay()
        assert (told.read, told.written, told.resumed_from) == (3, 3, None)
        assert [record["id"] for record in sink.records] == [0, 1, 2]

    run_virtual(main)


@pytest.mark.parametrize("block", [None, 2])
def test_a_replay_in_a_run_has_all_its_letters_whatever_the_run_reads_or_passes_over(
    block: int | None,
) -> None:
    async def main() -> None:
        sink, store = ListSink(), CountingStore()
        bound = await three_letters(store, sink, Records(9, block=block))
        bound.spec.source.delay = lambda number: 50.0
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(partial(bound.run, max_records=1))
            told = await handle.replay()
            assert (told.read, told.written, told.resumed_from) == (3, 3, None)
        assert [record["id"] for record in sink.records] == [0, 1, 2, 3]
        assert store.saved[-1].ordinal == 4

    run_virtual(main)


def test_an_error_in_a_replay_says_which_letter_it_was() -> None:
    async def main() -> None:
        sink, store = ListSink(), CountingStore()
        bound = await three_letters(store, sink, Records(9, delay=lambda number: 1.0))

        def strict(record: Any) -> Any:
            if record["id"] == 1:
                raise SystemError("strict")
            return record

        again = Pipeline(Records(9, delay=lambda number: 1.0), name="p").map(
            strict, name="m", on_error="stop"
        )
        failing = again.to(sink).build(checkpoint_store=store, dlq=bound.spec.dlq)
        with pytest.raises(SystemError, match="strict") as alone:
            await failing.replay()
        assert "stage middleware:m, replayed letter 1" in alone.value.__notes__[0]

        async def asks(handle: Any) -> None:
            with pytest.raises(AgoraError, match="failed, and the replay with it"):
                await handle.replay()

        with pytest.raises(BaseExceptionGroup) as raised:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(asks, await nursery.start(failing.run))
        (error,) = raised.value.exceptions
        assert "stage middleware:m, replayed letter 1" in error.__notes__[0]

    run_virtual(main)


def test_a_replay_holds_the_parts_of_its_pipeline() -> None:
    async def main() -> None:
        sink = ListSink()
        bound = await three_letters(CountingStore(), sink, Records(9, delay=lambda number: 1.0))
        other = Pipeline(Records(5, delay=lambda number: 1.0), name="other").to(sink).build()
        async with trio.open_nursery() as nursery:
            await nursery.start(other.run)
            with pytest.raises(
                trio.BusyResourceError, match="ListSink is in use by a run of pipeline 'other'"
            ):
                await bound.replay()
        assert (await bound.replay()).written == 3

    run_virtual(main)
