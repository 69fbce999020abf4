"""Each kind of step and sink is passed by letters as it is by records, each letter from its own entry on."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import attrs
import pytest
from support import CountingStore, Dedupe, ListSink, Records, run_virtual

from agora import Pipeline
from agora.state import StateDLQSink
from agora.state.transaction import opened


@attrs.define(eq=False)
class Chain:
    """Three times the same kind of step; records that are marked fail at the second until it is mended."""

    mended: bool = False
    passed: list[tuple[int, int]] = attrs.field(factory=list)
    """Number of the step, id of the record."""

    def check(self, number: int, record: Any) -> None:
        self.passed.append((number, record["id"]))
        if number == 1 and record["id"] == 1 and not self.mended:
            raise ValueError("marked")

    def map(self, number: int) -> Any:
        def step(record: Any) -> Any:
            self.check(number, record)
            return None if record["id"] == 9 else {**record, f"s{number}": True}

        return step

    def filter(self, number: int) -> Any:
        async def step(record: Any) -> bool:
            self.check(number, record)
            return True

        return step

    def expand(self, number: int) -> Any:
        def step(record: Any) -> Iterator[Any]:
            self.check(number, record)
            yield {**record, f"s{number}": True}
            yield None

        return step

    def awaited(self, number: int) -> Any:
        async def step(record: Any) -> AsyncIterator[Any]:
            for each in self.expand(number)(record):
                yield each

        return step

    def batch(self, number: int) -> Any:
        return Batches(self, number)


@attrs.define(eq=False)
class Batches:
    chain: Chain
    number: int
    told: list[Any] = attrs.field(factory=list)

    def process_batch(self, records: Sequence[Any]) -> list[Any]:
        results: list[Any] = []
        for record in records:
            try:
                self.chain.check(self.number, record)
            except ValueError as error:
                results.append(error)
            else:
                results.append({**record, f"s{self.number}": True})
        return results

    async def on_error(self, record: Any, error: Exception) -> None:
        self.told.append((record["id"], str(error)))


def piped(start: Any, chain: Chain, kind: str) -> tuple[Any, list[Any]]:
    parts = [getattr(chain, kind)(number) for number in range(3)]
    for number, part in enumerate(parts):
        verb = {"map": "map", "filter": "filter", "batch": "pipe"}.get(kind, "flat_map")
        start = getattr(start, verb)(part, name=f"s{number}")
    return start, parts


@pytest.mark.parametrize("kind", ["map", "filter", "expand", "awaited", "batch"])
def test_a_letter_ends_where_its_record_would_have_whatever_the_kind_of_step(kind: str) -> None:
    chain, store, sink = Chain(), CountingStore(), ListSink(how="record")
    pipeline, parts = piped(Pipeline(Records(3), name="p"), chain, kind)
    bound = pipeline.to(sink).build(checkpoint_store=store, dlq=StateDLQSink(store.state))
    run_virtual(bound.run)
    assert [record["id"] for record in sink.records] == [0, 2]
    again = run_virtual(bound.replay)  # it isn't mended yet
    assert (again.written, again.dead_lettered) == (0, 1)
    if kind == "batch":
        assert parts[1].told == [(1, "marked")] * 2
    chain.mended, chain.passed = True, []
    assert run_virtual(bound.replay).written == 1
    assert sink.records[2] == {**sink.records[0], "id": 1}
    assert {record for _, record in chain.passed} == {1}
    assert chain.passed[-2:] == [(1, 1), (2, 1)]
    assert run_virtual(bound.replay).read == 0


def test_letters_of_two_entries_share_a_batch_and_each_passes_only_what_is_left() -> None:
    class Bad(Chain):
        def check(self, number: int, record: Any) -> None:
            self.passed.append((number, record["id"]))
            if not self.mended and (number, record["id"]) in {(0, 0), (2, 1)}:
                raise ValueError("marked")

    class Split:
        """Behind it letters have entries of their own."""

        def __call__(self, record: Any) -> list[Any]:
            return [record]

    chain, store, sink = Bad(), CountingStore(), ListSink()
    start = Pipeline(Records(3), name="p").pipe(chain.batch(0), name="s0").flat_map(Split(), name="split")
    pipeline = start.pipe(chain.batch(2), name="s2").to(sink)
    bound = pipeline.build(checkpoint_store=store, dlq=StateDLQSink(store.state))
    run_virtual(bound.run)
    chain.mended, chain.passed = True, []
    assert run_virtual(bound.replay).written == 2
    assert sorted(chain.passed) == [(0, 0), (2, 0), (2, 1)]


def test_a_wrong_number_of_results_ends_a_replay_as_it_ends_a_run() -> None:
    @attrs.define(eq=False)
    class Short:
        whole: bool = False

        def process_batch(self, records: Sequence[Any]) -> list[Any]:
            return [ValueError("no")] * len(records) if self.whole else []

    store, part = CountingStore(), Short(whole=True)
    pipeline = Pipeline(Records(2), name="p").pipe(part, name="s").to(ListSink())
    queue = StateDLQSink(store.state)
    bound = pipeline.build(checkpoint_store=store, dlq=queue)
    run_virtual(bound.run)
    part.whole = False
    assert run_virtual(bound.replay).dead_lettered == 2
    part.whole = True
    assert run_virtual(bound.replay).read == 2


def test_a_letter_never_falls_back_behind_the_entry_that_it_has() -> None:
    """A step before it keeps no state any more, so a record would enter further to the left today."""
    chain, store, sink = Chain(), CountingStore(), ListSink()

    def built(stateful: bool) -> Any:
        split = [lambda record: [record], lambda record: record]
        start = Pipeline(Records(3), name="p").flat_map(split[0], name="split")
        start = start.pipe(Dedupe(), name="d") if stateful else start.map(split[1], name="d")
        pipeline = start.map(split[1], name="plain").map(chain.map(1), name="s1").to(sink)
        return pipeline.build(checkpoint_store=store, dlq=StateDLQSink(store.state))

    def entry() -> Any:
        async def read() -> Any:
            async with opened(store.state):
                [letter] = [each async for each in StateDLQSink(store.state).read("p")]
            return letter.attempts, letter.entry.step

        return run_virtual(read)

    run_virtual(built(stateful=True).run)
    assert entry() == (1, "plain")
    assert run_virtual(built(stateful=False).replay).dead_lettered == 1
    assert entry() == (2, "plain")


def test_two_sinks_whose_conditions_fail_for_a_record_have_a_letter_each_however_often_it_is_replayed() -> (
    None
):
    mended: set[str] = set()

    def asks(name: str) -> Any:
        def where(record: Any) -> bool:
            if record["id"] == 1 and name not in mended:
                raise ValueError(name)
            return True

        return where

    store, sinks, rest = CountingStore(), {name: ListSink() for name in "ab"}, ListSink()
    pipeline: Any = Pipeline(Records(3), name="p")
    for name, sink in sinks.items():
        pipeline = pipeline.to(sink, name=name, where=asks(name))
    bound = pipeline.to(rest, name="rest", otherwise=True).build(
        checkpoint_store=store, dlq=StateDLQSink(store.state)
    )
    assert run_virtual(bound.run).dead_lettered == 1
    assert run_virtual(bound.replay).read == 2
    mended.add("b")
    run_virtual(bound.replay)
    assert [[record["id"] for record in sink.records] for sink in sinks.values()] == [[0, 2], [0, 2, 1]]
    mended.add("a")
    assert run_virtual(bound.replay).read == 1
    assert [record["id"] for record in sinks["a"].records] == [0, 2, 1]
    assert rest.records == []
