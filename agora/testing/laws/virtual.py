"""A trio run for one case: nothing real passes in it, and it goes the same way each time."""

import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import ParamSpec, TypeVar

import trio
from trio.testing import MockClock

from agora import seam
from agora.testing.faults.unsynced import UnsyncedFiles, unsynced_sqlite
from agora.testing.laws.idling import elsewhere
from agora.testing.simulation.scheduling import seeded_scheduling

__all__ = ["run_timed", "run_virtual"]

P = ParamSpec("P")
T = TypeVar("T")

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_LONG = 10_000.0


class _Timeless(seam.Seam):
    """The real machine, but for time: deadlines are kept by the virtual clock, without a thread that watches the real
    one (a tenth of a run's time), and nobody waits for the disk."""

    simulated = True

    def __init__(self) -> None:
        super().__init__()
        self.files = UnsyncedFiles()

    async def in_thread(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await _in_place(fn, *args, **kwargs)


class _Timed(_Timeless):
    """The time is what trio's clock says, too."""

    def now(self) -> datetime:
        return _BEGAN + timedelta(seconds=trio.current_time())


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
    return _run(_Timeless(), main, *args, **kwargs)


def run_timed(main: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """`run_virtual`, where it is the time that the virtual clock says, too."""
    return _run(_Timed(), main, *args, **kwargs)


def _run(machine: seam.Seam, main: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    async def limited() -> T:
        with trio.fail_after(_LONG):
            return await main(*args, **kwargs)
        raise AssertionError("unreachable")

    with seam.use(machine), unsynced_sqlite(), seeded_scheduling(0), _no_threads(), warnings.catch_warnings():
        # What is left for the garbage collector is a law's affair (`leftovers`), not a line a case.
        warnings.simplefilter("ignore", ResourceWarning)
        return trio.run(limited, clock=MockClock(autojump_threshold=0))
