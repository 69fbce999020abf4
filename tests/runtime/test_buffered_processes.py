"""A buffered stage whose step runs in worker processes: what they are asked for. On a virtual clock, where the same
code runs in place."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import attrs
import pyarrow as pa
import pytest
from support import Records, run_virtual

from agora import Pipeline
from agora.sinks import MemorySink

_SEEN: list[int] = []
"""By the functions below, of which a process has copies."""


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    _SEEN.clear()


def fails_at_three(record: Any) -> Any:
    _SEEN.append(record["id"])
    if record["id"] == 3:
        raise ValueError(3)
    return record


def two_children(record: Any) -> Any:
    yield {**record, "child": 0}
    yield {**record, "child": 1}
    raise ValueError(record["id"])


@attrs.frozen
class InBatches:
    def process_batch(self, records: Sequence[Any]) -> Any:
        _SEEN.extend(record["id"] for record in records)
        return list(records)


@attrs.frozen
class InColumns:
    def process_columns(self, data: pa.RecordBatch) -> pa.RecordBatch:
        _SEEN.append(data.num_rows)
        return data


class Batches:
    async def batches(self) -> AsyncGenerator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pydict({"id": list(range(10))})


@pytest.mark.parametrize(("policy", "letters"), [("stop", MemorySink()), (None, None), ("stop", None)])
def test_behind_a_failure_that_ends_the_run_nothing_of_a_chunk_is_run(policy: Any, letters: Any) -> None:
    sink = MemorySink()
    pipeline = Pipeline(Records(10), name="p").map(fails_at_three, processes=1, on_error=policy).to(sink)
    with pytest.raises(ValueError, match="3"):
        run_virtual(pipeline.build(dlq=letters).run)
    assert _SEEN == [0, 1, 2, 3]  # chunks of one, two and four
    assert sink.records == [{"id": 0}, {"id": 1}, {"id": 2}]


def test_children_before_a_failure_that_ends_the_run_are_sent_on() -> None:
    sink = MemorySink()
    pipeline = Pipeline(Records(3), name="p").flat_map(two_children, processes=1, on_error="stop").to(sink)
    with pytest.raises(ValueError, match="0"):
        run_virtual(pipeline.build().run)
    assert sink.records == [{"id": 0, "child": 0}, {"id": 0, "child": 1}]


@pytest.mark.parametrize(("policy", "letters"), [("skip", None), (None, MemorySink())])
def test_behind_any_other_the_rest_of_the_chunk_is_run_at_once(policy: Any, letters: Any) -> None:
    sink = MemorySink()
    pipeline = Pipeline(Records(10), name="p").map(fails_at_three, processes=1, on_error=policy).to(sink)
    run_virtual(pipeline.build(dlq=letters).run)
    assert list(range(10)) == _SEEN
    assert [record["id"] for record in sink.records] == [0, 1, 2, *range(4, 10)]


def test_a_step_of_batches_is_given_the_records_of_columns() -> None:
    sink = MemorySink()
    run_virtual(Pipeline(Batches(), name="p").pipe(InBatches(), processes=2).to(sink).build().run)
    assert sink.records == [{"id": number} for number in range(10)]
    assert list(range(10)) == _SEEN


@pytest.mark.parametrize(("where", "calls"), [("id >= 0", [10]), ("id > 100", [])])
def test_columns_without_rows_are_no_call(where: str, calls: list[int]) -> None:
    sink = MemorySink()
    pipeline = Pipeline(Batches(), name="p").where(where).pipe(InColumns(), processes=1).to(sink)
    run_virtual(pipeline.build().run)
    assert sum(calls) == sum(_SEEN)
    assert len(sink.records) == sum(calls)
    assert bool(calls) == bool(_SEEN)
