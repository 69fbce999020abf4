"""A run that goes on: from where, what the source, sinks and steps are told of it, and how it numbers its records
(`agora.runtime.opening`)."""

from collections.abc import AsyncGenerator
from typing import Any

import attrs
import pytest
import trio
from support import CountingStore, ListSink, Records, run_virtual

from agora import Pipeline, SourceChanged
from agora.deadletter import letter_id
from agora.sources.base import Block, Demand
from agora.state import StateDLQSink


@attrs.define(eq=False)
class Coarse(Records):
    """Its positions are those of every third record."""

    allow_change: bool = False
    name: str = "coarse"

    def identity(self) -> Any:
        return {"name": self.name}

    async def _blocks(self, demand: Demand) -> AsyncGenerator[Block]:
        while self._at < self.count:
            start, stop = self._at, min(self.count, self._at + 3)
            self._at = stop
            yield Block(
                [self.make(number) for number in range(start, stop)],
                position=lambda n, start=start, stop=stop: stop if start + n == stop else start,
                skip=lambda n, start=start, stop=stop: 0 if start + n == stop else n,
            )


class Sink(ListSink):
    """Transactional."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.told: list[str] = []

    async def prepare(self) -> Any:
        return len(self.records)

    async def commit(self, token: Any) -> None:
        self.told.append(f"commit {token}")

    async def recover(self, token: Any) -> None:
        self.told.append(f"recover {token}")
        del self.records[token:]


def bound(source: Any, sink: Any, store: CountingStore, **more: Any) -> Any:
    return Pipeline(source, name="p").to(sink, name="s").build(checkpoint_store=store, batch_size=2, **more)


@pytest.mark.parametrize("most", range(8))
def test_it_reads_from_the_position_and_passes_over_what_it_has_read_behind_it(most: int) -> None:
    source, sink, store = Coarse(7, block=3), Sink(), CountingStore()
    first = run_virtual(lambda: bound(source, sink, store).run(max_records=most))
    saved = store.saved[-1] if store.saved else None
    second = run_virtual(bound(source, sink, store).run)
    assert [record["id"] for record in sink.records] == list(range(7))
    assert (first.read, second.read, second.status) == (most, 7 - most, "completed")
    assert second.resumed_from == saved
    if saved is not None:
        behind = 0 if most == 7 else most % 3  # the last block has one record
        assert (saved.ordinal, saved.position, saved.skip) == (most, most - behind, behind)
        assert source.prepared == [None, saved.position]


def test_letters_are_replayed_from_the_first_though_the_run_itself_passes_records_over() -> None:
    store = CountingStore()
    letters = StateDLQSink(store.state)
    source, sink = Coarse(8, block=3), Sink(bad=lambda record: record["id"] < 3)

    async def main() -> None:
        await bound(source, sink, store, dlq=letters).run(max_records=5)
        assert store.saved[-1].skip == 2
        sink.bad = lambda record: False
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound(source, sink, store, dlq=letters).run)
            assert (await handle.replay()).written == 3

    run_virtual(main)
    assert sorted(record["id"] for record in sink.records) == list(range(8))


def test_records_are_numbered_on_and_so_are_their_letters() -> None:
    letters, store = ListSink(), CountingStore()
    source, sink = Records(6), Sink(bad=lambda record: record["id"] in (1, 3, 4))
    run_virtual(lambda: bound(source, sink, store, dlq=letters).run(max_records=3))
    run_virtual(bound(source, sink, store, dlq=letters).run)
    assert [letter.checkpoint for letter in letters.records] == [
        {"ordinal": 1, "position": 1},
        {"ordinal": 3, "position": 3},
        {"ordinal": 4, "position": 4},
    ]


def test_ids_of_letters_are_of_the_pipeline_until_it_is_started_over() -> None:
    letters, store = ListSink(), CountingStore()
    source, sink = Records(6), Sink(bad=lambda record: True)

    def run(*more: Any, **options: Any) -> Any:
        built = Pipeline(source, name="p").to(sink, name="s").to(*more or [lambda record: None])
        return run_virtual(lambda: built.build(checkpoint_store=store, dlq=letters).run(**options))

    def ids(run_id: str) -> list[str]:
        return [letter_id(pipeline="p", run_id=run_id, ordinal=at, stage="sink:s") for at in range(6)]

    run(max_records=3)
    run(Sink())  # a new one, whose base token is saved
    assert [letter.id for letter in letters.records] == ids("")
    letters.records.clear()
    sink.restart = lambda token: None  # type: ignore[attr-defined]  # some sinks have it
    over = Sink()
    over.restart = sink.restart  # type: ignore[attr-defined]  # as above
    first = run(over, restart=True, max_records=3)
    run(over)
    assert [letter.id for letter in letters.records] == ids(first.run_id)


def test_a_sink_is_told_its_token_and_the_source_its_position_before_anything_is_read() -> None:
    source, sink, store = Records(4), Sink(), CountingStore()
    run_virtual(lambda: bound(source, sink, store).run(max_records=2))
    assert (source.prepared, source.told) == ([None], [2])
    sink.records += ["not committed"]
    sink.told.clear()
    source.told.clear()
    run_virtual(bound(source, sink, store).run)
    assert sink.told[0] == "recover 2"
    assert "not committed" not in sink.records
    assert (source.prepared, source.told[0]) == ([None, 2], 2)


@pytest.mark.parametrize("allowed", [False, True])
def test_another_source_goes_on_only_where_that_is_allowed_and_is_told_so(allowed: bool) -> None:
    sink, store = Sink(), CountingStore()
    run_virtual(lambda: bound(Coarse(4), sink, store).run(max_records=2))
    other = Coarse(4, name="other")

    def run() -> Any:
        return bound(other, sink, store).run(allow_source_change=allowed)

    if not allowed:
        with pytest.raises(SourceChanged, match='name = "coarse"; now it has name = "other"'):
            run_virtual(run)
    else:
        assert run_virtual(run).read == 2
    assert other.allow_change is allowed


def test_a_source_that_was_told_of_no_position_and_has_no_identity_goes_on_all_the_same() -> None:
    class Bare:
        supports_checkpoint = True

        def __init__(self) -> None:
            self.at = 0

        def checkpoint(self) -> Any:
            return self.at

        async def stream(self) -> AsyncGenerator[Any]:
            while self.at < 4:
                self.at += 1
                yield self.at

    source, sink, store = Bare(), Sink(), CountingStore()
    run_virtual(lambda: bound(source, sink, store).run(max_records=2))
    run_virtual(bound(source, sink, store).run)
    assert sink.records == [1, 2, 3, 4]
    assert store.saved[-1].source is None


def test_a_source_without_checkpoints_begins_anew_and_is_not_told_to_resume() -> None:
    source, sink = Records(3, supports_checkpoint=False), ListSink()
    for _ in range(2):
        run_virtual(Pipeline(source, name="p").to(sink).build().run)
    assert source.prepared == []


def test_a_sink_that_is_gone_and_settled_is_forgotten_and_one_that_is_new_begins_at_the_checkpoint() -> None:
    source, store = Records(6), CountingStore()
    kept, gone, new = Sink(), Sink(), Sink()

    def run(**more: Any) -> Any:
        pipeline: Any = Pipeline(source, name="p").to(kept, name="kept")
        for name, sink in more.items():
            pipeline = pipeline.to(sink, name=name)
        return run_virtual(lambda: pipeline.build(checkpoint_store=store).run(max_records=2))

    run(gone=gone)
    assert set(store.saved[-1].sinks) == {"kept", "gone"}
    run(new=new)
    assert set(store.saved[-1].sinks) == {"kept", "new"}
    assert [len(sink.records) for sink in (kept, gone, new)] == [4, 2, 2]
    run(new=new)
    assert "recover 2" in new.told


def test_once_forgotten_a_sink_that_comes_back_is_not_taken_back_to_where_it_was() -> None:
    source, store = Records(6), CountingStore()
    kept, other = Sink(), Sink()

    def run(*sinks: Any, most: int) -> Any:
        pipeline: Any = Pipeline(source, name="p").to(kept, name="kept")
        for sink in sinks:
            pipeline = pipeline.to(sink, name="other")
        return run_virtual(lambda: pipeline.build(checkpoint_store=store).run(max_records=most))

    run(other, most=2)
    run(most=0)  # reads nothing, and saves nothing but that it is gone
    other.records += ["somebody else's"]
    other.told.clear()
    assert run(other, most=1).resumed_from is not None
    assert other.records[2] == "somebody else's"
    assert not [each for each in other.told if each.startswith("recover")]


def test_a_source_that_does_not_say_that_it_resumes_is_not_told_to() -> None:
    class Silent(Records):
        def __getattribute__(self, name: str) -> Any:
            if name == "supports_checkpoint":
                raise AttributeError(name)
            return super().__getattribute__(name)

    source = Silent(2)
    run_virtual(Pipeline(source, name="p").to(ListSink()).build().run)
    assert source.prepared == []
