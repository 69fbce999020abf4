"""Sinks and sources that fail, or take their time."""

from collections.abc import Mapping
from typing import Any

from agora.testing.faults.calls import (
    SINK_CALLS,
    SOURCE_CALLS,
    SOURCE_STREAMS,
    CallObserver,
    Delays,
    FailurePlan,
    ObservedPart,
)

__all__ = ["FailingSource", "FlakySink", "SlowSink"]


class FlakySink(ObservedPart):
    """The sink, some of whose calls fail.

    A planned failure raises in place of the call, so that nothing was accepted, or behind it (`after=True`). In place
    of a plan, any observer of calls: `Failpoints` counts them together with the operations on the disk.
    """

    __slots__ = ()

    def __init__(self, sink: object, plan: CallObserver | None = None) -> None:
        plan = plan or FailurePlan()
        if isinstance(plan, FailurePlan):
            plan.require(sink, SINK_CALLS)
        super().__init__(sink, plan, "sink", SINK_CALLS)


class SlowSink(ObservedPart):
    """The sink, whose calls take `seconds` of trio's clock longer: all writes, or by method.

    What is waited is a trio checkpoint; cancelled while it waits, the call isn't made.
    """

    __slots__ = ()

    def __init__(self, sink: object, seconds: float | Mapping[str, float] = 1.0) -> None:
        if not isinstance(seconds, Mapping):
            seconds = dict.fromkeys(("write", "write_columns", "write_record"), seconds)
        if not seconds.keys() <= SINK_CALLS:
            raise ValueError(
                f"seconds={dict(seconds)}: the calls of a sink are {', '.join(sorted(SINK_CALLS))}"
            )
        super().__init__(sink, Delays(dict(seconds)), "sink", SINK_CALLS)


class FailingSource(ObservedPart):
    """The source, some of whose calls or steps fail: `Failure("stream", 3)` in place of the third record.

    A step that fails ends the stream, as it does in any generator. `blocks` and `batches` are steps, too: where a plan
    names one of the three ways to read, the source is without those that the engine would rather take.
    """

    __slots__ = ("_hidden",)

    def __init__(self, source: object, plan: CallObserver | None = None) -> None:
        plan, hidden = plan or FailurePlan(), frozenset[str]()
        if isinstance(plan, FailurePlan):
            plan.require(source, SOURCE_CALLS | SOURCE_STREAMS)
            named = SOURCE_STREAMS & {failure.method for failure in plan.failures}
            hidden = SOURCE_STREAMS - named - {"stream"} if named else hidden
        object.__setattr__(self, "_hidden", hidden)
        super().__init__(source, plan, "source", SOURCE_CALLS, SOURCE_STREAMS)

    def __getattr__(self, name: str) -> Any:
        if name in self._hidden:
            raise AttributeError(name)
        return super().__getattr__(name)
