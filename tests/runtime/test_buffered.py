"""A buffered stage by itself, against the rule: whatever finishes first, records leave as one after the other would."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from rule import Fates, Numbers, Plan, Policies, batches, by_rule, left, rules_of
from support import run_virtual

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
    assert (slots.done, slots.ended, slots.in_order()) == (True, False, [0, 1, 2])


def test_behind_the_first_failure_that_ends_the_run_nothing_is_waited_for() -> None:
    slots = slots_of(5)
    slots.end_at(3)
    slots.end_at(2)
    slots.end_at(4)  # behind an earlier one
    assert [slots.counts(place) for place in range(5)] == [True, True, True, False, False]
    assert (slots.ended, slots.done) == (True, False)
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
