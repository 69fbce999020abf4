"""RecordBatches that fail as a whole, and answers that can't be matched with their rows."""

from collections.abc import AsyncIterator
from typing import Any

import attrs
import pyarrow as pa
import pytest
from process_columns import Refusing
from support import run_virtual

from agora import AgoraError, Pipeline
from agora.deadletter import Entry
from agora.middlewares.columnar import ColumnsResult
from agora.sinks import MemorySink


@attrs.frozen
class Chunks:
    """A source of RecordBatches of these sizes, their rows numbered."""

    sizes: list[int]

    async def batches(self) -> AsyncIterator[pa.RecordBatch]:
        start = 0
        for size in self.sizes:
            yield pa.RecordBatch.from_pydict({"n": list(range(start, start + size))})
            start += size


@attrs.define
class ByTable:
    """What it does to a RecordBatch is a function's; which ones it saw."""

    what: Any
    seen: list[list[int]] = attrs.field(factory=list)

    def process_columns(self, batch: pa.RecordBatch) -> Any:
        self.seen.append(batch.column(0).to_pylist())
        return self.what(batch)


def in_columns(what: Any, **options: Any) -> tuple[Any, ByTable, MemorySink]:
    step, sink = ByTable(what), MemorySink()
    return Pipeline(Chunks([8]), name="p").pipe(step, name="s", **options).to(sink), step, sink


def refusing(*bad: int) -> Any:
    def what(batch: pa.RecordBatch) -> pa.RecordBatch:
        if found := {*bad}.intersection(batch.column(0).to_pylist()):
            raise ValueError(f"has {sorted(found)}")
        return batch

    return what


def test_a_culprit_in_a_record_batch_is_found_alone_and_the_others_stay_in_order() -> None:
    pipeline, _, sink = in_columns(refusing(2, 5))
    letters = MemorySink()
    summary = run_virtual(pipeline.build(dlq=letters).run)
    assert [record["n"] for record in sink.records] == [0, 1, 3, 4, 6, 7]
    assert [letter.original for letter in letters.records] == [{"n": 2}, {"n": 5}]
    assert (summary.written, summary.dropped, summary.dead_lettered) == (6, 0, 2)


def test_under_stop_no_part_behind_the_culprit_is_run() -> None:
    pipeline, step, sink = in_columns(refusing(2, 5), on_error="stop")
    with pytest.raises(ValueError, match=r"has \[2\]"):
        run_virtual(pipeline.build().run)
    assert [record["n"] for record in sink.records] == [0, 1]
    assert not any(seen[0] > 2 for seen in step.seen)


@pytest.mark.parametrize("policy", ["skip", "pass", "stop"])
def test_columns_that_do_not_match_end_the_run_also_where_only_a_part_has_them(policy: Any) -> None:
    def what(batch: pa.RecordBatch) -> pa.RecordBatch:
        if batch.num_rows == 8:
            raise ValueError("the whole")
        return batch.slice(1)

    for wrong in (lambda batch: batch.slice(1), what):
        pipeline, _, sink = in_columns(wrong, on_error=policy)
        with pytest.raises(AgoraError, match=r"rows for \d records"):
            run_virtual(pipeline.build().run)
        assert sink.records == []


def test_parts_of_a_batch_with_different_types_end_the_run_and_are_named() -> None:
    def what(batch: pa.RecordBatch) -> pa.RecordBatch:
        if batch.num_rows == 8:
            raise ValueError("the whole")
        first = batch.column(0)[0].as_py() == 0
        return batch if first else batch.set_column(0, "n", batch.column(0).cast(pa.string()))

    pipeline, _, sink = in_columns(what, on_error="skip")
    with pytest.raises(AgoraError, match=r"\(n: int64\) and \(n: string\)"):
        run_virtual(pipeline.build().run)
    assert sink.records == []


def test_a_part_that_keeps_nothing_has_no_type_to_differ() -> None:
    def what(batch: pa.RecordBatch) -> Any:
        if batch.num_rows == 8:
            raise ValueError("the whole")
        return ColumnsResult(batch.slice(0, 0), pa.array([False] * batch.num_rows), {})

    pipeline, _, sink = in_columns(what)
    summary = run_virtual(pipeline.build().run)
    assert (sink.records, summary.dropped) == ([], 8)


@pytest.mark.parametrize("policy", ["dead_letter", "pass", "stop"])
def test_a_batch_in_pieces_of_processes_gives_what_a_whole_one_gives(policy: Any) -> None:
    found = []
    for options in ({}, {"processes": 4}):
        sink, letters = MemorySink(), MemorySink()
        step = Refusing(5)
        pipeline = Pipeline(Chunks([8, 3]), name="p").pipe(step, name="s", on_error=policy, **options)
        try:
            run_virtual(pipeline.to(sink).build(dlq=letters).run)
        except ValueError as error:
            letters.records.append(str(error))
        found.append((sink.records, [getattr(each, "original", each) for each in letters.records]))
    assert found[0] == found[1]


def test_columns_that_do_not_match_in_one_piece_of_processes_end_the_run() -> None:
    sink = MemorySink()
    pipeline = Pipeline(Chunks([8]), name="p").pipe(Refusing(5, wrong=True), processes=4, on_error="skip")
    with pytest.raises(AgoraError, match="rows for 4 records"):
        run_virtual(pipeline.to(sink).build().run)
    assert sink.records == []


@attrs.define(eq=False)
class Seen:
    """Keeps state, so that a letter from behind it enters there."""

    rows: int = 0

    def snapshot(self) -> int:
        return self.rows

    def restore(self, state: int) -> None:
        self.rows = state

    def process_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.rows += batch.num_rows
        return batch


@pytest.mark.parametrize("in_rows", [False, True])
def test_a_letter_from_behind_a_stateful_step_of_columns_enters_there_whatever_was_dropped(
    in_rows: bool,
) -> None:
    def fails(record: Any) -> Any:
        if record["n"] in {3, 5}:
            raise ValueError(record["n"])
        return record

    sink, letters = MemorySink(), MemorySink()
    pipeline = Pipeline(Chunks([8]), name="p")
    if in_rows:
        pipeline = pipeline.map(dict.copy, name="rows")
    pipeline = pipeline.pipe(Seen(), name="seen").where("n % 2 = 1", name="odd").map(fails)
    run_virtual(pipeline.to(sink).build(dlq=letters).run)
    assert [record["n"] for record in sink.records] == [1, 7]
    assert [letter.entry for letter in letters.records] == [
        Entry(step="odd", record={"n": n}) for n in (3, 5)
    ]
    assert [letter.original for letter in letters.records] == [{"n": 3}, {"n": 5}]
