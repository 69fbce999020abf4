"""A trio run for one case: nothing real passes in it, and it goes the same way each time."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import trio
from trio.testing import MockClock

from agora import seam
from agora.testing.laws.idling import elsewhere
from agora.testing.simulation.scheduling import seeded_scheduling

__all__ = ["run_virtual"]

P = ParamSpec("P")
T = TypeVar("T")

_LONG = 10_000.0


class _Timeless(seam.Seam):
    """The real machine, but for time: deadlines are kept by the virtual clock, without a thread that watches the real
    one (a tenth of a run's time)."""

    simulated = True

    async def in_thread(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await _in_place(fn, *args, **kwargs)


async def _in_place(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    await trio.lowlevel.checkpoint()
    with elsewhere():
        return fn(*args, **kwargs)


@contextmanager
def _no_threads() -> Iterator[None]:
    """`trio.to_thread.run_sync` runs what it is given in place: a virtual clock would run away meanwhile, and a thread
    ends when it likes."""

    async def run_sync(
        sync_fn: Callable[..., T],
        *args: object,
        thread_name: str | None = None,
        abandon_on_cancel: bool = False,
        limiter: trio.CapacityLimiter | None = None,
    ) -> T:
        return await _in_place(sync_fn, *args)

    before = trio.to_thread.run_sync
    trio.to_thread.run_sync = run_sync
    try:
        yield
    finally:
        trio.to_thread.run_sync = before


def run_virtual(main: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """`main(*args)` in a loop of its own, on a clock that jumps whenever nothing can go on, with trio's shuffling made
    repeatable and what belongs into a thread run in place. Raises `trio.TooSlowError` where it waits for what never
    comes (10,000 virtual seconds)."""

    async def limited() -> T:
        with trio.fail_after(_LONG):
            return await main(*args, **kwargs)
        raise AssertionError("unreachable")

    with seam.use(_Timeless()), seeded_scheduling(0), _no_threads():
        return trio.run(limited, clock=MockClock(autojump_threshold=0))
