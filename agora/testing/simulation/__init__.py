"""Deterministic simulation: whole runs on a virtual clock, with seeded scheduling, in a world that is in memory.

`simulate(pipeline, seed=n)` runs a pipeline through crashes, losses of power, cancellations, failures of the disk and
of the state, and slow calls, again and again until it is completed, and checks what it promises. Equal seeds
give equal traces, event for event.
"""

from typing import TYPE_CHECKING

from agora.lazily import lazily

if TYPE_CHECKING:
    from agora.testing.simulation.invariants import INVARIANTS, Invariant, Observation
    from agora.testing.simulation.memoryfiles import MemoryFiles
    from agora.testing.simulation.plan import Ending, Hazards, LifePlan
    from agora.testing.simulation.scheduling import seeded_scheduling
    from agora.testing.simulation.simulating import (
        Life,
        Simulation,
        SimulationFailed,
        observe_calm,
        simulate,
    )
    from agora.testing.simulation.trace import Event, Trace
    from agora.testing.simulation.world import World

__all__ = [
    "INVARIANTS",
    "Ending",
    "Event",
    "Hazards",
    "Invariant",
    "Life",
    "LifePlan",
    "MemoryFiles",
    "Observation",
    "Simulation",
    "SimulationFailed",
    "Trace",
    "World",
    "observe_calm",
    "seeded_scheduling",
    "simulate",
]

_MODULES = {
    "INVARIANTS": ".invariants",
    "Ending": ".plan",
    "Event": ".trace",
    "Hazards": ".plan",
    "Invariant": ".invariants",
    "Life": ".simulating",
    "LifePlan": ".plan",
    "MemoryFiles": ".memoryfiles",
    "Observation": ".invariants",
    "Simulation": ".simulating",
    "SimulationFailed": ".simulating",
    "Trace": ".trace",
    "World": ".world",
    "observe_calm": ".simulating",
    "seeded_scheduling": ".scheduling",
    "simulate": ".simulating",
}

__getattr__, __dir__ = lazily(__name__, _MODULES)
