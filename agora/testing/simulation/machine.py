"""The machine of one simulated run: the seam with everything behind it in memory, by a seed.

A call in a thread takes virtual time before its effect and behind it, and other tasks go on meanwhile; the effect
itself is one moment. The process dies at such a moment, or between two steps of its tasks: from then on whatever
it still does on its way out reaches nothing.
"""

import functools
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

import trio

from agora import seam
from agora.testing.faults.failpoints import Crash, Failpoints, Fault
from agora.testing.faults.files import ObservedFiles
from agora.testing.faults.operations import Operation
from agora.testing.simulation.memoryfiles import MemoryFiles
from agora.testing.simulation.plan import Ending, LifePlan
from agora.testing.simulation.trace import Kind, Trace

__all__ = ["Machine"]

T = TypeVar("T")
P = ParamSpec("P")

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_SLOW = 0.02
"""The share of calls that take twenty times as long as others."""


class _Flag(list[None]):
    """Non-empty in a share of the looks at it."""

    def __init__(self, chance: random.Random, share: float) -> None:
        super().__init__()
        self._chance, self._share = chance, share

    def __bool__(self) -> bool:
        return self._chance.random() < self._share


class Machine(seam.Seam):
    """Of one run, by its plan. An `Observer` of what it does to the disk."""

    simulated = True

    def __init__(
        self,
        plan: LifePlan,
        disk: MemoryFiles,
        trace: Trace,
        began: float,
        die: Callable[[], None],
        name: str = "",
    ) -> None:
        super().__init__()
        self.name = name
        """Before what is logged of it, where there are two."""
        self.plan, self.disk, self.trace = plan, disk, trace
        self.chance = random.Random(plan.seed)  # noqa: S311  - it has to be repeatable
        self.files = ObservedFiles(self, disk, syncs=True)
        self.dead = False
        self.injected: list[Exception] = []
        """Failures that were raised on purpose."""
        self._stalled: trio.Event | None = None
        self._stalls = False
        self._began = began
        self._die = die
        strikes = plan.on_disk or plan.ending is Ending.DISK_FAILS
        self._failpoints = Failpoints(plan.at if strikes else None, plan.fault)

    # --- agora.seam.Seam ---

    def monotonic(self) -> float:
        try:
            return self._began + trio.current_time()
        except RuntimeError:  # no run has begun
            return self._began

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self.monotonic())

    def random_id(self) -> str:
        return f"{self.chance.getrandbits(64):016x}"

    def overdue_flag(self) -> list[None]:
        return _Flag(random.Random(self.plan.seed + 1), self.plan.overdue) if self.plan.overdue else []  # noqa: S311  - as above

    async def sleep(self, seconds: float) -> None:
        """A trio checkpoint: nothing real passes here, so the virtual clock is the machine's."""
        await trio.sleep(seconds)

    async def in_thread(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As a thread: not begun when cancelled, and then not abandoned."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await _pass(self._latency())
        if self._stalls or self._stalled is not None:
            await self._stall(fn)
        self.note("thread", _name_of(fn))
        result = fn(*args, **kwargs)
        if self.chance.random() < 0.5:
            await _pass(self._latency())
        return result

    # --- what happens ---

    def note(self, kind: Kind, text: str) -> None:
        """Log it; `Crash` where the process is dead."""
        if self.dead:
            raise Crash(f"dead before {text}")
        if kind in ("file", "hazard", "life"):
            text = text.replace(f"{self.disk.root}{os.sep}", "").replace(str(self.disk.root), ".")
        self.trace.add(self.monotonic(), kind, self.name + text)

    def kill(self, text: str) -> None:
        """The process is dead from now on."""
        if not self.dead:
            self.note("hazard", text)
            self.dead = self._failpoints.crashed = True
            self._die()

    def stall(self, text: str) -> None:
        """From the next call of the state on, calls in threads have no effect, and don't return, until `wake`."""
        self.note("hazard", text)
        self._stalls = True

    def wake(self) -> None:
        """They go on."""
        self.note("hazard", "it goes on")
        self._stalls = False
        if self._stalled is not None:
            self._stalled.set()

    async def _stall(self, fn: Callable[..., Any]) -> None:
        # Between its look at the lease and what it then does to a file by its name, no process can be stopped by
        # what another one does to the lease: so it isn't frozen right there.
        if self._stalled is None and not _name_of(fn).startswith("SimulatedState"):
            return
        if self._stalled is None:
            self._stalled = trio.Event()
        with trio.CancelScope(shield=True):
            await self._stalled.wait()

    def fail(self, error: Exception) -> Exception:
        """An error that is to be raised on purpose."""
        self.note("hazard", f"{type(error).__name__}: {error}")
        self.injected.append(error)
        return error

    def perform(self, operation: Operation, act: Callable[[Operation], T]) -> T:
        """See `agora.testing.faults.Observer`."""
        failpoints = self._failpoints
        self.note("file", str(operation))
        strikes = failpoints.at == len(failpoints.seen) + 1
        if strikes and not failpoints.fault.suits(operation):
            failpoints.fault = Fault.CRASH_BEFORE if failpoints.fault.crashes else Fault.EIO
        try:
            return failpoints.perform(operation, act)
        except Crash:
            self.kill(f"{self.plan.ending.value}: {failpoints.fault.value}")
            raise
        except OSError as error:
            if strikes or (failpoints.fault is Fault.FULL and error.strerror == "No space left on device"):
                raise self.fail(error) from None
            raise

    def _latency(self) -> float:
        mean = self.plan.latency
        if not mean or self.chance.random() < 0.5:
            return 0.0
        drawn = self.chance.expovariate(1 / mean)
        return round(drawn * 20 if self.chance.random() < _SLOW else drawn, 6)


async def _pass(seconds: float) -> None:
    """Time in which nobody can be cancelled."""
    if not seconds:
        await trio.lowlevel.cancel_shielded_checkpoint()
        return
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


def _name_of(fn: Callable[..., Any]) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(fn, "__qualname__", type(fn).__name__)
