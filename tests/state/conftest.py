"""Backends and clocks for the tests of state."""

from datetime import UTC, datetime, timedelta

import pytest

import agora.seam
from agora.state import MemoryBackend, SQLiteBackend
from agora.testing.simulation import LifePlan, MemoryFiles, Trace
from agora.testing.simulation.machine import Machine
from agora.testing.simulation.state import SimulatedState


class WallClock(agora.seam.Seam):
    """A wall clock that stands still until it is moved; the rest is the real machine."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def pass_(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture(params=["memory", "sqlite", "simulated"])
def backend(request, tmp_path):
    """A closed backend of each kind."""
    if request.param == "simulated":
        machine = Machine(LifePlan(seed=1), MemoryFiles(), Trace(1), 0.0, lambda: None)
        return SimulatedState(machine, MemoryBackend())
    return MemoryBackend() if request.param == "memory" else SQLiteBackend(tmp_path / "state.db")
