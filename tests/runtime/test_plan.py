"""What `explain()` says is what a run would do: stages, guarantees with their reasons, limits, checkpoints, letters."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import attrs
import pyarrow as pa
import pytest
from process_columns import InColumns
from process_steps import double
from support import CountingStore, ListSink, Records

from agora import Backpressure, Pipeline
from agora.runtime.plan import Plan
from agora.sinks import CsvSink, JsonLinesSink, MemorySink
from agora.state import StateDLQSink


class Summing:
    def process_batch(self, records: Any) -> Any:
        return records


class Counting:
    def snapshot(self) -> Any:
        return None

    def restore(self, state: Any) -> None: ...

    def process(self, record: Any) -> Any:
        return record


class Transactional(ListSink):
    """One of a user's, that explains nothing."""

    async def prepare(self) -> Any:
        return None

    async def commit(self, token: Any) -> None: ...

    async def recover(self, token: Any) -> None: ...


class Stream:
    """A source that only streams."""

    async def stream(self) -> AsyncGenerator[Any]:
        return
        yield


@attrs.define(eq=False)
class Telling(Records):
    def explain(self) -> str:
        return "from memory"


def start(**options: Any) -> Any:
    return Pipeline(Telling(0, **options), name="p")


def plan_of(pipeline: Any, **options: Any) -> Plan:
    found = pipeline.build(**options).explain()
    assert isinstance(found, Plan)
    return found


async def fetched(record: Any) -> Any:
    return record


def test_each_stage_says_how_it_runs() -> None:
    pipeline = (
        start()
        .map(abs, name="plain")
        .pipe(Counting(), name="state", on_error="skip")
        .where("id > 1", name="columns")
        .pipe(Summing(), name="batch")
        .map(fetched, name="buffered", concurrency=3)
        .map(double, name="remote", processes=1)
        .map(double, name="timed", processes=2, timeout=1.5)
        .to(ListSink(), name="some", where="id > 2")
        .to(ListSink(), name="rest", otherwise=True)
    )
    plan = plan_of(pipeline, dlq=MemorySink(), batch_size=7)
    assert plan.mode == "buffered"
    assert [(stage.name, stage.mode, stage.detail, stage.on_error) for stage in plan.stages] == [
        ("source", "reads", "Telling, resumes; from memory", "dead_letter"),
        ("middleware:plain", "rows", "map, one record at a time, segment 1", "dead_letter"),
        ("middleware:state", "rows", "map, one record at a time, with state, segment 1", "skip"),
        ("middleware:columns", "columns", "whole RecordBatches, or rows where rows come, segment 2", "dead_letter"),
        ("middleware:batch", "batch", "batches of up to 7, segment 3", "dead_letter"),
        ("middleware:buffered", "buffered", "async map, 3 at once, in source order, segment 4", "dead_letter"),
        ("middleware:remote", "buffered", "map, in 1 process, in source order, segment 5", "dead_letter"),
        (
            "middleware:timed", "buffered",
            "map, in 2 processes, at most 1.5 s a call, in source order, segment 6", "dead_letter",
        ),
        ("sink:some", "writes", "ListSink, where its condition holds", "dead_letter"),
        ("sink:rest", "writes", "ListSink, what nothing before took", "dead_letter"),
    ]  # fmt: skip


class Columns:
    """A function of columns, and nothing else."""

    def process_columns(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch


class Started(Columns):
    def on_start(self, context: Any) -> None: ...


class Ended(Columns):
    def on_end(self) -> None: ...


class Finishing(Columns):
    def finish(self) -> None: ...


class Stateful(Columns):
    def snapshot(self) -> Any:
        return None

    def restore(self, state: Any) -> None: ...


@pytest.mark.parametrize(
    ("step", "segments"),
    [(Columns(), [1, 1, 1]), *((kind(), [1, 2, 3]) for kind in (Started, Ended, Finishing, Stateful))],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
def test_neighbouring_functions_of_columns_share_a_segment(step: Any, segments: list[int]) -> None:
    plan = plan_of(start().where("id > 1").pipe(step).where("id > 2").to(ListSink()), dlq=None)
    steps = plan.stages[1:-1]
    assert [stage.mode for stage in steps] == ["columns"] * 3
    assert [int(stage.detail.rpartition(" ")[2]) for stage in steps] == segments


def test_columns_in_processes_are_said_to_be_such() -> None:
    plan = plan_of(start().pipe(InColumns(), processes=2).to(ListSink()))
    assert plan.stages[1].detail == "columns, in 2 processes, in source order, segment 1"


def test_a_guarantee_is_as_weak_as_its_weakest_sink_and_says_which() -> None:
    pipeline = start().to(Transactional(), name="strong").to(ListSink(), name="weak")
    plan = plan_of(pipeline, checkpoint_store=CountingStore(), dlq=None)
    assert [stage.guarantee for stage in plan.stages] == [None, "exactly once", "at least once"]
    assert plan.guarantee == "at least once"
    assert plan.stages[1].reason == "it has prepare, commit and recover"
    [reason] = plan.reasons
    assert reason.startswith("sink 'weak' has no prepare")


def test_with_transactional_parts_only_it_is_exactly_once(tmp_path: Any) -> None:
    store = CountingStore()
    plan = plan_of(
        start().to(JsonLinesSink(tmp_path / "out")), checkpoint_store=store, dlq=StateDLQSink(store.state)
    )
    assert (plan.guarantee, plan.reasons) == ("exactly once", [])
    assert plan.dead_letters == "StateDLQSink, saved with the checkpoint"
    assert plan.mode == "linear"


def test_what_keeps_a_run_from_being_exactly_once_is_said_once() -> None:
    sink = start(supports_checkpoint=False).to(Transactional())
    [unsupported] = plan_of(sink, checkpoint_store=CountingStore()).reasons
    assert unsupported == "the source (Telling) doesn't support checkpoints"
    [storeless] = plan_of(start().to(ListSink())).reasons
    assert storeless.startswith("there is no checkpoint store")
    plan = plan_of(start().to(Transactional()), checkpoint_store=CountingStore(), dlq=Transactional())
    assert plan.reasons == []  # letters are committed with the checkpoint
    [apart] = plan_of(start().to(Transactional()), checkpoint_store=CountingStore(), dlq=ListSink()).reasons
    assert apart.startswith("dead letters are kept apart")


def test_the_source_says_whether_it_resumes() -> None:
    def said(source: Any) -> str:
        return plan_of(Pipeline(source, name="p").to(ListSink())).stages[0].detail

    assert said(Records(0)) == "Records, resumes"
    assert said(Records(0, supports_checkpoint=False)) == "Records, does not resume"
    assert said(Stream()) == "Stream, does not resume"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"checkpoint_every": 5_000}, "every 5,000 records, and at the end"),
        ({"checkpoint_interval": 2.5}, "every 2.5 s, and at the end"),
        ({"checkpoint_every": 9, "checkpoint_interval": 1}, "every 9 records or every 1 s, and at the end"),
    ],
)
def test_checkpoints_come_when_the_plan_says(options: dict[str, Any], says: str) -> None:
    assert plan_of(start().to(ListSink()), checkpoint_store=CountingStore(), **options).checkpoints == says


def test_without_checkpoints_the_plan_says_why() -> None:
    sink = start(supports_checkpoint=False).to(ListSink())
    assert plan_of(start().to(ListSink())).checkpoints == "none"
    assert "the store is not touched" in plan_of(sink, checkpoint_store=CountingStore()).checkpoints


def test_in_flight_says_its_bounds() -> None:
    sink = start().to(ListSink())
    assert plan_of(sink, backpressure=Backpressure.fixed(3_000)).in_flight == "at most 3,000 records"
    adaptive = plan_of(sink, backpressure=Backpressure.adaptive(10, 4_000, 0.25))
    assert adaptive.in_flight == "10 to 4,000 records, for 250 ms a write"


def test_dead_letters_say_when_they_are_safe(tmp_path: Any) -> None:
    sink, store = start().to(ListSink()), CountingStore()
    assert plan_of(sink, dlq=None).dead_letters == "no queue: a failure stops the run"
    assert plan_of(sink, dlq=MemorySink()).dead_letters == "MemorySink, written as they come"
    file = plan_of(sink, dlq=JsonLinesSink(tmp_path / "letters"), checkpoint_store=store)
    assert file.dead_letters == "JsonLinesSink, committed with the checkpoint, like any sink"


def test_a_plan_is_text_json_and_a_diagram(tmp_path: Any) -> None:
    pipeline = start().map(abs, name='say "x"').to(CsvSink(tmp_path / "a"), name="a").to(ListSink(), name="b")
    plan = plan_of(pipeline, checkpoint_store=CountingStore(), dlq=MemorySink())
    text = str(plan)
    assert text.startswith("pipeline p (linear)\n  source")
    for part in (plan.in_flight, plan.checkpoints, plan.dead_letters, plan.guarantee, *plan.reasons):
        assert part in text
    data = json.loads(json.dumps(plan.to_json()))
    assert [stage["name"] for stage in data["stages"]] == [stage.name for stage in plan.stages]
    assert data["reasons"] == list(plan.reasons)
    diagram = plan.to_mermaid().splitlines()
    assert diagram[0] == "flowchart LR"
    assert "&quot;x&quot;" in diagram[2]
    assert [line.strip() for line in diagram[-3:]] == ["s0 --> s1", "s1 --> s2", "s1 --> s3"]
