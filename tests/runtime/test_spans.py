"""The spans of a run: one for the run, under it one for each stage's work on a batch, with what it says."""

from typing import Any

import trio
from support import ListSink, Records, run_virtual

from agora import Pipeline
from agora.records import Malformed
from agora.state import CheckpointStore, MemoryBackend
from agora.testing.spans import AssertingTracer
from agora.tracing import InMemoryTracer


def refuse(record: Any) -> Any:
    if record["id"] % 4 == 1:
        raise ValueError(record)
    return record


def odd(record: Any) -> bool:
    return record["id"] % 2 == 1


def traced(pipeline: Any, **options: Any) -> AssertingTracer:
    tracer = AssertingTracer()
    bound = pipeline.build(batch_size=4, tracer=tracer, **options)

    async def main() -> None:
        await trio.sleep(5)
        await bound.run()

    try:
        run_virtual(main)
    except ValueError:
        assert tracer.spans
    return tracer


def test_each_batch_has_a_span_a_stage_under_the_runs_own() -> None:
    pipeline = Pipeline(Records(8, block=4), name="p").filter(odd, name="odd").map(refuse, name="refuse")
    sink = ListSink(bad=lambda record: record["id"] == 7)
    store = CheckpointStore(MemoryBackend())
    tracer = traced(pipeline.to(sink, name="s"), dlq=ListSink(), checkpoint_store=store, checkpoint_every=4)
    run = tracer.assert_span("agora.run", attributes={"pipeline": "p"}, count=1)
    assert run.attributes["run_id"]
    assert run.error is None
    assert {span.parent for span in tracer.spans if span is not run} == {run}
    for first in (0, 4):
        tracer.assert_span("agora.source", attributes={"ordinal": first, "records": 4, "failed": 0}, count=1)
        tracer.assert_span(
            "agora.middleware.odd",
            attributes={"ordinal": first, "records": 4, "left": 1, "failed": 0},
            count=1,
        )
        tracer.assert_span(
            "agora.middleware.refuse", error=ValueError, attributes={"ordinal": first, "failed": 1}, count=1
        )
        tracer.assert_span(
            "agora.checkpoint", attributes={"ordinal": first + 4}, count=1 if first == 0 else 2
        )
    tracer.assert_span("agora.sink.s", attributes={"ordinal": 0, "records": 1, "rejected": 0}, count=1)
    tracer.assert_span(
        "agora.sink.s", error=ValueError, attributes={"ordinal": 4, "records": 1, "rejected": 1}, count=1
    )
    tracer.assert_span("agora.dlq", attributes={"letters": 1}, count=1)
    tracer.assert_span("agora.dlq", attributes={"letters": 2}, count=1)


def test_a_span_of_the_source_tells_how_long_it_was_read_and_what_could_not_be() -> None:
    def make(number: int) -> Any:
        return Malformed("x", OSError("unreadable")) if number == 1 else {"id": number}

    tracer = traced(
        Pipeline(Records(4, make, delay=lambda number: 2.0), name="p").to(ListSink()),
        dlq=ListSink(),
        linger=100.0,
    )
    (span,) = (span for span in tracer.spans if span.name == "agora.source")
    assert span.attributes == {"ordinal": 0, "records": 4, "failed": 1}
    assert isinstance(span.error, OSError)
    assert span.end is not None
    assert round(span.end - span.start) == 8


def test_what_ends_the_run_is_told_where_it_happened() -> None:
    tracer = traced(
        Pipeline(Records(4, block=4), name="p").map(refuse, name="refuse").to(ListSink(), name="s")
    )
    tracer.assert_span(
        "agora.middleware.refuse", error=ValueError, attributes={"left": 1, "failed": 1}, count=1
    )
    tracer.assert_span("agora.run", error=ValueError)


def test_a_batch_that_goes_through_no_task_of_its_own_has_spans_too() -> None:
    async def slow(record: Any) -> Any:
        await trio.sleep(record["id"])
        return refuse(record)

    tracer = traced(
        Pipeline(Records(4, block=4), name="p").map(slow, name="slow", concurrency=2).to(ListSink()),
        dlq=ListSink(),
    )
    tracer.assert_span(
        "agora.middleware.slow", error=ValueError, attributes={"records": 4, "left": 3, "failed": 1}, count=1
    )


def test_where_nobody_looks_no_span_is_opened() -> None:
    tracer = InMemoryTracer()
    object.__setattr__(tracer, "enabled", False)
    run_virtual(Pipeline(Records(4), name="p").filter(odd).to(ListSink()).build(tracer=tracer).run)
    assert tracer.spans == []
