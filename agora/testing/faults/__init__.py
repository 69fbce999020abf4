"""Faults at every operation that reaches the disk, and at every call of a part: failures, crashes, loss of power.

There is one mechanism: an observer sees each operation and decides whether, and how, it happens (`observing`; for
the calls of a part `ObservedPart`). `Failpoints` counts operations and fails the n-th; `FailurePlan` fails the
calls that it names; `DiskRecorder` logs operations on the disk, and says what it would hold after a loss of power.
"""

from typing import TYPE_CHECKING

from agora.lazily import lazily

if TYPE_CHECKING:
    from agora.testing.faults.calls import Call, CallObserver, Delays, Failure, FailurePlan, ObservedPart
    from agora.testing.faults.disk import write_tree
    from agora.testing.faults.failpoints import Crash, Failpoints, Fault
    from agora.testing.faults.nodes import Loss, Tree
    from agora.testing.faults.operations import Observer, Operation
    from agora.testing.faults.recorder import DiskRecorder
    from agora.testing.faults.watched import observing

__all__ = [
    "Call",
    "CallObserver",
    "Crash",
    "Delays",
    "DiskRecorder",
    "Failpoints",
    "Failure",
    "FailurePlan",
    "Fault",
    "Loss",
    "ObservedPart",
    "Observer",
    "Operation",
    "Tree",
    "observing",
    "write_tree",
]

_MODULES = {
    "Call": ".calls",
    "CallObserver": ".calls",
    "Delays": ".calls",
    "Failure": ".calls",
    "FailurePlan": ".calls",
    "ObservedPart": ".calls",
    "Crash": ".failpoints",
    "DiskRecorder": ".recorder",
    "Failpoints": ".failpoints",
    "Fault": ".failpoints",
    "Loss": ".nodes",
    "Observer": ".operations",
    "Operation": ".operations",
    "Tree": ".nodes",
    "observing": ".watched",
    "write_tree": ".disk",
}

__getattr__, __dir__ = lazily(__name__, _MODULES)
