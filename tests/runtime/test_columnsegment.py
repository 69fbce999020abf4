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
    data = pa.RecordBatch.from_pydict(
        {"id": list(numbers), "passed": [0] * len(numbers)},
        pa.schema([("id", pa.int64()), ("passed", pa.int64())]),
    )
    batch = Batch(
        first=0,
        count=len(numbers),
        rows=Columns(data),
        index=range(len(numbers)),
        origin=StreamOrigin([], None, None),
    )
    sent: list[Batch] = []

    async def emit(batch: Batch) -> None:
        sent.append(batch)

    trio.run(segment.process, batch, emit)
    assert sent == [batch]
    rows = [(row["id"], row["passed"], batch.index[at]) for at, row in enumerate(batch.rows)]
    failures = sorted((failure.offset, failure.stage) for failure in batch.failures)
    counts = [[each.entered, each.left, each.dropped, each.failed] for each in rules.counts.values()]
    return rows, failures, None if batch.halt is None else (batch.halt.offset, batch.halt.stage), counts


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
@example([Fated(("drop",), None), KEEP], [1, 2])
def test_columns_give_what_one_row_after_the_other_gives(plans: list[Fated], numbers: list[int]) -> None:
    rows, failures, halt, counts = worked(plans, numbers)
    wanted_rows, wanted_failures, wanted_halt, wanted_counts = by_rule(plans, numbers)
    assert (rows, halt) == (wanted_rows, wanted_halt)
    if halt is None:
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
    with pytest.raises(ValueError):  # noqa: PT011
        run_virtual(pipeline.to(sink).build().run)
    assert sink.records == [{"id": 0, "passed": 3}, {"id": 1, "passed": 3}]
