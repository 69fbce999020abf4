"""Replay: each letter from its own entry, and never lost, doubled or sent past what it hasn't passed."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from support import CountingStore, Dedupe, ListSink, Records

from agora import Checkpoint, ConfigError, Pipeline
from agora.deadletter import Entry
from agora.sinks import JsonLinesSink, MemorySink
from agora.sources import CsvSource, IterableSource
from agora.state import MemoryBackend, StateDLQSink


class Store(CountingStore):
    """Notes what is saved beside the checkpoint."""

    also: list[Any]

    async def save(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
        self.also.append(more.get("also"))
        await super().save(pipeline, checkpoint, **more)


@attrs.define(eq=False)
class Rig:
    """A state with a checkpoint store and a dead-letter queue on it, and switches for what fails."""

    state: MemoryBackend = attrs.field(factory=MemoryBackend)
    store: Store = attrs.field(init=False)
    dlq: StateDLQSink = attrs.field(init=False)
    bad: set[Any] = attrs.field(factory=set)
    """Ids of the records that fail."""

    def __attrs_post_init__(self) -> None:
        self.store, self.dlq = Store(self.state), StateDLQSink(self.state)
        object.__setattr__(self.store, "also", [])

    def build(self, pipeline: Any, **more: Any) -> Any:
        return pipeline.build(checkpoint_store=self.store, dlq=self.dlq, **more)

    def check(self, record: Any) -> Any:
        """A step."""
        if record["id"] in self.bad:
            raise ValueError(f"bad {record['id']}")
        return record

    async def letters(self, **filters: Any) -> list[Any]:
        return [letter async for letter in self.dlq.read("p", **filters)]


@asynccontextmanager
async def rig(*bad: Any) -> AsyncGenerator[Rig]:
    made = Rig(bad=set(bad))
    await made.state.open()
    try:
        yield made
    finally:
        await made.state.close()


def ids(records: list[Any]) -> list[Any]:
    return [record["id"] for record in records]


def noting(passed: list[Any]) -> Any:
    """A step that notes what passes it."""

    def note(record: Any) -> Any:
        passed.append(record)
        return record

    return note


# Entries.


async def test_a_letter_of_the_source_is_converted_with_todays_types(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,amount\na,1\nb,x\nc,3\n")
    async with rig() as it:
        sink = ListSink()

        def bound(kind: type) -> Any:
            source = CsvSource(path, types={"amount": kind})
            return it.build(Pipeline(source, name="p").to(sink, name="out"))

        await bound(int).run()
        assert [(each.stage, each.original) for each in await it.letters()] == [
            ("source", {"id": "b", "amount": "x"})
        ]
        await bound(int).replay()
        assert [each.attempts for each in await it.letters()] == [2]
        await bound(str).replay()
        assert sink.records == [
            {"id": "a", "amount": 1},
            {"id": "c", "amount": 3},
            {"id": "b", "amount": "x"},
        ]
        assert await it.letters() == []


async def test_a_letter_from_behind_a_stateful_step_is_not_dropped_as_its_own_duplicate() -> None:
    async with rig(1) as it:
        before: list[Any] = []
        sink = ListSink()
        pipeline = Pipeline(Records(3), name="p").map(noting(before))
        bound = it.build(pipeline.pipe(Dedupe()).map(it.check).to(sink))
        await bound.run()
        it.bad.clear()
        summary = await bound.replay()
        assert ids(sink.records) == [0, 2, 1]
        assert ids(before) == [0, 1, 2]
        assert (summary.read, summary.written, summary.dropped) == (1, 1, 0)
        assert await it.letters() == []


async def test_one_child_of_a_split_goes_alone() -> None:
    async with rig("1b") as it:
        sink = ListSink()

        def split(record: Any) -> list[Any]:
            return [{"id": f"{record['id']}{letter}"} for letter in "abc"]

        bound = it.build(Pipeline(Records(2), name="p").flat_map(split).map(it.check, name="check").to(sink))
        await bound.run()
        [letter] = await it.letters()
        assert letter.entry == Entry(step="check", record={"id": "1b"})
        it.bad.clear()
        await bound.replay()
        assert ids(sink.records) == ["0a", "0b", "0c", "1a", "1c", "1b"]


async def test_a_letter_of_a_sink_goes_to_that_sink_alone() -> None:
    async with rig(1) as it:
        passed: list[Any] = []
        good, picky = ListSink(), ListSink(bad=lambda record: record["id"] in it.bad)
        pipeline = Pipeline(Records(3), name="p").map(noting(passed))
        bound = it.build(pipeline.to(good, name="good").to(picky, name="picky"))
        await bound.run()
        it.bad.clear()
        await bound.replay()
        assert (ids(good.records), ids(picky.records), ids(passed)) == ([0, 1, 2], [0, 2, 1], [0, 1, 2])


@pytest.mark.parametrize(("answer", "first", "rest"), [(True, [2, 1], [0]), (False, [2], [0, 1])])
async def test_a_letter_of_a_failing_where_asks_it_again(
    answer: bool, first: list[int], rest: list[int]
) -> None:
    async with rig(1) as it:
        chosen, others, all_of_them = ListSink(), ListSink(), ListSink()

        def where(record: Any) -> bool:
            it.check(record)
            return record["id"] == 2 or (record["id"] == 1 and answer)

        bound = it.build(
            Pipeline(Records(3), name="p")
            .to(all_of_them, name="all")
            .to(chosen, name="chosen", where=where)
            .to(ListSink(), name="none", where=lambda record: False)
            .to(others, name="others", otherwise=True)
        )
        await bound.run()
        assert [each.stage for each in await it.letters()] == ["sink:chosen"]
        await bound.replay()
        assert [(each.stage, each.attempts) for each in await it.letters()] == [("sink:chosen", 2)]
        it.bad.clear()
        await bound.replay()
        assert (ids(chosen.records), ids(others.records)) == (first, rest)
        assert ids(all_of_them.records) == [0, 1, 2]
        assert await it.letters() == []


async def test_what_another_where_took_does_not_come_to_otherwise_by_a_replay() -> None:
    async with rig(0) as it:
        first, second, others = ListSink(), ListSink(), ListSink()
        bound = it.build(
            Pipeline(Records(1), name="p")
            .to(first, name="first", where=lambda record: it.check(record) is None)
            .to(second, name="second", where=lambda record: True)
            .to(others, name="others", otherwise=True)
        )
        await bound.run()
        it.bad.clear()
        await bound.replay()
        assert (first.records, ids(second.records), others.records) == ([], [0], [])


async def test_a_where_that_fails_in_a_replay_makes_one_letter_of_its_own_sink() -> None:
    async with rig(0) as it:
        fails = ["step"]

        def step(record: Any) -> Any:
            return it.check(record) if fails[0] == "step" else record

        bound = it.build(
            Pipeline(Records(1), name="p")
            .map(step)
            .to(ListSink(), name="a", where=it.check)
            .to(ListSink(), name="b", otherwise=True)
        )
        await bound.run()
        fails[0] = "where"
        await bound.replay()
        assert [each.stage for each in await it.letters()] == ["sink:a"]


# What fails again.


async def test_what_fails_again_keeps_its_id_with_one_attempt_more() -> None:
    async with rig(1, 2) as it:
        sink = ListSink()
        bound = it.build(Pipeline(Records(4), name="p").map(it.check, name="check").to(sink))
        await bound.run()
        before = await it.letters()
        it.bad.remove(1)
        summary = await bound.replay()
        [again] = await it.letters()
        assert (again.id, again.attempts, again.original) == (before[1].id, 2, {"id": 2})
        assert (summary.written, summary.dead_lettered) == (1, 1)
        assert ids(sink.records) == [0, 3, 1]


@pytest.mark.parametrize("own_state", [True, False])
async def test_children_of_a_letter_that_all_fail_are_all_kept(own_state: bool) -> None:
    async with rig() as it:
        sink = ListSink()
        fails = ["split"]

        def split(record: Any) -> list[Any]:
            if fails[0] == "split":
                raise ValueError
            return [{"id": record["id"] * 10 + number} for number in range(3)]

        def child(record: Any) -> Any:
            if fails[0] == "child":
                raise ValueError
            return record

        source = Records(2, supports_checkpoint=own_state)
        bound = it.build(Pipeline(source, name="p").flat_map(split).map(child, name="c").to(sink))
        await bound.run()
        first = [each.id for each in await it.letters()]
        fails[0] = "child"
        for attempts in (2, 3):
            await bound.replay()
            letters = await it.letters()
            kept = [each.entry.record["id"] for each in letters if isinstance(each.entry, Entry)]
            assert sorted(kept) == [0, 1, 2, 10, 11, 12]
            assert {each.attempts for each in letters} == {attempts}
            assert set(first) < {each.id for each in letters}
        fails[0] = ""
        await bound.replay()
        assert sorted(ids(sink.records)) == [0, 1, 2, 10, 11, 12]
        assert await it.letters() == []


async def test_letters_that_split_twice_never_share_an_id() -> None:
    async with rig() as it:
        sink = ListSink()
        fails = ["first"]

        def part(name: str) -> Any:
            def split(record: Any) -> list[Any]:
                if fails[0] == name:
                    raise ValueError
                return [{"id": f"{record['id']}{number}"} for number in range(2)]

            return split

        pipeline = Pipeline(Records(1), name="p").flat_map(part("first")).flat_map(part("second"))
        bound = it.build(pipeline.flat_map(part("third")).to(sink))
        await bound.run()
        for name in ("second", "third"):
            fails[0] = name
            await bound.replay()
        assert len({each.id for each in await it.letters()}) == 4
        fails[0] = ""
        await bound.replay()
        assert sorted(ids(sink.records)) == [f"0{number:03b}" for number in range(8)]


async def test_two_sinks_that_refuse_a_replayed_record_keep_a_letter_each() -> None:
    async with rig(0, 1) as it:
        fails = ["step"]
        a, b = (ListSink(bad=lambda record: fails[0] == "sinks") for _ in range(2))
        bound = it.build(
            Pipeline(Records(2), name="p")
            .map(lambda record: it.check(record) if fails[0] == "step" else record)
            .to(a, name="a")
            .to(b, name="b")
        )
        await bound.run()
        fails[0] = "sinks"
        for attempts in (2, 3):
            await bound.replay()
            letters = await it.letters()
            assert [(each.stage, each.attempts) for each in letters] == [
                ("sink:a", attempts),
                ("sink:b", attempts),
            ] * 2
        fails[0] = ""
        await bound.replay()
        assert (ids(a.records), ids(b.records)) == ([0, 1], [0, 1])


async def test_a_replay_does_not_read_the_letters_that_it_makes() -> None:
    async with rig() as it:
        fails = ["split"]

        def split(record: Any) -> list[Any]:
            if fails[0] == "split":
                raise ValueError
            return [record, record]

        def child(record: Any) -> Any:
            raise ValueError

        pipeline = Pipeline(Records(3), name="p").flat_map(split).map(child).to(ListSink())
        bound = it.build(pipeline, checkpoint_every=1, batch_size=1)
        await bound.run()
        fails[0] = ""
        summary = await bound.replay()
        assert summary.read == 3
        assert [each.attempts for each in await it.letters()] == [2] * 6


# The checkpoint.


async def test_letters_go_in_the_transaction_of_the_checkpoint_which_keeps_its_place() -> None:
    async with rig(1, 3) as it:
        sink = MemorySink()
        bound = it.build(Pipeline(Records(5), name="p").map(it.check).to(sink, name="out"))
        await bound.run()
        before, gone = await it.store.load("p"), [each.id for each in await it.letters()]
        it.bad.clear()
        it.store.also.clear()
        await bound.replay(run_id="again")
        assert it.store.also == [it.dlq.removals(gone)]
        assert await it.letters() == []
        after = await it.store.load("p")
        assert before is not None
        assert after is not None
        kept = ("position", "skip", "ordinal", "source", "completed")
        assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
        assert (after.run_id, after.completed) == ("again", True)
        assert after.sinks != before.sinks
        assert ids(sink.records) == [0, 2, 4, 1, 3]


async def test_after_a_replay_a_run_reads_only_what_is_new() -> None:
    async with rig(1) as it:
        source, sink = Records(3), ListSink()
        bound = it.build(Pipeline(source, name="p").map(it.check).to(sink))
        await bound.run()
        it.bad.clear()
        await bound.replay()
        source.count, source.given = 5, []
        summary = await bound.run()
        assert (source.given, summary.read) == ([3, 4], 2)
        assert ids(sink.records) == [0, 2, 1, 3, 4]


async def test_a_replay_in_the_middle_of_a_source_leaves_the_rest_to_the_next_run() -> None:
    async with rig(1) as it:
        source, sink = Records(6), ListSink()
        bound = it.build(Pipeline(source, name="p").map(it.check).to(sink))
        await bound.run(max_records=3)
        it.bad.clear()
        await bound.replay()
        saved = await it.store.load("p")
        assert saved is not None
        assert (saved.ordinal, saved.completed) == (3, False)
        await bound.run()
        assert ids(sink.records) == [0, 2, 1, 3, 4, 5]


async def test_a_replay_that_breaks_off_keeps_its_letters_and_the_next_one_delivers_them_once() -> None:
    async with rig(*range(6)) as it:
        down = [True]

        def step(record: Any) -> Any:
            it.check(record)
            if down[0] and record["id"] == 3:
                raise OSError("down")
            return record

        source = Records(6)
        out = MemorySink()

        def bound(sink: Any) -> Any:
            pipeline = Pipeline(source, name="p").map(
                step, name="step", on_error="stop" if not it.bad else None
            )
            return it.build(pipeline.to(sink, name="out"), checkpoint_every=2, batch_size=1)

        await bound(out).run()
        it.bad.clear()
        with pytest.raises(OSError, match="down"):
            await bound(out).replay()
        left = [each.original["id"] for each in await it.letters()]
        assert left in ([2, 3, 4, 5], [3, 4, 5])
        down[0] = False
        source.count, source.given = 8, []
        await bound(out).run()
        assert source.given == [6, 7]
        await bound(out).replay()
        assert sorted(ids(out.records)) == list(range(8))
        assert await it.letters() == []


async def test_letters_on_another_state_go_one_by_one_after_delivery() -> None:
    async with rig(1, 2) as it, rig() as other:
        sink = ListSink()
        pipeline = Pipeline(Records(4), name="p").map(it.check).to(sink)
        bound = pipeline.build(checkpoint_store=it.store, dlq=other.dlq)
        await bound.run()
        it.bad.remove(1)
        await bound.replay()
        assert [(each.original, each.attempts) for each in await other.letters()] == [({"id": 2}, 2)]
        it.bad.clear()
        await bound.replay()
        assert ids(sink.records) == [0, 3, 1, 2]
        assert await other.letters() == []


async def test_without_a_store_what_is_delivered_is_added_to_the_file(tmp_path: Path) -> None:
    async with rig(1) as it:
        path = tmp_path / "out.jsonl"
        bound = (
            Pipeline(IterableSource([{"id": number} for number in range(3)]), name="p")
            .map(it.check)
            .to(JsonLinesSink(path))
            .build(dlq=it.dlq)
        )
        await bound.run()
        it.bad.clear()
        await bound.replay()
        assert ids([json.loads(line) for line in path.read_text().splitlines()]) == [0, 2, 1]
        assert await it.letters() == []


# Which letters.


async def test_filters_choose_letters() -> None:
    def step(record: Any) -> Any:
        if record["id"] % 2:
            raise KeyError(record["id"])
        return record

    async def replayed(**filters: Any) -> list[int]:
        sink = ListSink(bad=lambda record: record["id"] % 4 == 0)
        async with rig() as fresh:
            pipeline = Pipeline(Records(6), name="p").map(step, name="step").to(sink, name="out")
            await fresh.build(pipeline).run()
            letters = await fresh.letters()
            chosen = {name: value(letters) if callable(value) else value for name, value in filters.items()}
            await fresh.build(pipeline).replay(**chosen)
            return [each.checkpoint["ordinal"] for each in await fresh.letters() if each.attempts == 2]

    assert await replayed() == [0, 1, 3, 4, 5]
    assert await replayed(ids=lambda letters: [letters[1].id, letters[4].id]) == [1, 5]
    assert await replayed(ids=[]) == []
    assert await replayed(stage="sink:out") == [0, 4]
    assert await replayed(stage="middleware:step") == [1, 3, 5]
    assert await replayed(error_type="KeyError") == [1, 3, 5]
    assert await replayed(limit=2) == [0, 1]
    assert await replayed(limit=0) == []
    now = datetime.now(UTC)
    assert await replayed(since=now + timedelta(hours=1)) == []
    assert await replayed(since=now - timedelta(hours=1)) == [0, 1, 3, 4, 5]
    assert await replayed(until=now - timedelta(hours=1)) == []
    assert await replayed(until=now + timedelta(hours=1), stage="sink:out", limit=1) == [0]


async def test_letters_that_cannot_be_replayed_do_not_count_for_the_limit() -> None:
    class Odd:
        pass

    async with rig(*range(6)) as it:
        sink = ListSink()

        def make(number: int) -> Any:
            return {"id": number, "odd": Odd()} if number < 3 else {"id": number}

        bound = it.build(Pipeline(Records(6, make), name="p").map(it.check).to(sink))
        await bound.run()
        it.bad.clear()
        assert (await bound.replay(limit=2)).written == 2
        assert (await bound.replay(limit=2)).written == 1
        assert ids(sink.records) == [3, 4, 5]
        assert [each.replayable for each in await it.letters()] == [False] * 3


async def test_a_pipeline_without_a_sink_keeps_its_letters() -> None:
    async with rig(1) as it:
        bound = it.build(Pipeline(Records(3), name="p").map(it.check))
        async with bound.records() as records:
            assert ids([record async for record in records]) == [0, 2]
        it.bad.clear()
        with pytest.raises(ConfigError, match="no sink"):
            await bound.replay()
        assert len(await it.letters()) == 1


# Letters of a pipeline that is started over.


async def test_starting_over_drops_the_letters_of_what_is_undone() -> None:
    async with rig(1, 2) as it:
        sink = MemorySink()
        bound = it.build(Pipeline(Records(4), name="p").map(it.check).to(sink))
        await bound.run()
        stray = attrs.evolve((await it.letters())[0], id="by hand")
        foreign = attrs.evolve(stray, id="q:1:000000000000", pipeline="q")
        await it.dlq.write([stray, foreign])
        it.bad = {2}
        await bound.run(restart=True)
        assert [each.original for each in await it.letters()] == [{"id": 2}]
        assert await it.dlq.count("q") == 1
        it.bad.clear()
        await bound.replay()
        assert ids(sink.records) == [0, 1, 3, 2]


async def test_a_letter_after_starting_over_never_replaces_an_older_one_in_another_queue() -> None:
    async with rig(0) as it, rig() as other:

        def bound(make: Any) -> Any:
            pipeline = Pipeline(Records(2, make), name="p").map(it.check).to(ListSink())
            return pipeline.build(checkpoint_store=it.store, checkpoint_every=1, dlq=other.dlq)

        await bound(lambda number: {"id": number, "old": True}).run()
        again = bound(lambda number: {"id": number, "old": False})
        it.bad = {0, 1}
        await again.run(restart=True, max_records=1)
        await again.run()
        letters = await other.letters()
        assert sorted((each.original["id"], each.original["old"]) for each in letters) == [
            (0, False),
            (0, True),
            (1, False),
        ]
        crashed = bound(lambda number: {"id": number, "old": False})
        await it.store.save("p", attrs.evolve(it.store.saved[-1], position=1, ordinal=1, fence=0))
        await crashed.run()
        assert len(await other.letters()) == 3


# Errors.


async def test_an_error_that_cannot_say_what_it_is_makes_a_letter_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

        __repr__ = __str__

    class Shy(Mute):
        def __repr__(self) -> str:
            return "<shy>"

    def step(record: Any) -> Any:
        raise Mute if record["id"] else Shy

    async with rig() as it:
        bound = it.build(Pipeline(Records(2), name="p").map(step).to(ListSink()))
        for attempts in (1, 2):
            await (bound.run if attempts == 1 else bound.replay)()
            letters = await it.letters()
            assert [(each.error_message, each.attempts) for each in letters] == [
                ("<shy>", attempts),
                ("Mute", attempts),
            ]
            assert letters[1].error_type.endswith("Mute")
