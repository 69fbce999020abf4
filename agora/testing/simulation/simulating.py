"""`simulate`: run after run of a pipeline through everything that its seed says, and the checks behind each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from agora.bound import BoundPipeline
from agora.checkpoint import Checkpoint
from agora.errors import ConfigError, PipelineBusy, SinkChanged
from agora.state.checkpoints import CheckpointStore
from agora.state.letters import StateDLQSink
from agora.state.memory import MemoryBackend
from agora.testing.seeding import current_seed
from agora.testing.simulation import invariants
from agora.testing.simulation.invariants import Invariant, Observation, Seen
from agora.testing.simulation.life import Build, During, Life, live
from agora.testing.simulation.plan import SLOW, Ending, Hazards, plans
from agora.testing.simulation.trace import Trace
from agora.testing.simulation.world import Content, World

__all__ = ["Life", "Simulation", "SimulationFailed", "observe_calm", "simulate"]

_TAIL = 40
"""Lines of the trace that a failure shows."""


class SimulationFailed(AssertionError):  # noqa: N818  - what it is, as LawBroken
    """An invariant doesn't hold. The message says which, the seed, how to replay it, and the end of the trace."""

    def __init__(self, message: str, invariant: Invariant, trace: Trace) -> None:
        super().__init__(message)
        self.invariant = invariant
        self.trace = trace


@attrs.frozen(eq=False)
class Simulation:
    """What `simulate` did."""

    seed: int
    trace: Trace
    lives: Sequence[Life]
    """The runs, the last of which was left alone."""
    world: World
    """As it was left, for `records`, `read` and so on."""
    found: Observation


@attrs.frozen(kw_only=True)
class _Given:
    build: Build
    name: str
    files: Mapping[str, Content]
    during: During | None
    seen: Seen


def simulate(
    pipeline: Build | BoundPipeline[Any],
    *,
    seed: int | None = None,
    files: Mapping[str, Content] | None = None,
    hazards: Hazards | None = None,
    during: During | None = None,
    seen: Seen | None = None,
    calm: Observation | None = None,
    check: Callable[[Simulation], None] | None = None,
) -> Simulation:
    """Run a pipeline through crashes, failures and delays, all drawn from `seed`, until it is completed.

    `seed=None`: that of `agora.testing.seeding`, which `pytest --agora-seed` sets; else one that is drawn.

    `pipeline(world)` builds it, for each run anew, as each process would: with `world.state` for its checkpoints
    and letters, and with files, also those given relative to the working directory, that are in memory. Or it is a
    `BoundPipeline` whose parts can run again; a `MemoryBackend` of it is then replaced by the world's. What reaches
    files past `agora.seam` (SQLite) can't be simulated.

    `files` are there when it begins: bytes, text, or records for JSON lines. `hazards` say what may happen.
    `during(handle, world)` is awaited beside each run; an `AgoraError` of it is taken for a refusal. `seen(name,
    content)` gives what of a file is to be the same in every world, where that isn't all of it; `None` where it isn't
    to be looked at. `calm` is what `observe_calm` gave, to be compared with in the end; by default it is found out
    here, by one more run. `check` is called with the simulation when everything else held; an error that it raises is
    reported with the seed.

    Synchronous: it calls `trio.run`, so it isn't to be called in a task. Raises `SimulationFailed`, whose message says
    how to replay it. Equal seeds give equal traces: see `Simulation.trace`.
    """
    seed = current_seed() if seed is None else seed
    given = _given(pipeline, files, during, seen)
    if calm is None:
        calm = _calm(given, seed)
    world = World.of(seed, given.files)
    lives: list[Life] = []
    story = _Story(given.name, world, lives)
    hazards = Hazards() if hazards is None else hazards
    if isinstance(pipeline, BoundPipeline):  # its parts can't be in two runs at once
        endings = [ending for ending in hazards.endings if ending is not Ending.STALLED]
        hazards = attrs.evolve(hazards, endings=endings)
    for plan in plans(seed, hazards):
        if sum(_completed(life) for life in lives) > 1 and plan.ending is not Ending.COMPLETED:
            continue  # it is at the end, and was found so
        lives.append(live(world, plan, given.build, given.during))
        story.require(_broken_by(lives[-1], world))
    found = _observation(world, lives[-1], given.seen)
    story.require(invariants.broken_at_end(found, calm, once=_is_checkpointed(lives[-1])))
    simulation = Simulation(seed, world.trace, lives, world, found)
    if check is not None:
        try:
            check(simulation)
        except Exception as error:  # noqa: BLE001  - whatever it is, it is to be told with the seed
            story.fail(invariants.CHECK, f"{type(error).__name__}: {error}", error)
    return simulation


def observe_calm(
    pipeline: Build | BoundPipeline[Any],
    *,
    files: Mapping[str, Content] | None = None,
    during: During | None = None,
    seen: Seen | None = None,
) -> Observation:
    """What the world holds behind one run into which nothing is injected: for `simulate(calm=…)`, to find it out once
    for many seeds."""
    return _calm(_given(pipeline, files, during, seen), seed=0)


def _calm(given: _Given, seed: int) -> Observation:
    world = World.of(seed, given.files)
    [plan] = plans(0, Hazards.none())
    life = live(world, plan, given.build, given.during)
    story = _Story(given.name, world, [life])
    story.require(_broken_by(life, world))
    return _observation(world, life, given.seen)


def _observation(world: World, life: Life, seen: Seen) -> Observation:
    saved = dict(world.saved)
    name = "" if life.spec is None else life.spec.name
    last: Checkpoint | None = saved.get(name)
    tree = world.disk.tree()
    if world.killed:  # nobody knows of what it wrote beside its target, and had not published
        tree = {path: content for path, content in tree.items() if not _is_beside(path)}
    return Observation.of(tree, life.letters, last, seen)


def _is_beside(path: Path) -> bool:
    return any(fnmatch(part, ".*.tmp") for part in path.parts)


# --- what must hold ---


@attrs.frozen
class _Story:
    """Says what went wrong, and when."""

    name: str
    world: World
    lives: Sequence[Life]

    def require(self, broken: Iterator[tuple[Invariant, str]]) -> None:
        for invariant, what in broken:
            self.fail(invariant, what, self.lives[-1].error)

    def fail(self, invariant: Invariant, what: str, cause: BaseException | None) -> None:
        trace = self.world.trace
        lives = "\n".join(f"  {number}. {life}" for number, life in enumerate(self.lives, 1))
        raise SimulationFailed(
            f"{invariant.name}: {invariant.statement}\n{what}\n\nthe runs:\n{lives}\n\nthe end of the trace:\n"
            f"{trace.tail(_TAIL)}\n\nseed {trace.seed}; to replay it: simulate({self.name}, seed={trace.seed}, …)",
            invariant,
            trace,
        ) from cause


def _broken_by(life: Life, world: World) -> Iterator[tuple[Invariant, str]]:
    """What one run breaks."""
    yield from invariants.broken_by_order(world.saved)
    if life.hung:
        yield invariants.ENDS, str(life)
    if world.machine.dead:
        return
    if life.plan.left_alone and (life.summary is None or life.summary.status != "completed"):
        yield invariants.COMPLETES, str(life)
    if life.other is not None and not _completed(life.other):
        yield invariants.TAKES_OVER, str(life)
    if life.error is not None and not _is_due(life):
        yield invariants.FAILS_FOR_A_REASON, str(life)
    if life.tasks_left or life.still_open:
        yield invariants.LEAVES_NOTHING, f"{life.tasks_left} tasks; {', '.join(life.still_open)}"
    if life.summary is not None and life.spec is not None:
        yield from invariants.broken_by_counts(life.spec, life.summary)
        records = len({letter[0] for letter in life.letters})
        whole = life.spec.checkpointing and len(world.saved) == life.summary.checkpoints
        if isinstance(life.spec.dlq, StateDLQSink) and whole and records != life.summary.dead_lettered:
            yield invariants.LETTERS_COUNTED, f"letters of {records} records; {life.summary}"


def _is_due(life: Life) -> bool:
    """Whether it failed by what was injected."""
    assert life.error is not None
    if life.plan.ending is Ending.CANCELLED and all(
        isinstance(leaf, trio.Cancelled) for leaf in _leaves(life.error)
    ):
        return True
    stalled = life.plan.ending is Ending.STALLED
    if stalled and isinstance(life.error, PipelineBusy | SinkChanged):
        return True
    causes = _causes(life.error)
    slow = stalled or life.plan.latency >= SLOW
    late = slow and any("within" in str(error) for error in causes)
    return late or any(error in life.injected for error in causes)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for each in error.exceptions:
        yield from _leaves(each)


def _causes(error: BaseException) -> list[BaseException]:
    """The error, and all that led to it."""
    found: list[BaseException] = []
    ahead: list[BaseException | None] = [error]
    while ahead:
        each = ahead.pop()
        if each is not None and each not in found:
            found.append(each)
            ahead += [each.__cause__, each.__context__]
            ahead += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
    return found


def _completed(life: Life) -> bool:
    return life.summary is not None and life.summary.status == "completed"


def _is_checkpointed(life: Life) -> bool:
    return life.spec is not None and life.spec.checkpointing


# --- what is simulated ---


def _given(
    pipeline: Build | BoundPipeline[Any],
    files: Mapping[str, Content] | None,
    during: During | None,
    seen: Seen | None,
) -> _Given:
    build: Build
    if isinstance(pipeline, BoundPipeline):
        build = partial(_moved, pipeline)
    elif callable(pipeline):
        build = pipeline
    else:
        raise ConfigError(f"simulate() takes a BoundPipeline or a function that builds one, not {pipeline!r}")
    return _Given(
        build=build,
        name=getattr(pipeline, "__qualname__", "pipeline"),
        files=files or {},
        during=during,
        seen=_as_it_is if seen is None else seen,
    )


def _as_it_is(_: str, content: bytes) -> object:
    return content


def _moved(bound: BoundPipeline[Any], world: World) -> BoundPipeline[Any]:
    """The same pipeline with its state in the world."""
    spec, names = bound.spec, dict[int, str]()

    def moved(holder: Any) -> Any:
        state = getattr(holder, "state", None)
        if not isinstance(state, MemoryBackend) or not isinstance(holder, CheckpointStore | StateDLQSink):
            return holder
        name = names.setdefault(id(state), f"state {len(names) + 1}")
        return attrs.evolve(holder, state=world.backend(name))

    return BoundPipeline(
        attrs.evolve(spec, checkpoint_store=moved(spec.checkpoint_store), dlq=moved(spec.dlq))
    )
