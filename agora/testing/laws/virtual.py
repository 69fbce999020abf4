"""A trio run for one case: nothing real passes in it, and it goes the same way each time."""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import trio
from trio.testing import MockClock

from agora.testing.simulation.scheduling import seeded_scheduling

__all__ = ["run_virtual"]

P = ParamSpec("P")
T = TypeVar("T")

_LONG = 1e6


def run_virtual(main: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """`main(*args)` in a loop of its own, on a clock that jumps whenever nothing can go on, with trio's shuffling made
    repeatable. Raises `trio.TooSlowError` where it waits for what never comes (a million virtual seconds)."""

    async def limited() -> T:
        with trio.fail_after(_LONG):
            return await main(*args, **kwargs)
        raise AssertionError("unreachable")

    with seeded_scheduling(0):
        return trio.run(limited, clock=MockClock(autojump_threshold=0))
