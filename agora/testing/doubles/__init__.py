"""Parts that fail or take their time by a plan, and otherwise keep the contract of the real part that they wrap.

A double has what its part has and nothing that it hasn't, so the engine treats it as the part: a `FlakySink` around a
transactional sink is transactional. With an empty plan it is the part.
"""

from typing import TYPE_CHECKING

from agora.lazily import lazily

if TYPE_CHECKING:
    from agora.testing.doubles.parts import FailingSource, FlakySink, SlowSink
    from agora.testing.doubles.statebackend import FaultyStateBackend
    from agora.testing.faults.calls import Failure, FailurePlan

__all__ = ["FailingSource", "Failure", "FailurePlan", "FaultyStateBackend", "FlakySink", "SlowSink"]

_MODULES = {
    "FailingSource": "agora.testing.doubles.parts",
    "Failure": "agora.testing.faults.calls",
    "FailurePlan": "agora.testing.faults.calls",
    "FaultyStateBackend": "agora.testing.doubles.statebackend",
    "FlakySink": "agora.testing.doubles.parts",
    "SlowSink": "agora.testing.doubles.parts",
}

__getattr__, __dir__ = lazily(__name__, _MODULES)
