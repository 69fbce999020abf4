"""Sinks and sources that fail, or take their time."""

from collections.abc import Mapping

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
        super().__init__(sink, plan or FailurePlan(), "sink", SINK_CALLS)


class SlowSink(ObservedPart):
    """The sink, whose calls take `seconds` of trio's clock longer: all writes, or by method.

    What is waited is a trio checkpoint; cancelled while it waits, the call isn't made.
    """

    __slots__ = ()

    def __init__(self, sink: object, seconds: float | Mapping[str, float] = 1.0) -> None:
        if not isinstance(seconds, Mapping):
            seconds = dict.fromkeys(("write", "write_columns", "write_record"), seconds)
        super().__init__(sink, Delays(dict(seconds)), "sink", SINK_CALLS)


class FailingSource(ObservedPart):
    """The source, some of whose calls or steps fail: `Failure("stream", 3)` in place of the third record.

    A step that fails ends the stream, as it does in any generator. `blocks` and `batches` are steps, too; a source that
    has them is read by these where the engine wants them.
    """

    __slots__ = ()

    def __init__(self, source: object, plan: CallObserver | None = None) -> None:
        super().__init__(source, plan or FailurePlan(), "source", SOURCE_CALLS, SOURCE_STREAMS)
