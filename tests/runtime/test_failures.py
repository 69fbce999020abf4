"""What becomes of records that fail: in steps, in sinks, in the dead-letter queue."""

from collections.abc import Sequence
from typing import Any

import pytest
from support import CountingStore, ListSink, Records, run_virtual

from agora import Backpressure, Pipeline, RecordsRejected, TooManyDeadLetters
from agora.deadletter import DLQRecord, Entry
from agora.records import Malformed
from agora.sinks import MemorySink
from agora.state import MemoryBackend, StateDLQSink


def ids(records: Sequence[Any]) -> list[int]:
    return [record["id"] for record in records]


@pytest.mark.parametrize("how", ["rejected", "atomic", "record"])
def test_one_bad_record_never_takes_its_neighbours_along_and_none_is_written_twice(how: str) -> None:
    async def main() -> None:
        sink, dlq = ListSink(how, bad=lambda record: record["id"] % 10 == 3), MemorySink()
        summary = (
            await Pipeline(Records(64), name="p").to(sink, name="out").build(dlq=dlq, batch_size=16).run()
        )
        assert ids(sink.records) == [number for number in range(64) if number % 10 != 3]
        assert [letter.original for letter in dlq.records] == [{"id": n} for n in range(3, 64, 10)]
        assert {letter.stage for letter in dlq.records} == {"sink:out"}
        assert (summary.written, summary.dead_lettered) == (57, 7)

    run_virtual(main)


def test_a_write_that_does_not_say_what_it_accepted_fails_closed_with_the_three_ways_out() -> None:
    class Sink:
        calls = 0

        async def write(self, records: Any) -> None:
            self.calls += 1
            raise ValueError("bad batch")

    async def main() -> None:
        sink, dlq = Sink(), MemorySink()
        with pytest.raises(ValueError, match="bad batch") as raised:
            await Pipeline(Records(8), name="p").to(sink).build(dlq=dlq).run()
        notes = "\n".join(raised.value.__notes__)
        for way in ("write_record", "RecordsRejected", "atomic_write"):
            assert way in notes
        assert (sink.calls, dlq.records) == (1, [])

    run_virtual(main)


def test_a_batch_of_one_is_its_own_culprit() -> None:
    class Sink:
        async def write(self, records: Any) -> None:
            if records[0]["id"] == 2:
                raise ValueError("bad")

    async def main() -> None:
        dlq = MemorySink()
        await (
            Pipeline(Records(5), name="p").to(Sink()).build(dlq=dlq, backpressure=Backpressure.fixed(1)).run()
        )
        assert [letter.original for letter in dlq.records] == [{"id": 2}]

    run_virtual(main)


@pytest.mark.parametrize("method", ["write", "write_record"])
@pytest.mark.parametrize(
    "error", [OSError("disk"), ConnectionError("lost"), RuntimeError("odd"), AssertionError()]
)
def test_what_does_not_concern_records_fails_closed(method: str, error: Exception) -> None:
    async def fail(records: Any) -> None:
        raise error

    class Sink:
        atomic_write = True

    async def main() -> None:
        sink, dlq, store = Sink(), MemorySink(), CountingStore()
        setattr(sink, method, fail)
        with pytest.raises(type(error)) as raised:
            await (
                Pipeline(Records(5), name="p")
                .to(sink)
                .build(dlq=dlq, checkpoint_store=store, checkpoint_every=1)
                .run()
            )
        assert raised.value is error
        assert dlq.records == []
        assert store.saved == []

    run_virtual(main)


def test_under_stop_the_rejection_itself_comes_out() -> None:
    async def main() -> None:
        sink = ListSink(bad=lambda record: record["id"] == 5)
        with pytest.raises(RecordsRejected) as raised:
            await Pipeline(Records(9), name="p").to(sink, on_error="stop").build(dlq=MemorySink()).run()
        assert raised.value is sink.refused[-1]
        for how in ("atomic", "record"):
            sink = ListSink(how, bad=lambda record: record["id"] == 5)
            with pytest.raises(ValueError, match="refused") as other:
                await Pipeline(Records(9), name="p").to(sink, on_error="stop").build().run()
            assert other.value in sink.refused
            assert ids(sink.records) == [0, 1, 2, 3, 4]

    run_virtual(main)


@pytest.mark.parametrize(
    "errors", [{7: ValueError()}, {-1: ValueError()}, {}, {0: ValueError(), 99: ValueError()}]
)
def test_a_rejection_that_names_records_that_were_not_there_fails_closed(
    errors: dict[int, Exception],
) -> None:
    class Sink:
        async def write(self, records: Any) -> None:
            raise RecordsRejected(errors)

    async def main() -> None:
        dlq = MemorySink()
        with pytest.raises(RecordsRejected):
            await Pipeline(Records(3), name="p").to(Sink()).build(dlq=dlq).run()
        assert dlq.records == []

    run_virtual(main)


def test_a_failing_where_is_that_records_failure_at_that_sink() -> None:
    def where(record: Any) -> bool:
        return bool(1 // (record["id"] - 3)) or True

    async def main() -> None:
        first, other, dlq = ListSink(), ListSink(), MemorySink()
        pipeline = Pipeline(Records(6), name="p").to(first, where=where, name="first")
        summary = await pipeline.to(other, otherwise=True).build(dlq=dlq).run()
        assert ids(first.records) == [0, 1, 2, 4, 5]
        assert other.records == []
        [letter] = dlq.records
        assert (letter.stage, letter.error_type, letter.processed) == (
            "sink:first",
            "ZeroDivisionError",
            {"id": 3},
        )
        assert (summary.written, summary.dead_lettered) == (5, 1)

    run_virtual(main)


def test_a_record_refused_by_one_of_two_sinks_is_dead_lettered_and_the_other_keeps_it() -> None:
    async def main() -> None:
        good, bad, skips, dlq = (
            ListSink(),
            ListSink(bad=lambda record: record["id"] < 3),
            ListSink(bad=lambda record: record["id"] < 5),
            MemorySink(),
        )
        pipeline = Pipeline(Records(10), name="p").to(good, name="a").to(bad, name="b")
        summary = await pipeline.to(skips, name="c", on_error="skip").build(dlq=dlq).run()
        assert len(good.records) == 10
        assert (summary.dead_lettered, summary.skipped, summary.written, summary.dropped) == (3, 2, 5, 0)

    run_virtual(main)


class Failing:
    """A dead-letter queue that can't write."""

    async def write(self, letters: Any) -> None:
        raise OSError("no room for letters")


def test_a_dlq_that_can_not_write_ends_the_run_and_nothing_is_saved() -> None:
    def step(record: Any) -> Any:
        raise ValueError

    async def main() -> None:
        store = CountingStore()
        bound = Pipeline(Records(9), name="p").map(step).to(ListSink())
        with pytest.raises(OSError, match="no room for letters"):
            await bound.build(dlq=Failing(), checkpoint_store=store, checkpoint_every=3).run()
        assert store.saved == []

    run_virtual(main)


def test_max_dead_letters_as_a_count() -> None:
    def step(record: Any) -> Any:
        if record["id"] % 2:
            raise ValueError
        return record

    async def main() -> None:
        for most, fails in ((5, False), (4, True), (0, True)):
            dlq = MemorySink()
            bound = (
                Pipeline(Records(10), name="p").map(step).to(ListSink()).build(dlq=dlq, max_dead_letters=most)
            )
            if fails:
                with pytest.raises(TooManyDeadLetters, match=f"max_dead_letters={most}"):
                    await bound.run()
            else:
                assert (await bound.run()).dead_lettered == 5

    run_virtual(main)


@pytest.mark.parametrize(
    ("count", "share", "fails"), [(900, 0.1, False), (1100, 0.1, True), (2100, 0.9, False)]
)
def test_max_dead_letters_as_a_share_counts_once_1000_were_read(
    count: int, share: float, fails: bool
) -> None:
    def step(record: Any) -> Any:
        if record["id"] < 800:
            raise ValueError
        return record

    async def main() -> None:
        bound = Pipeline(Records(count, block=100), name="p").map(step).to(ListSink())
        built = bound.build(dlq=MemorySink(), max_dead_letters=share, batch_size=100)
        if fails:
            with pytest.raises(TooManyDeadLetters):
                await built.run()
        else:
            assert (await built.run()).dead_lettered == 800

    run_virtual(main)


@pytest.mark.parametrize("block", [None, 4])
def test_the_original_of_a_letter_is_what_the_source_gave(block: int | None) -> None:
    def spoil(record: Any) -> Any:
        record["list"].append("spoiled")
        record["id"] = -1
        return record

    def fail(record: Any) -> Any:
        raise ValueError

    async def main() -> None:
        dlq = MemorySink()
        source = Records(6, lambda number: {"id": number, "list": [number]}, block=block)
        await Pipeline(source, name="p").map(spoil).map(fail).to(ListSink()).build(dlq=dlq).run()
        assert [letter.original for letter in dlq.records] == [{"id": n, "list": [n]} for n in range(6)]
        assert [letter.checkpoint["ordinal"] for letter in dlq.records] == list(range(6))

    run_virtual(main)


class Once:
    """Drops what it has seen."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def snapshot(self) -> Any:
        return self.seen

    def restore(self, state: Any) -> None:
        self.seen = state

    def process(self, record: Any) -> Any:
        if record["id"] in self.seen:
            return None
        self.seen.append(record["id"])
        return {**record, "once": True}


def test_a_letters_entry_is_behind_the_last_stateful_or_multiplying_step() -> None:
    def fail(record: Any) -> Any:
        raise ValueError

    async def main() -> None:
        entries: list[Any] = []
        for pipeline in (
            Pipeline(Records(1), name="p").map(lambda record: record, name="first"),
            Pipeline(Records(1), name="p").pipe(Once()).map(lambda record: record, name="between"),
            Pipeline(Records(1), name="p").pipe(Once()).flat_map(lambda record: [record, {"id": "b"}]),
        ):
            dlq = MemorySink()
            await pipeline.map(fail, name="fail").to(ListSink()).build(dlq=dlq).run()
            entries.append([letter.entry for letter in dlq.records])
        assert entries == [
            ["source"],
            [Entry(step="between", record={"id": 0, "once": True})],
            [
                Entry(step="fail", record={"id": 0, "once": True}),
                Entry(step="fail", record={"id": "b"}),
            ],
        ]

    run_virtual(main)


class Holding:
    def __init__(self) -> None:
        self.held: list[Any] = []

    def process(self, record: Any) -> None:
        self.held.append(record)

    def finish(self) -> list[Any]:
        return [{"id": len(self.held), "sum": True}, {"id": len(self.held) + 1, "sum": True}]


@pytest.mark.parametrize("block", [None, 3])
def test_a_letter_of_finish_has_an_entry_and_no_original_and_replays(block: int | None) -> None:
    async def main() -> None:
        state = MemoryBackend()
        bad = [True]
        sink, dlq = ListSink(bad=lambda record: bad[0]), StateDLQSink(state)
        source = Records(6, block=block)
        bound = Pipeline(source, name="p").pipe(Holding()).to(sink, name="out").build(dlq=dlq)
        await state.open()
        summary = await bound.run()
        letters = [letter async for letter in dlq.read("p")]
        assert [(each.original, each.checkpoint) for each in letters] == [
            (None, {"ordinal": 5, "position": None})
        ] * 2
        assert [each.entry for each in letters] == [
            Entry(step=None, record={"id": number, "sum": True}) for number in (6, 7)
        ]
        assert (summary.read, summary.dropped, summary.dead_lettered) == (6, 5, 1)
        bad[0] = False
        await bound.replay()
        assert ids(sink.records) == [6, 7]
        assert await dlq.count("p") == 0
        await state.close()

    run_virtual(main)


def test_a_letter_of_finish_never_replaces_the_letter_of_the_last_record() -> None:
    class Both:
        def process(self, record: Any) -> Any:
            return record

        def finish(self) -> list[Any]:
            return [{"id": "f"}]

    async def main() -> None:
        state = MemoryBackend()
        dlq, store = StateDLQSink(state), CountingStore(state)
        await state.open()
        bound = Pipeline(Records(2), name="p").pipe(Both()).to(ListSink(bad=lambda record: True))
        built = bound.build(dlq=dlq, checkpoint_store=store, checkpoint_every=1)
        await built.run(max_records=2)
        await built.run()
        originals = [letter.original async for letter in dlq.read("p")]
        assert sorted(originals, key=repr) == [None, {"id": 0}, {"id": 1}]
        await state.close()

    run_virtual(main)


def test_malformed_records_follow_the_sources_policy() -> None:
    def make(number: int) -> Any:
        if number % 4 == 1:
            return Malformed(f"raw {number}", ValueError(f"line {number}"))
        return {"id": number}

    async def main() -> None:
        for block in (None, 3):
            dlq, sink = MemorySink(), ListSink()
            source = Records(10, make)
            if block is not None:
                source.block = None
            await Pipeline(source, name="p").to(sink).build(dlq=dlq).run()
            assert [(each.stage, each.original, each.entry) for each in dlq.records] == [
                ("source", f"raw {number}", None) for number in (1, 5, 9)
            ]
            skipped = (
                await Pipeline(Records(10, make), name="p", on_error="skip").to(ListSink()).build().run()
            )
            assert (skipped.skipped, skipped.written) == (3, 7)
            sink = ListSink()
            with pytest.raises(ValueError, match="line 1"):
                await Pipeline(Records(10, make), name="p").to(sink).build().run()
            assert ids(sink.records) == [0]

    run_virtual(main)


def test_none_is_no_record() -> None:
    async def main() -> None:
        sink = ListSink()
        with pytest.raises(TypeError, match="None"):
            await (
                Pipeline(Records(4, lambda n: None if n == 2 else {"id": n}), name="p").to(sink).build().run()
            )
        assert ids(sink.records) == [0, 1]

    run_virtual(main)


def test_on_error_observes_once_and_ends_the_run_if_it_raises() -> None:
    class Watched:
        def __init__(self, *, raises: bool) -> None:
            self.raises, self.seen = raises, []

        def process(self, record: Any) -> Any:
            if record["id"] in (2, 4):
                raise ValueError(record["id"])
            return record

        async def on_error(self, record: Any, error: Exception) -> None:
            self.seen.append((record["id"], str(error)))
            if self.raises:
                raise KeyError("the observer")

    async def main() -> None:
        for concurrency in (1, 3):
            calm = Watched(raises=False)
            pipeline = Pipeline(Records(6), name="p").pipe(calm, concurrency=concurrency)
            await pipeline.to(ListSink()).build(dlq=MemorySink()).run()
            assert calm.seen == [(2, "2"), (4, "4")]
            strict, sink = Watched(raises=True), ListSink()
            pipeline = Pipeline(Records(6), name="p").pipe(strict, concurrency=concurrency)
            with pytest.raises(KeyError, match="the observer"):
                await pipeline.to(sink).build(dlq=MemorySink()).run()
            assert ids(sink.records) == [0, 1]
            assert strict.seen == [(2, "2")]

    run_virtual(main)


def test_a_process_batch_that_gives_the_wrong_number_of_results_ends_the_run_behind_what_came_before() -> (
    None
):
    class Short:
        def process_batch(self, records: Any) -> Any:
            return records[:-1] if records[0]["id"] == 4 else records

    async def main() -> None:
        for concurrency in (1, 2):
            sink = ListSink(delay=lambda: 1.0)
            pipeline = Pipeline(Records(20), name="p").pipe(Short(), name="short", concurrency=concurrency)
            with pytest.raises(TypeError, match=r"'short'.*one result a record"):
                await pipeline.to(sink).build(batch_size=2).run()
            assert ids(sink.records) == [0, 1, 2, 3]

    run_virtual(main)


def test_a_queue_that_buffers_is_flushed_before_a_checkpoint_covers_its_letters() -> None:
    class Buffering:
        def __init__(self) -> None:
            self.waiting: list[DLQRecord] = []
            self.flushed: list[DLQRecord] = []

        async def write(self, letters: Sequence[DLQRecord]) -> None:
            self.waiting += letters

        async def flush(self) -> None:
            self.flushed += self.waiting
            self.waiting.clear()

    class Store(CountingStore):
        async def save(self, pipeline: str, checkpoint: Any, **more: Any) -> None:
            assert queue.waiting == []
            await super().save(pipeline, checkpoint, **more)

    def fail(record: Any) -> Any:
        raise ValueError

    queue = Buffering()

    async def main() -> None:
        bound = Pipeline(Records(6), name="p").map(fail).to(ListSink())
        await bound.build(dlq=queue, checkpoint_store=Store(), checkpoint_every=2).run()
        assert len(queue.flushed) == 6

    run_virtual(main)
