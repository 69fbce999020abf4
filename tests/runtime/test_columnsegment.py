"""Columnar steps by themselves, one alone and several as one segment, against the rule that they stand for: each row
through the steps, one row after the other."""

from collections.abc import Sequence
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from rule import rules_of
from support import run_virtual

from agora import Pipeline
from agora.columns import Columns
from agora.middlewares.columnar import ColumnsResult
from agora.middlewares.step import step_from
from agora.runtime.batch import Batch, StreamOrigin
from agora.runtime.columnar import columns_result, joined
from agora.runtime.columnsegment import ColumnSegment
from agora.runtime.pace import Pace
from agora.runtime.segment import BatchSegment
from agora.sinks import MemorySink


@attrs.frozen
class Fated:
    """Counts the steps that a row has passed; what becomes of a row is told by its number. `raises`: for a whole batch
    with a row that fails, in place of naming that."""

    fates: tuple[str, ...]
    policy: Any
    raises: bool = False

    def fate(self, number: int) -> str:
        return self.fates[number % len(self.fates)]

    def process_columns(self, data: pa.RecordBatch) -> Any:
        fates = [self.fate(number) for number in data.column("id").to_pylist()]
        if self.raises and "fail" in fates:
            raise ValueError("some row")
        passed = data.set_column(1, "passed", pc.add(data.column("passed"), 1))
        if set(fates) == {"keep"}:
            return passed
        kept = pa.array([fate == "keep" for fate in fates])
        return ColumnsResult(
            passed.filter(kept), kept, {at: ValueError(at) for at, fate in enumerate(fates) if fate == "fail"}
        )


def by_rule(plans: Sequence[Fated], numbers: Sequence[int]) -> tuple[Any, ...]:
    rows, failures, counts = [], [], [[0, 0, 0, 0] for _ in plans]
    for offset, number in enumerate(numbers):
        passed = 0
        for at, (plan, count) in enumerate(zip(plans, counts, strict=True)):
            count[0] += 1
            fate = plan.fate(number)
            if fate == "fail":
                count[3] += 1
                if plan.policy == "stop":
                    return rows, sorted(failures), (offset, f"middleware:s{at}"), counts
                if plan.policy != "pass":
                    failures.append((offset, f"middleware:s{at}"))
                    break
            elif fate == "drop":
                count[2] += 1
                break
            else:
                passed += 1
            count[1] += 1
        else:
            rows.append((number, passed, offset))
    return rows, sorted(failures), None, counts


def worked(plans: Sequence[Fated], numbers: Sequence[int]) -> tuple[Any, ...]:
    steps = [step_from(plan, name=f"s{at}", on_error=plan.policy) for at, plan in enumerate(plans)]
    rules = rules_of(steps, False)
    singles = [BatchSegment(step=step, rules=rules, pace=Pace(), batch_size=3) for step in steps]
    segment: Any = singles[0] if len(singles) == 1 else ColumnSegment(singles)
    sent: list[Batch] = []

    async def emit(batch: Batch) -> None:
        sent.append(batch)

    half = len(numbers) // 2
    for first, part in ((0, numbers[:half]), (half, numbers[half:])):
        trio.run(segment.process, started(first, part), emit)
        if sent[-1].halt is not None:
            break
    rows = [
        (row["id"], row["passed"], each.first + each.index[at])
        for each in sent
        for at, row in enumerate(each.rows)
    ]
    failures = sorted(
        (each.first + failure.offset, failure.stage) for each in sent for failure in each.failures
    )
    counts = [[each.entered, each.left, each.dropped, each.failed] for each in rules.counts.values()]
    halt = sent[-1].halt
    return rows, failures, None if halt is None else (sent[-1].first + halt.offset, halt.stage), counts


def started(first: int, numbers: Sequence[int]) -> Batch:
    schema = pa.schema([("id", pa.int64()), ("passed", pa.int64())])
    data = pa.RecordBatch.from_pydict({"id": list(numbers), "passed": [0] * len(numbers)}, schema)
    count = len(numbers)
    return Batch(
        first=first, count=count, rows=Columns(data), index=range(count), origin=StreamOrigin([], None, None)
    )


Plans = st.lists(
    st.builds(
        Fated,
        st.lists(st.sampled_from(["keep", "keep", "drop", "fail"]), min_size=1, max_size=5).map(tuple),
        st.sampled_from([None, "skip", "pass", "stop"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
)
KEEP = Fated(("keep",), None)


@given(Plans, st.lists(st.integers(0, 20), max_size=8))
@example([Fated(("keep", "keep", "fail"), "stop"), KEEP, KEEP], [0, 1, 2, 3])
@example([Fated(("keep", "keep", "fail"), "stop", raises=True), KEEP], [0, 1, 2, 3])
@example([Fated(("keep", "keep", "keep", "fail"), "stop"), Fated(("keep", "fail"), "stop")], [0, 2, 1, 3])
@example(
    [Fated(("keep", "drop", "fail"), "pass"), Fated(("keep", "fail", "drop"), "skip")], [0, 1, 2, 3, 4, 5]
)
@example([Fated(("keep", "drop", "fail"), "skip", raises=True), KEEP], [2, 2, 0, 1, 5, 3])
@example([KEEP, KEEP, KEEP, Fated(("keep", "fail"), "skip", raises=True)], [0, 1, 2, 3])
@example([Fated(("drop",), None), KEEP], [1, 2])
@example([Fated(("drop", "keep", "fail"), "stop")], [0, 1, 0, 1, 0, 1, 2, 0])
@example([Fated(("drop", "keep", "fail"), "skip")], [0, 1, 2, 1, 0, 1, 2, 0])
@example([Fated(("drop", "keep", "fail"), "pass")], [0, 1, 2, 1, 0, 1, 2, 0])
def test_columns_give_what_one_row_after_the_other_gives(plans: list[Fated], numbers: list[int]) -> None:
    rows, failures, halt, counts = worked(plans, numbers)
    wanted_rows, wanted_failures, wanted_halt, wanted_counts = by_rule(plans, numbers)
    assert (rows, halt) == (wanted_rows, wanted_halt)
    if halt is None or len(plans) == 1:
        assert (failures, counts) == (wanted_failures, wanted_counts)
    else:  # an earlier step may have got behind the row that ends the run
        assert [each for each in failures if each[0] < halt[0]] == wanted_failures


@pytest.mark.parametrize("raises", [False, True])
def test_what_stands_before_a_row_that_ends_the_run_passes_all_steps_before_it_is_written(
    raises: bool,
) -> None:
    class Source:
        async def batches(self) -> Any:
            yield pa.RecordBatch.from_pydict({"id": [0, 1, 2, 3], "passed": [0] * 4})

    sink = MemorySink()
    pipeline: Any = Pipeline(Source(), name="p")
    for plan in (Fated(("keep", "keep", "fail"), "stop", raises), KEEP, KEEP):
        pipeline = pipeline.pipe(plan, on_error=plan.policy)
    with pytest.raises(ValueError):  # noqa: PT011  - raised by Fated
        run_virtual(pipeline.to(sink).build().run)
    assert sink.records == [{"id": 0, "passed": 3}, {"id": 1, "passed": 3}]


def batch_of(*numbers: int) -> Batch:
    data = pa.RecordBatch.from_pydict({"id": list(numbers)})
    count = len(numbers)
    return Batch(
        first=0,
        count=count + 1,
        rows=Columns(data),
        index=range(1, count + 1),
        origin=StreamOrigin([], None, None),
    )


def through(part: Any, batch: Batch, *, letters: bool = False, **more: Any) -> Any:
    step = step_from(part, name="s0", **more)
    rules = rules_of([step], letters)

    async def emit(batch: Batch) -> None: ...

    segment = BatchSegment(step=step, rules=rules, pace=Pace(), batch_size=3)
    trio.run(segment.process, batch, emit)
    return rules


class Stateful:
    """Notes what it saw; what it did in a call that failed is undone."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.told: list[Any] = []

    def process_columns(self, data: pa.RecordBatch) -> pa.RecordBatch:
        numbers = data.column("id").to_pylist()
        self.seen += numbers
        if 3 in numbers:
            raise ValueError(3)
        return data

    def snapshot(self) -> Any:
        return self.seen

    def restore(self, state: Any) -> None:
        self.seen = state

    def on_error(self, record: Any, error: Exception) -> None:
        self.told.append((record, str(error)))


def test_what_a_step_did_to_its_state_in_a_call_that_failed_is_undone_and_it_is_told_of_the_row() -> None:
    part = Stateful()
    batch = batch_of(1, 2, 3, 4)
    batch.entries = ["a", "b", "c", "d"]
    through(part, batch, on_error="skip")
    assert part.seen == [1, 2, 4]
    assert part.told == [({"id": 3}, "3")]
    assert [(failure.offset, failure.entry) for failure in batch.failures] == [(3, "c")]


def test_an_answer_that_cannot_be_matched_ends_the_run_at_the_first_row_of_the_batch() -> None:
    class Wrong:
        def process_columns(self, data: pa.RecordBatch) -> pa.RecordBatch:
            return data.slice(1)

    batch = batch_of(1, 2, 3)
    through(Wrong(), batch, on_error="skip")
    assert batch.halt is not None
    assert (batch.halt.offset, batch.halt.policy, len(batch.rows)) == (1, "stop", 0)


async def test_whoever_is_asked_in_a_step_s_place_is_asked_for_the_parts_too() -> None:
    asked: list[list[int]] = []

    async def ask(data: pa.RecordBatch) -> Any:
        asked.append(data.column("id").to_pylist())
        if 3 in asked[-1]:
            raise ValueError(3)
        return data

    class Never:
        def process_columns(self, data: pa.RecordBatch) -> Any:
            raise AssertionError("it is asked elsewhere")

    step = step_from(Never(), name="s0", on_error="skip")
    data = pa.RecordBatch.from_pydict({"id": [1, 2, 3, 4]})
    result = await columns_result(step, data, rules_of([step], False), Pace(), ask)
    assert isinstance(result, ColumnsResult)
    assert (result.data.column("id").to_pylist(), list(result.errors)) == ([1, 2, 4], [2])
    assert asked == [[1, 2, 3, 4], [1, 2], [3, 4], [3], [4]]


def test_answers_for_parts_are_one_for_the_whole() -> None:
    def part(*numbers: int) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({"id": list(numbers)}, pa.schema([("id", pa.int64())]))

    step = step_from(KEEP, name="s0")
    first, second, third = (
        ColumnsResult(part(number), pa.array([True, False]), {1: ValueError(number)}) for number in (1, 2, 3)
    )
    assert joined(step, [first], [2]) is first
    whole = joined(step, [first, second, third], [2, 2, 2])
    assert isinstance(whole, ColumnsResult)
    assert whole.data.column("id").to_pylist() == [1, 2, 3]
    assert {at: str(error) for at, error in whole.errors.items()} == {1: "1", 3: "2", 5: "3"}
    assert whole.kept is not None
    assert whole.kept.to_pylist() == [True, False] * 3
