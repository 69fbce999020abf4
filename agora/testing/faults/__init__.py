"""Faults at every operation that reaches the disk: failures, crashes, loss of power.

There is one mechanism: an observer sees each operation and decides whether, and how, it happens (`observing`).
`Failpoints` counts operations and fails the n-th; `DiskRecorder` logs them, and says what a disk would hold
after a loss of power.
"""

from typing import TYPE_CHECKING

from agora.lazily import lazily

if TYPE_CHECKING:
    from agora.testing.faults.disk import write_tree
    from agora.testing.faults.failpoints import Crash, Failpoints, Fault
    from agora.testing.faults.nodes import Loss, Tree
    from agora.testing.faults.observing import observing
    from agora.testing.faults.operations import Observer, Operation
    from agora.testing.faults.recorder import DiskRecorder

__all__ = [
    "Crash",
    "DiskRecorder",
    "Failpoints",
    "Fault",
    "Loss",
    "Observer",
    "Operation",
    "Tree",
    "observing",
    "write_tree",
]

_MODULES = {
    "Crash": ".failpoints",
    "DiskRecorder": ".recorder",
    "Failpoints": ".failpoints",
    "Fault": ".failpoints",
    "Loss": ".nodes",
    "Observer": ".operations",
    "Operation": ".operations",
    "Tree": ".nodes",
    "observing": ".observing",
    "write_tree": ".disk",
}

__getattr__, __dir__ = lazily(__name__, _MODULES)
