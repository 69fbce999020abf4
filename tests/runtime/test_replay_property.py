"""A run that failed in places, was repaired and replayed gives in total what a run gives that never failed."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from support import CountingStore, Records, run_virtual

from agora import Backpressure, Pipeline
from agora.errors import RecordsRejected
from agora.sinks import MemorySink
from agora.state import MemoryBackend, StateDLQSink

EXAMPLES = int(os.environ.get("AGORA_REPLAY_EXAMPLES", "50"))
KINDS = ("map", "filter", "expand", "dedupe", "counted", "batch", "buffered")
WAIT = 1_000.0


@attrs.define
class Switch:
    """Which steps and sinks fail, by number. What a record fails at is told by its value alone."""

    on: set[int]

    def check(self, number: int, value: int) -> None:
        if number in self.on and (value * 7 + number) % 3 == 0:
            raise ValueError(f"{number} refuses {value}")


def plain(kind: str, number: int, switch: Switch) -> Callable[[Any], Any]:
    def map_(record: Any) -> Any:
        switch.check(number, record["v"])
        record["v"] = (record["v"] * 3 + number) % 50  # in place: a letter's record must not show it
        return record

    def filter_(record: Any) -> bool:
        switch.check(number, record["v"])
        return bool(record["v"] % 5 != number % 5)

    def expand(record: Any) -> Iterable[Any]:
        switch.check(number, record["v"])
        return [{"v": record["v"] + 50 * child} for child in range(record["v"] % 4)]

    async def buffered(record: Any) -> Any:
        await trio.sleep(record["v"] % 3 * 0.01)
        return map_(record)

    return {"map": map_, "filter": filter_, "expand": expand, "buffered": buffered}[kind]


@attrs.define(eq=False)
class Dedupe:
    """Drops what it has seen; fails before it has seen it."""

    number: int
    switch: Switch
    seen: set[int] = attrs.field(factory=set)

    def process(self, record: Any) -> Any:
        self.switch.check(self.number, record["v"])
        if record["v"] in self.seen:
            return None
        self.seen.add(record["v"])
        return record

    def snapshot(self) -> Any:
        return sorted(self.seen)

    def restore(self, state: Any) -> None:
        self.seen = set(state)


@attrs.define(eq=False)
class Counted:
    """Lets each value pass twice, by its `context.state`."""

    number: int
    switch: Switch
    state: Any = None

    def on_start(self, context: Any) -> None:
        self.state = context.state

    def process(self, record: Any) -> Any:
        self.switch.check(self.number, record["v"])
        key = str(record["v"])
        self.state[key] = self.state.get(key, 0) + 1
        return record if self.state[key] <= 2 else None


@attrs.frozen(eq=False)
class Batches:
    """Answers a batch at once, an exception for each record that fails."""

    number: int
    switch: Switch

    def process_batch(self, records: Sequence[Any]) -> list[Any]:
        return [self._one(record) for record in records]

    def _one(self, record: Any) -> Any:
        try:
            self.switch.check(self.number, record["v"])
        except ValueError as error:
            return error
        return {"v": record["v"] + 1}


class Picky(MemorySink):
    """Refuses what fails."""

    number: int
    switch: Switch

    async def write(self, records: Sequence[Any]) -> None:
        errors: dict[int, Exception] = {}
        for index, record in enumerate(records):
            try:
                self.switch.check(self.number, record["v"])
            except ValueError as error:
                errors[index] = error
        await super().write([dict(each) for index, each in enumerate(records) if index not in errors])
        if errors:
            raise RecordsRejected(errors)


@attrs.frozen(kw_only=True)
class Case:
    """A pipeline, what fails at first, what still fails at each replay, and when the replays come."""

    values: list[int]
    kinds: list[str]
    routed: bool
    failing: set[int]
    repairs: list[set[int]]
    """What fails no more from each replay on; at the last one nothing does."""
    waits: list[int]
    """Records (modulo their number) before which the source waits, and a replay is asked for; more replays than that
    come behind the run."""
    stopped: bool
    """Whether the run is stopped at its first wait, and another takes over behind it."""
    batch_size: int
    every: int
    limit: int | None
    block: int | None


CASES = st.builds(
    Case,
    values=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    kinds=st.lists(st.sampled_from(KINDS), max_size=4),
    routed=st.booleans(),
    failing=st.sets(st.integers(0, 5), min_size=1),
    repairs=st.lists(st.sets(st.integers(0, 5)), max_size=2),
    waits=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    stopped=st.booleans(),
    batch_size=st.integers(1, 8),
    every=st.integers(1, 12),
    limit=st.none() | st.integers(1, 10),
    block=st.none() | st.integers(1, 7),
)


def built(case: Case, switch: Switch, source: Any, sinks: Sequence[Picky], state: MemoryBackend) -> Any:
    pipeline: Any = Pipeline(source, name="p")
    for number, kind in enumerate(case.kinds):
        name = f"{kind}{number}"
        match kind:
            case "dedupe":
                pipeline = pipeline.pipe(Dedupe(number, switch), name=name)
            case "counted":
                pipeline = pipeline.pipe(Counted(number, switch), name=name)
            case "batch":
                pipeline = pipeline.pipe(Batches(number, switch), name=name)
            case "filter":
                pipeline = pipeline.filter(plain(kind, number, switch), name=name)
            case "expand":
                pipeline = pipeline.flat_map(plain(kind, number, switch), name=name)
            case _:
                concurrency = 3 if kind == "buffered" else 1
                pipeline = pipeline.map(plain(kind, number, switch), name=name, concurrency=concurrency)
    for number, sink in enumerate(sinks, start=4):
        sink.number, sink.switch = number, switch
    first, second = sinks
    if case.routed:
        pipeline = pipeline.to(first, name="a", where=lambda record: record["v"] % 2)
        pipeline = pipeline.to(second, name="b", otherwise=True)
    else:
        pipeline = pipeline.to(first, name="a").to(second, name="b")
    return pipeline.build(
        checkpoint_store=CountingStore(state),
        dlq=StateDLQSink(state),
        batch_size=case.batch_size,
        checkpoint_every=case.every,
        backpressure=None if case.limit is None else Backpressure.fixed(case.limit),
    )


def given_values(sinks: Sequence[Picky]) -> list[list[int]]:
    return [sorted(record["v"] for record in sink.records) for sink in sinks]


async def undisturbed(case: Case) -> list[list[int]]:
    state, sinks = MemoryBackend(), (Picky(), Picky())
    await state.open()
    source = Records(len(case.values), make=lambda number: {"v": case.values[number]}, block=case.block)
    await built(case, Switch(set()), source, sinks, state).run()
    await state.close()
    return given_values(sinks)


async def repaired(case: Case) -> list[list[int]]:
    """Fail, be repaired bit by bit and replayed, in the middle of the run and behind it."""
    state, sinks, switch = MemoryBackend(), (Picky(), Picky()), Switch(set(case.failing))
    await state.open()
    waits = {number % len(case.values) for number in case.waits}
    source = Records(
        len(case.values),
        make=lambda number: {"v": case.values[number]},
        block=case.block,
        delay=lambda number: WAIT if number in waits else 0.0,
    )
    bound = built(case, switch, source, sinks, state)
    repairs = [*case.repairs, set(range(10))]

    async with trio.open_nursery() as nursery:
        handle = await nursery.start(bound.run)
        await trio.sleep(WAIT / 2)
        while repairs and handle.stats().read < len(case.values) and handle.stats().in_flight == 0:
            switch.on -= repairs.pop(0)
            await handle.replay()
            if case.stopped:
                handle.stop()
                break
            await trio.sleep(WAIT)
    await bound.run()
    while repairs:
        switch.on -= repairs.pop(0)
        await bound.replay()
    await bound.replay()
    queue = StateDLQSink(state)
    assert [letter async for letter in queue.read("p")] == []
    await state.close()
    return given_values(sinks)


@given(case=CASES, seed=st.integers(0, 3))
@settings(max_examples=EXAMPLES, deadline=None)
def test_what_failed_and_was_replayed_gives_in_total_what_never_failed_gives(case: Case, seed: int) -> None:
    expected = run_virtual(undisturbed, case, seed=seed)
    assert run_virtual(repaired, case, seed=seed) == expected
