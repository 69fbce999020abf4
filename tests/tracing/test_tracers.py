"""Every tracer: spans nest by task, errors are recorded and go on."""

import subprocess
import sys

import pytest
import trio
import trio.testing
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from agora.tracing import InMemoryTracer, NoopTracer, OpenTelemetryTracer


def test_noop_is_disabled_and_gives_one_span_for_all():
    tracer = NoopTracer()
    assert tracer.enabled is False
    assert tracer.span("a", attributes={"n": 1}) is tracer.span("b")
    with tracer.span("a") as span:
        span.set("n", 1)
        span.record_error(ValueError("x"))


def test_noop_lets_errors_through():
    with pytest.raises(ValueError, match="boom"), NoopTracer().span("a"):
        raise ValueError("boom")


def test_memory_nests_spans_and_keeps_finished_ones_in_order_of_end():
    tracer = InMemoryTracer()
    assert tracer.enabled is True
    with tracer.span("outer", attributes={"n": 1}) as outer:
        with tracer.span("inner") as inner:
            inner.set("rows", 3)
        assert tracer.spans == [inner]
        assert outer.end is None
    with tracer.span("next"):
        pass
    assert [span.name for span in tracer.spans] == ["inner", "outer", "next"]
    assert inner.parent is outer
    assert outer.parent is None
    assert tracer.spans[2].parent is None
    assert inner.attributes == {"rows": 3}
    assert outer.attributes == {"n": 1}
    assert outer.start <= inner.start <= inner.end <= outer.end


def test_memory_keeps_the_error_that_left_the_block():
    tracer = InMemoryTracer()
    error = ValueError("boom")
    with pytest.raises(ValueError, match="boom"), tracer.span("a"):
        raise error
    with tracer.span("b") as span:
        span.record_error(error)
    with tracer.span("c"):
        pass
    assert [span.error for span in tracer.spans] == [error, error, None]


def test_memory_takes_the_parent_it_is_given():
    tracer = InMemoryTracer()
    with tracer.span("run") as run, tracer.span("other"), tracer.span("child", parent=run) as child:
        pass
    assert child.parent is run


async def test_memory_keeps_the_current_span_by_task():
    tracer = InMemoryTracer()
    both_open = trio.Event()

    async def first() -> None:
        with tracer.span("first"):
            await both_open.wait()
            with tracer.span("in first"):
                pass

    async def second() -> None:
        with tracer.span("second"):
            both_open.set()
            await trio.testing.wait_all_tasks_blocked()
            with tracer.span("in second"):
                pass

    with tracer.span("run"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            nursery.start_soon(second)
    parents = {span.name: span.parent and span.parent.name for span in tracer.spans}
    assert parents == {
        "run": None,
        "first": "run",
        "second": "run",
        "in first": "first",
        "in second": "second",
    }


async def test_memory_records_a_cancellation_and_lets_it_through():
    tracer = InMemoryTracer()
    with trio.CancelScope() as scope, tracer.span("a"):
        scope.cancel()
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert isinstance(tracer.spans[0].error, trio.Cancelled)


def test_two_memory_tracers_are_no_parents_of_each_other():
    one, two = InMemoryTracer(), InMemoryTracer()
    with one.span("one"), two.span("two") as inner:
        pass
    assert inner.parent is None


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def otel(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OpenTelemetryTracer(tracer_provider=provider)


def test_otel_exports_nested_spans_with_attributes(otel, exporter):
    with otel.span("run", attributes={"pipeline": "orders"}), otel.span("write") as write:
        write.set("rows", 3)
        write.set("names", ["a", "b"])
        write.set("mixed", ["a", 1, {"b": None}])
        write.set("nothing", None)
    inner, outer = exporter.get_finished_spans()
    assert (inner.name, outer.name) == ("write", "run")
    assert inner.parent.span_id == outer.context.span_id
    assert outer.parent is None
    assert dict(outer.attributes) == {"pipeline": "orders"}
    assert dict(inner.attributes) == {
        "rows": 3,
        "names": ("a", "b"),
        "mixed": '["a",1,{"b":null}]',
        "nothing": "null",
    }
    assert inner.instrumentation_scope.name == "agora"
    assert inner.status.status_code is StatusCode.UNSET


def test_otel_takes_the_parent_it_is_given(otel, exporter):
    with otel.span("run") as run, otel.span("other"), otel.span("child", parent=run):
        pass
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans["child"].parent.span_id == spans["run"].context.span_id


def test_otel_records_an_error_once_as_exception_and_status(otel, exporter):
    with pytest.raises(ValueError, match="boom"), otel.span("run"):
        raise ValueError("boom")
    (span,) = exporter.get_finished_spans()
    assert [event.name for event in span.events] == ["exception"]
    assert span.events[0].attributes["exception.message"] == "boom"
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError: boom"


def test_otel_records_an_error_that_stays_inside(otel, exporter):
    with otel.span("run") as run:
        run.record_error(OSError("disk"))
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.events[0].attributes["exception.type"] == "OSError"


def test_otel_without_any_provider_traces_nothing_and_works():
    with OpenTelemetryTracer().span("run") as span:
        span.set("n", 1)


@pytest.mark.parametrize(("name", "loads"), [("NoopTracer", False), ("OpenTelemetryTracer", True)])
def test_opentelemetry_is_imported_only_for_its_own_tracer(name, loads):
    code = f"import sys; from agora.tracing import {name}; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(loads)
