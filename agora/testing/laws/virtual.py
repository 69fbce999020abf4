"""A trio run for one case: nothing real passes in it, and it goes the same way each time."""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import trio
from trio.testing import MockClock

from agora import seam
from agora.testing.simulation.scheduling import seeded_scheduling

__all__ = ["run_virtual"]

P = ParamSpec("P")
T = TypeVar("T")

_LONG = 10_000.0


class _Timeless(seam.Seam):
    """The real machine, but for time: deadlines are kept by the virtual clock, without a thread that watches the real
    one (a tenth of a run's time)."""

    simulated = True


def run_virtual(main: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """`main(*args)` in a loop of its own, on a clock that jumps whenever nothing can go on, with trio's shuffling made
    repeatable. Raises `trio.TooSlowError` where it waits for what never comes (10,000 virtual seconds)."""

    async def limited() -> T:
        with trio.fail_after(_LONG):
            return await main(*args, **kwargs)
        raise AssertionError("unreachable")

    with seam.use(_Timeless()), seeded_scheduling(0):
        return trio.run(limited, clock=MockClock(autojump_threshold=0))
