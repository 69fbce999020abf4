"""What people who write parts of their own test them with.

`check_middleware`, `check_source`, `check_sink`, `check_state_backend`, `check_pipeline` hold a part to the laws of its
kind; `simulate` runs a whole pipeline through crashes in a world that is in memory; `strategies`, `faults` and the
doubles are what these are built of. Nothing here is imported before it is asked for; the checks and the strategies
need Hypothesis (`pip install 'agora-trio[testing]'`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

from agora.lazily import lazily

if TYPE_CHECKING:
    from agora.testing import faults, strategies
    from agora.testing.doubles import FailingSource, FaultyStateBackend, FlakySink, SlowSink
    from agora.testing.laws.base import Law, LawBroken
    from agora.testing.laws.middleware import check_middleware
    from agora.testing.laws.pipeline import check_pipeline
    from agora.testing.laws.sink import check_sink
    from agora.testing.laws.source import check_source
    from agora.testing.laws.statebackend import check_state_backend
    from agora.testing.simulation import Simulation, SimulationFailed, simulate

__all__ = [
    "FailingSource",
    "FaultyStateBackend",
    "FlakySink",
    "Law",
    "LawBroken",
    "Simulation",
    "SimulationFailed",
    "SlowSink",
    "check_middleware",
    "check_pipeline",
    "check_sink",
    "check_source",
    "check_state_backend",
    "faults",
    "simulate",
    "strategies",
]

_HOMES = {
    "FailingSource": ".doubles",
    "FaultyStateBackend": ".doubles",
    "FlakySink": ".doubles",
    "Law": ".laws.base",
    "LawBroken": ".laws.base",
    "Simulation": ".simulation",
    "SimulationFailed": ".simulation",
    "SlowSink": ".doubles",
    "check_middleware": ".laws.middleware",
    "check_pipeline": ".laws.pipeline",
    "check_sink": ".laws.sink",
    "check_source": ".laws.source",
    "check_state_backend": ".laws.statebackend",
    "simulate": ".simulation",
}

_name, __dir__ = lazily(__name__, _HOMES)


def __getattr__(name: str) -> object:
    if name in {"faults", "strategies"}:
        return import_module(f".{name}", __name__)
    return _name(name)
