"""Segments by themselves, against the rule that they stand for: one record after the other, each through its steps.

Rows, their offsets, failures with their entries, the halt, and the counts of each step are those of the rule, whatever
form of the segment does the work: the written loop, the walk, or the batch that is halved.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from rule import Fates, Numbers, Plan, Policies, batches, by_rule, left, plans_of, rules_of

from agora.deadletter import SOURCE_ENTRY, Entry
from agora.middlewares.step import Step, StepKind, step_from
from agora.runtime.batch import Batch, Failure, StreamOrigin
from agora.runtime.pace import Pace
from agora.runtime.segment import BatchSegment, RowSegment


def worked(plans: Sequence[Plan], numbers: Sequence[int], letters: bool, size: int) -> tuple[Any, ...]:
    """Rows, failures, halt and counts as the segments leave them."""
    steps = tuple(plan.of(f"s{number}") for number, plan in enumerate(plans))
    rules = rules_of(steps, letters)
    sent: list[Batch] = []
    last: Batch | None = None

    async def emit(batch: Batch) -> None:
        assert batch is last or (len(batch.rows) == size and not batch.last)
        sent.append(batch)

    segment: Any = (
        BatchSegment(step=steps[0], rules=rules, pace=Pace(), batch_size=size)
        if plans[0].kind == "batch"
        else RowSegment(steps=steps, rules=rules, pace=Pace(), batch_size=size)
    )
    for batch in batches(numbers, len(numbers) // 2):
        last = batch
        trio.run(segment.process, batch, emit)
        assert sent[-1] is batch
        if batch.halt is not None:
            break
    return left(sent, rules)


def agree(plans: Sequence[Plan], numbers: Sequence[int], letters: bool, size: int = 3) -> None:
    assert worked(plans, numbers, letters, size) == by_rule(plans, numbers, letters)


KEEP, DROP, FAIL = ("keep",), ("drop",), ("fail",)


@given(plans_of("map", "filter"), Numbers, st.booleans())
@example([Plan("map", FAIL, "pass"), Plan("map", FAIL, "pass")], [1, 2, 3], True)
@example([Plan("map", FAIL, "pass"), Plan("map", FAIL, None)], [1, 2, 3], True)
@example([Plan("map", ("keep", "drop", "fail"), "skip"), Plan("map", FAIL, None)], [0, 1, 2, 3, 4], True)
@example([Plan("map", ("fail", "keep"), "pass"), Plan("filter", ("drop", "keep"), None)], [0, 1, 0, 1], False)
@example(
    [Plan("map", ("fail", "keep"), "pass"), Plan("filter", ("keep", "fail"), "stop")], [0, 0, 1, 0], False
)
@example([Plan("map", ("keep", "drop", "keep", "fail"), "stop")], [0, 1, 2, 3, 0], False)
def test_the_written_loop_gives_what_one_record_after_the_other_gives(
    plans: list[Plan], numbers: list[int], letters: bool
) -> None:
    agree(plans, numbers, letters)


@given(plans_of("map", "filter", "expand"), Numbers, st.booleans())
@example([Plan("expand", KEEP, None), Plan("map", ("keep", "fail"), None)], [0, 1, 2], True)
@example([Plan("expand", KEEP, None), Plan("map", ("fail", "keep"), "stop")], [1, 3, 0], True)
@example([Plan("expand", FAIL, "pass"), Plan("map", KEEP, None)], [0, 1], True)
@example([Plan("expand", DROP, None)], [0, 1], False)
@example([Plan("expand", KEEP, None), Plan("expand", KEEP, None)], [0, 1, 2], True)
def test_records_that_multiply_pass_the_rest_of_the_chain_before_the_next_one_enters(
    plans: list[Plan], numbers: list[int], letters: bool
) -> None:
    agree(plans, numbers, letters)


@given(Fates, Policies, Numbers, st.booleans(), st.integers(1, 4))
@example(("keep", "fail", "drop"), None, [0, 1, 2, 4], True, 4)
@example(("keep", "fail", "drop"), "stop", [0, 2, 1, 4], False, 4)
@example(("keep", "fail", "drop"), "stop", [0, 2, 0, 0, 2, 1], False, 4)
@example(("keep", "fail", "drop"), "pass", [0, 2, 1, 4], False, 2)
def test_a_batch_that_fails_is_taken_apart_until_the_culprits_are_alone(
    fates: tuple[str, ...], policy: Any, numbers: list[int], letters: bool, size: int
) -> None:
    agree([Plan("batch", fates, policy)], numbers, letters, size)


@pytest.mark.parametrize("kind", ["map", "batch"])
def test_no_rows_are_no_work(kind: str) -> None:
    assert worked([Plan(kind, KEEP, None)], [], False, 3) == ([], [], None, [[0, 0, 0, 0]])


class Holding:
    """Holds all back, and gives at the end what it is told to."""

    def __init__(self, gives: Any = None) -> None:
        self.gives = gives

    def process(self, record: Any) -> Any:
        return record if record != "held" else None

    def finish(self) -> Any:
        return self.gives


class HoldingBatches(Holding):
    process = None  # type: ignore[assignment]  # it has none

    async def process_batch(self, records: Sequence[Any]) -> list[Any]:
        return [Holding.process(self, record) for record in records]

    async def finish(self) -> Any:
        return self.gives


def failing() -> Iterator[Any]:
    yield "a"
    raise ValueError("held too long")


def finished(
    steps: Sequence[Step], end: Any = "exhausted", letters: bool = True, halt: Failure | None = None
) -> Any:
    """The last batch of a run, of records `x`, `held` and `y`, and the counts of the steps."""
    rules = rules_of(steps, letters)
    batch = Batch(
        first=0,
        count=3,
        rows=["x", "held", "y"],
        index=range(3),
        origin=StreamOrigin([], None, None),
        end=end,
    )
    batch.halt = halt
    segment: Any = (
        BatchSegment(step=steps[0], rules=rules, pace=Pace(), batch_size=8)
        if steps[0].kind is StepKind.BATCH
        else RowSegment(steps=tuple(steps), rules=rules, pace=Pace(), batch_size=8)
    )

    async def emit(batch: Batch) -> None: ...

    trio.run(segment.process, batch, emit)
    return batch, [(each.entered, each.left, each.dropped, each.failed) for each in rules.counts.values()]


@pytest.mark.parametrize("kind", [Holding, HoldingBatches])
@pytest.mark.parametrize("letters", [False, True])
def test_what_was_held_back_stands_behind_all_records_and_in_their_batch(kind: Any, letters: bool) -> None:
    step = step_from(kind(["a", None, "b"]), name="s0")
    batch, counts = finished([step], letters=letters)
    assert (list(batch.rows), list(batch.index)) == (["x", "y", "a", "b"], [0, 2, 3, 3])
    assert counts == [(3, 4, 1, 0)]
    behind = [SOURCE_ENTRY] * 2 if not letters else [Entry(step=None, record=record) for record in "ab"]
    assert [batch.entry(row) for row in range(4)] == [SOURCE_ENTRY, SOURCE_ENTRY, *behind]


@pytest.mark.parametrize("kind", [Holding, HoldingBatches])
def test_nothing_is_asked_for_what_was_held_back_before_the_end_or_behind_a_halt(kind: Any) -> None:
    halt = Failure(offset=3, stage="s", error=ValueError(), policy="stop")
    for told in ({"end": None}, {"end": "stopped"}, {"halt": halt}):
        batch, _ = finished([step_from(kind(["a"]), name="s0")], **told)
        assert list(batch.rows) == ["x", "y"]


@pytest.mark.parametrize("kind", [Holding, HoldingBatches])
@pytest.mark.parametrize("gives", [None, []])
def test_a_step_may_have_held_nothing_back(kind: Any, gives: Iterable[Any] | None) -> None:
    batch, counts = finished([step_from(kind(gives), name="s0")])
    assert (list(batch.rows), counts, batch.halt) == (["x", "y"], [(3, 2, 1, 0)], None)


@pytest.mark.parametrize(("kind", "before"), [(Holding, ["x", "y", "a"]), (HoldingBatches, ["x", "y"])])
def test_an_error_of_finish_ends_the_run_behind_all_records(kind: Any, before: list[Any]) -> None:
    batch, _ = finished([step_from(kind(failing()), name="s0")])
    assert batch.halt is not None
    assert (batch.halt.offset, batch.halt.stage, batch.halt.policy, batch.halt.entry) == (
        3,
        "middleware:s0",
        "stop",
        None,
    )
    assert (str(batch.halt.error), list(batch.rows), batch.end) == ("held too long", before, None)


def test_what_one_step_held_back_goes_through_the_next_which_then_gives_its_own() -> None:
    def upper(record: Any) -> Any:
        if record == "b":
            raise ValueError(record)
        return record.upper() if record != "c" else None

    steps = [
        step_from(Holding(["a", "b", "c", "held"]), name="s0"),
        step_from(upper, kind=StepKind.MAP, name="s1"),
        step_from(Holding(["z"]), name="s2"),
    ]
    batch, counts = finished(steps)
    assert list(batch.rows) == ["X", "Y", "A", "HELD", "z"]
    assert [(failure.offset, failure.stage) for failure in batch.failures] == [(3, "middleware:s1")]
    assert batch.failures[0].entry == Entry(step="s1", record="b")
    assert counts == [(3, 6, 1, 0), (6, 4, 1, 1), (4, 5, 0, 0)]


def test_a_halt_among_what_was_held_back_ends_it_there() -> None:
    def strict(record: Any) -> Any:
        if record == "b":
            raise ValueError(record)
        return record

    steps = [
        step_from(Holding(["a", "b", "c"]), name="s0"),
        step_from(strict, kind=StepKind.MAP, name="s1", on_error="stop"),
        step_from(Holding(["z"]), name="s2"),
    ]
    batch, _ = finished(steps)
    assert (list(batch.rows), batch.halt and batch.halt.stage) == (["x", "y", "a"], "middleware:s1")


class Watched:
    """A step that multiplies, and is told of its failures; whether it fails in its call or behind its first child."""

    def __init__(self, late: bool) -> None:
        self.late = late
        self.told: list[Any] = []

    def expand(self, record: Any) -> Any:
        if self.late:
            return self._children(record)
        record["spoiled"] = True
        raise ValueError("at once")

    def _children(self, record: Any) -> Any:
        yield {"child": record["id"]}
        raise ValueError("late")

    def on_error(self, record: Any, error: Exception) -> None:
        self.told.append((record, str(error)))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("policy", ["pass", "skip"])
def test_a_step_that_multiplies_is_told_of_the_record_that_it_failed_with(late: bool, policy: Any) -> None:
    part = Watched(late)
    step = step_from(part, name="s0", on_error=policy)
    rules = rules_of([step], False)
    (batch,) = batches([5])
    batch.rows = [{"id": 5}]
    sent: list[Batch] = []

    async def emit(batch: Batch) -> None:
        sent.append(batch)

    trio.run(RowSegment(steps=(step,), rules=rules, pace=Pace(), batch_size=8).process, batch, emit)
    told = {"id": 5} if late else {"id": 5, "spoiled": True}
    assert part.told == [({"id": 5} if policy == "pass" and late else told, "late" if late else "at once")]
    children = [{"child": 5}] if late and policy == "skip" else []
    assert batch.rows == ([{"id": 5}] if policy == "pass" else children)  # as it was
    count = rules.count(step)
    assert (count.entered, count.left, count.failed) == (1, len(batch.rows), 1)
