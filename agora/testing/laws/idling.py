"""Whether code waited, in real time, for something other than the processor.

Time alone doesn't tell: on a busy machine a thread loses the processor for longer than a lookup takes. The operating
system counts both apart: what a thread gave away itself, and what was taken from it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import attrs

resource: Any
try:
    resource = import_module("resource")
except ImportError:  # Windows: time has to do
    resource = None

__all__ = ["Idling", "elsewhere"]

_elsewhere = [0.0]
"""Seconds that were waited for in calls that belong into a thread."""


@contextmanager
def elsewhere() -> Iterator[None]:
    """Around what runs here, but stands for a thread: what it waits for holds nothing up."""
    began = Idling()
    try:
        yield
    finally:
        _elsewhere[0] += began.seconds()


def _given_away() -> int | None:
    """How often this thread has given the processor away; `None` where nobody counts that."""
    if resource is None:
        return None
    who = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
    return int(resource.getrusage(who).ru_nvcsw)


@attrs.frozen
class Idling:
    """A moment to measure from."""

    real: float = attrs.field(factory=time.perf_counter)
    computing: float = attrs.field(factory=time.thread_time)
    given_away: int | None = attrs.field(factory=_given_away)
    elsewhere: float = attrs.field(factory=lambda: _elsewhere[0])

    def seconds(self) -> float:
        """For how long this thread has waited since then."""
        if self.given_away is not None and _given_away() == self.given_away:
            return 0.0
        now = Idling()
        idle = (now.real - self.real) - (now.computing - self.computing)
        return max(0.0, idle - (now.elsewhere - self.elsewhere))
