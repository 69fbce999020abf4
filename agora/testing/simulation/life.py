"""One run of a pipeline on a simulated machine, from its first step to its end or its death."""

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import attrs
import trio
from trio.testing import MockClock

from agora import seam
from agora.bound import BoundPipeline
from agora.deadletter import DLQRecord
from agora.errors import AgoraError
from agora.runtime.handle import RunHandle
from agora.runtime.report import RunSummary
from agora.runtime.spec import PipelineSpec
from agora.state.letters import StateDLQSink
from agora.testing.simulation.machine import Machine
from agora.testing.simulation.plan import Ending, LifePlan
from agora.testing.simulation.scheduling import seeded_scheduling
from agora.testing.simulation.world import World
from agora.testing.stopping import Stopper

__all__ = ["Build", "During", "Life", "live"]

Build: TypeAlias = Callable[[World], BoundPipeline[Any]]
During: TypeAlias = Callable[[RunHandle, World], Awaitable[None]]

_PATIENCE = 2e4
"""Virtual seconds after which a run is taken for one that never ends."""


@attrs.define(eq=False)
class Life:
    """What became of one run."""

    plan: LifePlan
    summary: RunSummary | None = None
    error: BaseException | None = None
    """What `run()` raised. Neither this nor a summary: it was killed."""
    hung: bool = False
    tasks_left: int = 0
    still_open: list[str] = attrs.field(factory=list)
    letters: list[tuple[Any, ...]] = attrs.field(factory=list)
    """In the pipeline's own queue, where that is in a state."""
    injected: list[Exception] = attrs.field(factory=list)
    spec: PipelineSpec | None = None
    other: "Life | None" = None
    """The run that took over while this one stalled."""

    def __str__(self) -> str:
        if self.hung:
            became = "never ended"
        elif self.summary is not None:
            became = (
                f"{self.summary.status}, {self.summary.read} read, {self.summary.checkpoints} checkpoints"
            )
        else:
            became = "killed" if self.error is None else f"{type(self.error).__name__}: {self.error}"
        return f"{self.plan}: {became}" + ("" if self.other is None else f"; the other: {self.other}")


def live(world: World, plan: LifePlan, build: Build, during: During | None) -> Life:
    """Carry out one run; what is left of it is in the world."""
    machine = world.begin(plan)
    life = Life(plan, injected=machine.injected)
    run = _Run(world, machine, build, during, life)
    with _seeded(plan.seed), seam.use(machine):
        try:
            trio.run(run.main, clock=MockClock(autojump_threshold=0), instruments=[run])
        except BaseException as error:  # noqa: ASYNC103  - of a whole trio run, from outside it
            if isinstance(error, KeyboardInterrupt | SystemExit) or not machine.dead:
                raise
    return life


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    before = random.getstate()
    random.seed(seed)
    try:
        with seeded_scheduling(seed):
            yield
    finally:
        random.setstate(before)


@attrs.define(eq=False)
class _Run(trio.abc.Instrument):
    """Sees every step of every task, and strikes at the one that the plan names."""

    world: World
    machine: Machine
    build: Build
    during: During | None
    life: Life
    _steps: int = 0
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around the run; a dead process is made to end by it."""
    _stopper: Stopper = attrs.field(factory=Stopper)
    _nursery: trio.Nursery | None = None
    _gone_silent: trio.Event = attrs.field(factory=trio.Event)
    _taken_over: trio.Event = attrs.field(factory=trio.Event)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        machine, plan = self.machine, self.machine.plan
        if machine.dead:
            return
        machine.note("step", task.name)
        self._steps += 1
        if self._steps == plan.at and not plan.on_disk:
            self._strike(plan.ending)

    def _strike(self, ending: Ending) -> None:
        if ending.kills:
            self.machine.kill(ending.value)
            self._scope.cancel()
        elif ending is Ending.STALLED:
            self.machine.stall(ending.value)
            self._gone_silent.set()
        elif ending is Ending.CANCELLED:
            self.machine.note("hazard", ending.value)
            self._scope.cancel()
        elif ending is Ending.STOPPED:
            self.machine.note("hazard", ending.value)
            self._stopper.stop()

    def started(self, handle: RunHandle | None = None) -> None:
        """As of a `trio.TaskStatus`."""
        self._stopper.started(handle)
        if self.during is not None:
            assert handle is not None
            assert self._nursery is not None
            self._nursery.start_soon(self._accompany, handle)

    async def main(self) -> None:
        life, machine = self.life, self.machine
        machine.note("life", f"a run begins; {machine.plan}")
        with trio.move_on_after(_PATIENCE) as patience:
            await self._guarded()
        life.hung = patience.cancelled_caught and not machine.dead
        if machine.dead:
            return
        life.tasks_left = _tasks() - 3  # trio's own two, and this one
        life.still_open = self.world.still_open
        life.letters = await self._letters()
        machine.note("life", f"it ends: {life}")
        self.world.end()

    async def _guarded(self) -> None:
        life = self.life
        with self._scope:
            try:
                bound = self.build(self.world)
                life.spec = bound.spec
                async with trio.open_nursery() as others, trio.open_nursery() as self._nursery:
                    others.start_soon(self._take_over)
                    try:
                        plan = self.machine.plan
                        life.summary = await bound.run(
                            task_status=self,
                            max_records=plan.max_records,
                            restart=plan.restart and _can_start_over(bound.spec),
                        )
                    except Exception as error:  # noqa: BLE001  - judged when it is over
                        life.error = error
                    self._nursery.cancel_scope.cancel()
                    if self._gone_silent.is_set():
                        await self._taken_over.wait()
                    others.cancel_scope.cancel()
            except trio.Cancelled as error:
                life.error = error
                raise
            except BaseException as error:
                life.error = error
                if not self.machine.dead:
                    raise

    async def _take_over(self) -> None:
        """Another process, which finds out that this one is silent."""
        await self._gone_silent.wait()
        plan = LifePlan(seed=self.machine.plan.seed + 2, latency=0.001)
        world, life = self.world.beside(plan), Life(plan)
        try:
            await trio.sleep(self.machine.plan.silence)
            with seam.use(world.machine):
                bound = self.build(world)
                life.summary = await bound.run()
        except Exception as error:  # noqa: BLE001  - judged when it is over
            life.error = error
        finally:
            self.life.other = life
            self.machine.wake()
            self._taken_over.set()

    async def _accompany(self, handle: RunHandle) -> None:
        assert self.during is not None
        with suppress(AgoraError):  # what it asked for came too late, or the run was made to fail
            await self.during(handle, self.world)

    async def _letters(self) -> list[tuple[Any, ...]]:
        spec = self.life.spec
        if spec is None or not isinstance(spec.dlq, StateDLQSink):
            return []
        return [_seen(letter) async for letter in spec.dlq.read(spec.name)]


def _can_start_over(spec: PipelineSpec) -> bool:
    """Whether nothing is left of what it did: some sinks can't be undone, and letters elsewhere stay."""
    parts = [sink.sink for sink in spec.sinks]
    undone = all(hasattr(part, "restart") for part in parts if hasattr(part, "prepare"))
    return spec.checkpointing and undone and (spec.dlq is None or spec.letters_in_transaction)


def _seen(letter: DLQRecord) -> tuple[Any, ...]:
    place: Any = letter.checkpoint
    return (
        place["ordinal"] if isinstance(place, dict) else None,
        letter.stage,
        letter.error_type,
        letter.error_message,
        letter.original,
        letter.processed,
        letter.entry,
    )


def _tasks() -> int:
    root = trio.lowlevel.current_root_task()
    return 0 if root is None else _below(root)


def _below(task: trio.lowlevel.Task) -> int:
    return 1 + sum(_below(child) for nursery in task.child_nurseries for child in nursery.child_tasks)
