"""Doubles keep the contract of what they wrap, and fail as they are told."""

import itertools
import json
import math

import pytest
import trio
from hypothesis import strategies as st
from support import Records, run_virtual

from agora import Pipeline
from agora.sinks import JsonLinesSink, MemorySink, StdoutSink
from agora.sources import CsvSource, IterableSource
from agora.state import CheckpointStore, MemoryBackend, SQLiteBackend
from agora.testing import (
    FailingSource,
    FaultyStateBackend,
    FlakySink,
    SlowSink,
    check_sink,
    check_source,
    check_state_backend,
)
from agora.testing.doubles import Failure, FailurePlan
from agora.testing.faults import Failpoints, Fault


def bound(source, sink, **kwargs):
    return Pipeline(source, name="p").to(sink, name="out").build(**kwargs)


def public(part):
    return {name for name in dir(part) if not name.startswith("_")}


@pytest.mark.parametrize("part", [MemorySink(), StdoutSink(), JsonLinesSink("x"), SlowSink(MemorySink())])
@pytest.mark.parametrize("double", [FlakySink, SlowSink])
def test_a_sink_s_double_has_what_the_sink_has_and_nothing_else(double, part):
    wrapped = double(part)
    for name in public(part):
        assert callable(getattr(wrapped, name)) == callable(getattr(part, name))
    for name in ("write_record", "write_columns", "prepare", "publish", "live", "lifespan"):
        assert hasattr(wrapped, name) == hasattr(part, name)


@pytest.mark.parametrize("part", [IterableSource([1]), CsvSource("x.csv"), Records(3)])
def test_a_source_s_double_has_what_the_source_has_and_nothing_else(part):
    wrapped = FailingSource(part)
    for name in public(part):
        assert callable(getattr(wrapped, name)) == callable(getattr(part, name))
    for name in ("batches", "committed", "checkpoint", "open", "blocks"):
        assert hasattr(wrapped, name) == hasattr(part, name)


def test_what_the_engine_sets_is_set_on_the_part():
    part = CsvSource("x.csv")
    FailingSource(part).allow_change = True
    assert part.allow_change


def test_a_planned_failure_ends_the_run_and_the_next_one_goes_on():
    sink, store = MemorySink(), CheckpointStore(MemoryBackend())
    plan = FailurePlan([Failure("write", 2, OSError("lost"))])
    with pytest.raises(OSError, match="lost"):
        run_virtual(bound(Records(5), FlakySink(sink, plan), checkpoint_store=store, checkpoint_every=2).run)
    run_virtual(bound(Records(5), sink, checkpoint_store=store).run)
    assert sink.records == [{"id": number} for number in range(5)]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", ["prepare", "commit"])
def test_a_failure_behind_the_call_lets_it_happen(method, after):
    sink, store = MemorySink(), CheckpointStore(MemoryBackend())
    flaky = FlakySink(sink, FailurePlan([Failure(method, 1, after=after)]))
    with pytest.raises(OSError, match="injected"):
        run_virtual(bound(Records(5), flaky, checkpoint_store=store, checkpoint_every=2).run)
    run_virtual(bound(Records(5), sink, checkpoint_store=store).run)
    assert sink.records == [{"id": number} for number in range(5)]


@pytest.mark.parametrize("block", [None, 2])
def test_a_source_fails_where_it_is_told(block):
    sink = MemorySink()
    streams = "stream" if block is None else "blocks"
    source = FailingSource(Records(5, block=block), FailurePlan([Failure(streams, 2, OSError("gone"))]))
    with pytest.raises(OSError, match="gone"):
        run_virtual(bound(source, sink).run)
    assert len(sink.records) == (block or 1)


def test_a_slow_sink_takes_its_time():
    async def main():
        began = trio.current_time()
        await bound(Records(4), SlowSink(MemorySink(), 2.5), batch_size=2).run()
        return trio.current_time() - began

    assert math.isclose(run_virtual(main), 5.0)


def test_a_state_whose_answer_is_lost_has_saved():
    state = MemoryBackend()
    sink = MemorySink()
    plan = FailurePlan([Failure("apply", 4, OSError("no answer"), after=True)])
    store = CheckpointStore(FaultyStateBackend(state, plan))
    with pytest.raises(OSError, match="no answer"):
        run_virtual(bound(Records(5), sink, checkpoint_store=store, checkpoint_every=2).run)
    run_virtual(bound(Records(5), sink, checkpoint_store=CheckpointStore(state)).run)
    assert sink.records == [{"id": number} for number in range(5)]


def test_a_transaction_fails_whole(tmp_path):
    async def main():
        state = FaultyStateBackend(SQLiteBackend(tmp_path / "s.db"), FailurePlan([Failure("apply", 1)]))
        await state.open()
        with pytest.raises(OSError, match="injected"):
            async with state.transaction() as changes:
                changes.put("n", "a", b"1")
                changes.put("n", "b", b"2")
        found = [item async for item in state.scan("n")]
        await state.close()
        return found

    assert trio.run(main) == []


def test_calls_and_operations_on_the_disk_are_counted_together(tmp_path):
    async def main():
        with Failpoints() as points:
            await bound(Records(3), FlakySink(JsonLinesSink(tmp_path / "out.jsonl"), points)).run()
        return [getattr(each, "name", str(each)) for each in points.seen]

    seen = run_virtual(main)
    assert seen[:2] == ["sink.open, call 1", "sink.write, call 1"]
    assert seen.index("sink.publish, call 1") < seen.index("replace") < seen.index("sink.close, call 1")


def test_a_crash_at_a_call_reaches_the_part_no_more():
    async def main():
        sink = MemorySink()
        with Failpoints(at=3, fault=Fault.CRASH_AFTER) as points:  # open, write, write
            await bound(Records(3), FlakySink(sink, points), batch_size=1).run()
        return points.crashed, str(points.struck), sink.records

    assert run_virtual(main) == (True, "sink.write, call 2", [{"id": 0}, {"id": 1}])


@pytest.mark.parametrize("block", [None, 2])
def test_with_an_empty_plan_a_source_keeps_the_laws(block):
    check_source(lambda: FailingSource(Records(5, block=block)), examples=5)


@pytest.mark.parametrize("double", [FlakySink, lambda sink: SlowSink(sink, 0.5)], ids=["flaky", "slow"])
def test_with_an_empty_plan_a_sink_keeps_the_laws(double):
    def read_back(place):
        path = place / "out.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    records = st.fixed_dictionaries({"id": st.integers(0, 9)})
    check_sink(lambda place: double(JsonLinesSink(place / "out.jsonl")), read_back, records, examples=5)


def test_with_an_empty_plan_a_state_in_memory_keeps_the_laws():
    check_state_backend(
        lambda: FaultyStateBackend(MemoryBackend()), reopen=lambda backend: backend, examples=10
    )


def test_with_an_empty_plan_a_state_in_a_file_keeps_the_laws(tmp_path):
    numbers = itertools.count()
    check_state_backend(
        lambda: FaultyStateBackend(SQLiteBackend(tmp_path / f"{next(numbers)}.db")),
        reopen=lambda backend: FaultyStateBackend(SQLiteBackend(backend.path)),
        examples=5,
    )


class Bare:
    async def write(self, records): ...


@pytest.mark.parametrize(
    "made",
    [
        lambda: FlakySink(MemorySink(), FailurePlan([Failure("wirte", 1)])),
        lambda: FlakySink(Bare(), FailurePlan([Failure("recover", 1)])),
        lambda: SlowSink(MemorySink(), {"writes": 1}),
        lambda: FailingSource(IterableSource([1]), FailurePlan([Failure("checkpoint", 1)])),
        lambda: FaultyStateBackend(MemoryBackend(), FailurePlan([Failure("save", 1)])),
        lambda: Failure("write", 0),
        lambda: Failure("write", "1"),
    ],
)
def test_a_failure_that_cannot_strike_is_refused(made):
    with pytest.raises((ValueError, TypeError)):
        made()


async def test_a_failure_of_one_way_to_read_strikes_though_the_source_has_others():
    sink = MemorySink()
    source = FailingSource(IterableSource([1, 2, 3]), FailurePlan([Failure("stream", 3)]))
    with pytest.raises(OSError, match="injected"):
        await Pipeline(source, name="p").to(sink).build().run()
    assert sink.records == [1, 2]
