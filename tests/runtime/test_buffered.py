"""A buffered stage by itself, against the rule: whatever finishes first, records leave as one after the other would."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from rule import Fates, Numbers, Plan, Policies, batches, by_rule, left, rules_of
from support import run_virtual

from agora.deadletter import Entry
from agora.middlewares.step import StepKind, step_from
from agora.runtime.batch import Batch
from agora.runtime.buffered import BufferedStage, Slots
from agora.runtime.pace import Pace
from agora.runtime.spans import Spans
from agora.tracing import NoopTracer


async def through(stage: BufferedStage, given: Sequence[Batch]) -> list[Batch]:
    """What the stage sends on, until it ends or a halt has passed."""
    send, receive = trio.open_memory_channel[Batch](100)
    forward, following = trio.open_memory_channel[Batch](0)
    for batch in given:
        send.send_nowait(batch)
    send.close()
    sent: list[Batch] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.run, Spans(NoopTracer()), receive, forward)
        async for batch in following:
            sent.append(batch)
            if batch.halt is not None:
                await trio.sleep(100)  # nothing comes behind it
                assert following.statistics().tasks_waiting_send == 0
                nursery.cancel_scope.cancel()
                break
    return sent


def worked(
    plan: Plan,
    numbers: Sequence[int],
    letters: bool,
    concurrency: int,
    size: int,
    borders: Sequence[int],
    seed: int,
) -> tuple[Any, ...]:
    step = plan.of("s0", concurrency)
    rules = rules_of([step], letters)
    stage = BufferedStage(step=step, rules=rules, pace=Pace(), batch_size=size)
    sent = run_virtual(
        through, stage, batches(numbers, *(border % (len(numbers) + 1) for border in borders)), seed=seed
    )
    return left(sent, rules)


Waits = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)
Plans = st.builds(
    Plan, st.sampled_from(["map", "filter", "expand", "batch"]), Fates, Policies, st.just(True), Waits
) | st.builds(Plan, st.sampled_from(["map", "filter", "expand"]), Fates, Policies)


@given(
    Plans,
    Numbers,
    st.booleans(),
    st.integers(2, 4),
    st.integers(1, 3),
    st.lists(st.integers(0, 8), max_size=3),
    st.integers(0, 99),
)
@example(
    Plan("map", ("keep", "fail", "drop"), "pass", True, (3, 0, 2)), [0, 1, 2, 1, 0, 1], True, 2, 2, [3], 1
)
@example(
    Plan("map", ("keep", "keep", "fail"), "stop", True, (3, 1, 0)), [0, 1, 2, 2, 0, 2], True, 4, 2, [2, 4], 1
)
@example(Plan("expand", ("keep", "fail", "drop"), "pass", True, (2, 0)), [0, 1, 2, 1, 3], True, 3, 1, [2], 1)
@example(Plan("expand", ("keep", "fail"), "stop", True, (0, 1)), [0, 0, 1, 0], True, 3, 2, [1], 1)
@example(Plan("filter", ("keep", "drop", "fail"), "pass", True, (2, 1)), [0, 1, 2, 3], False, 2, 2, [2], 1)
@example(Plan("filter", ("keep", "drop", "fail"), "skip", True, (2, 1)), [0, 1, 2, 3], False, 2, 2, [2], 1)
@example(
    Plan("batch", ("keep", "drop", "fail", "keep"), "pass", True, (2, 1)), [0, 1, 2, 3, 3], True, 2, 2, [4], 1
)
@example(
    Plan("batch", ("keep", "fail", "keep", "keep"), "stop", True, (2, 0)),
    [0, 2, 3, 1, 1, 3],
    True,
    3,
    2,
    [5],
    1,
)
def test_whatever_finishes_first_what_leaves_is_what_one_after_the_other_gives(
    plan: Plan, numbers: list[int], letters: bool, concurrency: int, size: int, borders: list[int], seed: int
) -> None:
    *told, (count,) = worked(plan, numbers, letters, concurrency, size, borders, seed)
    *expected, (wanted,) = by_rule([plan], numbers, letters)
    assert told == expected
    if plan.kind == "batch" and plan.policy == "stop":  # what was begun behind the failure has entered, too
        assert wanted[0] <= count[0] <= len(numbers)
        del wanted[0], count[0]
    assert count == wanted


def slots_of(count: int) -> Slots:
    (batch,) = batches(range(count))
    return Slots(batch, batch.as_rows())


def test_a_batch_is_done_with_its_last_result_in_whatever_order_they_come() -> None:
    slots = slots_of(3)
    assert [slots.set(place, place) for place in (2, 0)] == [False, False]
    assert not slots.done
    assert slots.set(1, 1)
    assert (slots.done, slots.in_order()) == (True, [0, 1, 2])


def test_behind_the_first_failure_that_ends_the_run_nothing_is_waited_for() -> None:
    slots = slots_of(5)
    slots.end_at(3)
    slots.end_at(2)
    slots.end_at(4)  # behind an earlier one
    assert [slots.counts(place) for place in range(5)] == [True, True, True, False, False]
    assert not slots.done
    assert [slots.set(place, place) for place in (4, 2, 0)] == [False, False, False]
    assert slots.set(1, 1)
    assert (slots.done, slots.in_order()) == (True, [0, 1, 2])


@pytest.mark.parametrize(("batch_size", "most"), [(1, 16), (100, 200)])
def test_no_more_records_are_begun_than_may_wait_for_a_slow_one(batch_size: int, most: int) -> None:
    """Eight times the concurrency wait, or two batches: what is taken in beyond that is one batch."""
    plan = Plan("map", ("keep",), None, True, (1000,))
    step = plan.of("s0", 2)
    stage = BufferedStage(step=step, rules=rules_of([step], False), pace=Pace(), batch_size=batch_size)
    all_of_them = batches([0] * 4 * most, *range(0, 4 * most, batch_size))

    async def main() -> int:
        send, receive = trio.open_memory_channel[Batch](10_000)
        forward, _following = trio.open_memory_channel[Batch](0)
        for batch in all_of_them:
            send.send_nowait(batch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.run, Spans(NoopTracer()), receive, forward)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        return sum(len(slots.units) for slots in stage._order)

    assert most <= run_virtual(main) <= most + 2 + batch_size


async def taken_in(stage: BufferedStage, given: Sequence[Batch]) -> int:
    """How many of the batches the stage holds while the first record is slow."""
    send, receive = trio.open_memory_channel[Batch](10_000)
    forward, following = trio.open_memory_channel[Batch](10_000)
    for batch in given:
        send.send_nowait(batch)
    send.close()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.run, Spans(NoopTracer()), receive, forward)
        await trio.sleep(1)
        held = len(stage._order)
        async with following:
            assert [batch.first async for batch in following] == [batch.first for batch in given]
    return held


def test_slices_that_wait_behind_a_slow_record_are_bounded_and_all_leave_in_the_end() -> None:
    """What an earlier step made of one record isn't bounded by the in-flight limit."""
    plan = Plan("map", ("keep",), None, True, (100, 0))
    step = plan.of("s0", 2)
    stage = BufferedStage(step=step, rules=rules_of([step], False), pace=Pace(), batch_size=8)
    slices = batches([0, *([1] * 99)], *range(100))
    for batch in slices[:-1]:
        batch.last = False
    assert stage._most_slices == 6
    assert run_virtual(taken_in, stage, slices) == 6
    whole = BufferedStage(step=step, rules=rules_of([step], False), pace=Pace(), batch_size=8)
    assert run_virtual(taken_in, whole, batches([0, *([1] * 99)], *range(100))) == 100


@pytest.mark.parametrize("batch_size", [1, 50])
def test_as_many_records_are_worked_on_at_once_as_it_is_said_and_no_more(batch_size: int) -> None:
    working = 0
    peak: list[int] = []

    async def work(record: Any) -> Any:
        nonlocal working
        working += 1
        peak.append(working)
        await trio.sleep(record["id"] % 3 + 1)
        working -= 1
        return record

    step = step_from(work, kind=StepKind.MAP, name="s0", concurrency=3)
    stage = BufferedStage(step=step, rules=rules_of([step], False), pace=Pace(), batch_size=batch_size)
    sent = run_virtual(through, stage, batches(range(20), *range(0, 20, batch_size)))
    assert (max(peak), sum(len(batch.rows) for batch in sent)) == (3, 20)


def test_behind_what_ends_the_run_no_record_is_begun() -> None:
    begun: list[int] = []

    async def work(record: Any) -> Any:
        begun.append(record["id"])
        await trio.sleep(1)
        if record["id"] == 2:
            raise ValueError(2)
        return record

    step = step_from(work, kind=StepKind.MAP, name="s0", concurrency=2, on_error="stop")
    stage = BufferedStage(step=step, rules=rules_of([step], False), pace=Pace(), batch_size=2)
    sent = run_virtual(through, stage, batches(range(100), *range(0, 100, 2)))
    assert begun == [0, 1, 2, 3]
    assert [row["id"] for batch in sent for row in batch.rows] == [0, 1]
    assert sent[-1].halt is not None


class NeverEmpty:
    async def process_batch(self, records: Sequence[Any]) -> list[Any]:
        assert records
        return list(records)


def test_no_records_are_no_call() -> None:
    step = step_from(NeverEmpty(), name="s0", concurrency=2, on_error="stop")
    stage = BufferedStage(step=step, rules=rules_of([step], False), pace=Pace(), batch_size=4)
    sent = run_virtual(through, stage, batches([], 0))
    assert [(batch.rows, batch.halt) for batch in sent] == [([], None)]


class Expanding:
    """Fails when it is called, not when its children are drawn."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def expand(self, record: Any) -> list[Any]:
        record["seen"].append("in place")
        if record["id"] == 1:
            raise ValueError(1)
        return [record]

    def on_error(self, record: Any, error: Exception) -> None:
        self.told.append((record["id"], str(error)))


@pytest.mark.parametrize("policy", ["pass", "skip"])
def test_a_step_that_multiplies_may_fail_before_its_first_child(policy: Any) -> None:
    part = Expanding()
    step = step_from(part, name="s0", concurrency=2, on_error=policy)
    rules = rules_of([step], True)
    stage = BufferedStage(step=step, rules=rules, pace=Pace(), batch_size=4)
    (batch,) = run_virtual(through, stage, batches([0, 1, 2]))
    assert part.told == [(1, "1")]
    passed = [row["seen"] for row in batch.rows if row["id"] == 1]
    assert passed == ([[]] if policy == "pass" else [])  # as it was when it entered
    entries = [batch.entry(row) for row in range(len(batch.rows))]
    assert all(isinstance(entry, Entry) and entry.step is None for entry in entries)
    count = rules.count(step)
    assert (count.entered, count.left, count.failed) == (3, 2 + len(passed), 1)


class Holding:
    def process(self, record: Any) -> Any:
        return record

    def finish(self) -> list[Any]:
        return [{"id": 99, "seen": []}]


class FailingAt(Holding):
    def process(self, record: Any) -> Any:
        raise ValueError(record["id"])


@pytest.mark.parametrize(
    ("part", "end", "expected"),
    [
        (Holding(), "exhausted", [0, 99]),
        (Holding(), "stopped", [0]),
        (Holding(), None, [0]),
        (FailingAt(), "exhausted", []),
    ],
)
def test_what_was_held_back_comes_with_the_end_of_the_source_and_only_then(
    part: Any, end: Any, expected: list[int]
) -> None:
    step = step_from(part, name="s0", concurrency=2, on_error="stop")
    stage = BufferedStage(step=step, rules=rules_of([step], False), pace=Pace(), batch_size=4)
    (batch,) = batches([0])
    batch.end = end
    run_virtual(through, stage, [batch])
    assert [row["id"] for row in batch.rows] == expected
