"""Runs of a whole pipeline, watched and interrupted."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import attrs
import trio

from agora.backpressure import Backpressure
from agora.bound import BoundPipeline
from agora.deadletter import DLQRecord
from agora.middlewares.chain import MiddlewareChain
from agora.records import Json, Record
from agora.runtime.failing import leaf
from agora.runtime.report import RunSummary
from agora.runtime.spec import PipelineSpec, SinkSpec
from agora.state.letters import StateDLQSink
from agora.state.memory import MemoryBackend
from agora.testing.faults import Call, Failpoints, Fault, ObservedPart
from agora.testing.faults.calls import SINK_CALLS, SOURCE_CALLS, SOURCE_STREAMS
from agora.testing.laws.leftovers import Left, uncollected
from agora.testing.laws.outcomes import failure_of, failure_text, text_of
from agora.testing.laws.pipelinecase import PipelineCase
from agora.testing.stopping import Stopper

__all__ = ["Blow", "Build", "Captured", "Place", "ReadBack", "Watched"]

T = TypeVar("T")

Build: TypeAlias = Callable[[Path], BoundPipeline[Any]]
ReadBack: TypeAlias = Callable[[Path], Iterable[Record] | Mapping[str, Iterable[Record]]]
Blow: TypeAlias = Literal["stop", "cancel", "crash"]

_STATE_CALLS = frozenset({"open", "close", "get", "apply", "put", "delete"})
_PAUSE = 1.0


@attrs.frozen
class _Drawn:
    """The case's records as a source."""

    records: Sequence[Record]
    at: list[int] = attrs.field(factory=lambda: [0])
    supports_checkpoint: bool = True

    def identity(self) -> Json:
        return "laws"

    def checkpoint(self) -> Json:
        return self.at[0]

    async def prepare_resume(self, position: Any) -> None:
        self.at[0] = position or 0

    async def stream(self) -> AsyncGenerator[Record]:
        while self.at[0] < len(self.records):
            self.at[0] += 1
            yield self.records[self.at[0] - 1]


@attrs.define(eq=False)
class Captured:
    """A sink, or a queue of letters, that keeps what comes."""

    records: list[Any] = attrs.field(factory=list)

    async def write(self, records: Sequence[Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.records += records


@attrs.frozen
class _Pausing:
    """Lets time pass before some of a stream's steps."""

    pauses: Sequence[int]

    async def perform_call(self, call: Call, act: Callable[[], Awaitable[T]]) -> T:
        if call.method in SOURCE_STREAMS and call.number in self.pauses:
            await trio.sleep(_PAUSE)
        return await act()


@attrs.frozen
class Captures:
    """A run whose results went nowhere but here."""

    records: list[Any]
    letters: list[DLQRecord]
    ended: str | None


@attrs.define(eq=False)
class Place:
    """A place in which a pipeline runs, and again, as one process behind the other."""

    path: Path
    build: Build
    read_back: ReadBack
    case: PipelineCase
    memories: dict[int, MemoryBackend] = attrs.field(factory=dict)
    """What is in memory outlives the process here: by its number in the order in which it is met."""
    explained: str = ""
    """The guarantee that explain() gives."""
    sinks: set[str] = attrs.field(factory=set)
    """Their names; as `explained`, of the pipeline that was built last."""

    @property
    def exactly_once(self) -> bool:
        return self.explained == "exactly once"

    def spec(self) -> PipelineSpec:
        """The pipeline, built anew, with the settings of the case, and its memory as it was left."""
        spec, case = self.with_source(self._built()), self.case
        limits = spec.backpressure if case.in_flight is None else Backpressure.fixed(case.in_flight)
        keeps = case.checkpoint_every is None or spec.checkpoint_store is None
        spec = attrs.evolve(
            spec,
            batch_size=spec.batch_size if case.batch_size is None else case.batch_size,
            linger=spec.linger if case.linger is None else case.linger,
            backpressure=limits,
            checkpoint_every=spec.checkpoint_every if keeps else case.checkpoint_every,
        )
        self.explained = BoundPipeline[Any](spec).explain().guarantee
        self.sinks = {sink.name for sink in spec.sinks}
        return self._remembering(spec)

    def _built(self) -> PipelineSpec:
        bound = self.build(self.path)
        if not isinstance(bound, BoundPipeline):
            raise TypeError(f"the factory gave {bound!r:.60}: it has to give what Pipeline.build() gives")
        return bound.spec

    def with_source(self, spec: PipelineSpec) -> PipelineSpec:
        records = self.case.fresh()
        return spec if records is None else attrs.evolve(spec, source=_Drawn(records))

    async def capture(self, *, steps: bool) -> Captures:
        """One run with its settings, whose results and letters are kept and go nowhere else; or what the source
        alone gives."""
        sink, letters, ended = Captured(), Captured(), None
        spec = self.spec() if steps else self.with_source(self._built())
        spec = attrs.evolve(
            spec,
            chain=spec.chain if steps else MiddlewareChain(()),
            sinks=(SinkSpec(name="laws", sink=sink),),
            dlq=letters if spec.dlq is not None or not steps else None,
            checkpoint_store=None,
            checkpoint_every=None,
            checkpoint_interval=None,
            require=None,
        )
        try:
            await BoundPipeline[Any](spec).run()
        except Exception as error:  # noqa: BLE001  - it is what came of the run
            ended = failure_of(leaf(error))
        return Captures(sink.records, letters.records, ended)

    def delivered(self) -> dict[str, list[str]]:
        """What is read back behind a run, by sink."""
        found, names = self.read_back(self.path), self.sinks
        if not isinstance(found, Mapping):
            if len(names) > 1 or found is None:
                raise TypeError(
                    f"read_back gave {found!r:.60}: it has to give the records, and of several sinks "
                    f"a dict of them by name ({', '.join(sorted(names))})"
                )
            found = {"": found}
        elif {*found} != names:
            raise TypeError(
                f"read_back gave records of {', '.join(map(repr, found)) or 'no sink'}; the sinks are "
                f"{', '.join(map(repr, sorted(names)))}: give None for one that can't be read back"
            )
        return {
            name: [self._placeless(text_of(record)) for record in records]
            for name, records in found.items()
            if records is not None
        }

    async def letters(self) -> list[str] | None:
        """The letters that are there, sorted; `None` where they can't be read."""
        spec = self.spec()
        if not callable(getattr(spec.dlq, "read", None)):
            return None
        letters = [letter async for letter in spec.dlq.read(spec.name)]
        return sorted(
            self._placeless(
                f"{_ordinal(each)}: {each.stage}: {failure_text(each.error_type, each.error_message)}"
            )
            for each in letters
        )

    def crashed(self) -> None:
        """The process died: its locks are free, and nobody has anything open."""
        self.memories = {number: state.copy() for number, state in self.memories.items()}

    def _placeless(self, text: str) -> str:
        """Without the name of the place, which differs from one to the other."""
        return text.replace(str(self.path), "PLACE")

    def _remembering(self, spec: PipelineSpec) -> PipelineSpec:
        numbers: dict[int, int] = {}

        def moved(holder: Any) -> Any:
            state = getattr(holder, "state", None)
            if type(state) is not MemoryBackend:
                return holder
            number = numbers.setdefault(id(state), len(numbers))
            return attrs.evolve(holder, state=self.memories.setdefault(number, state))

        dlq = moved(spec.dlq) if isinstance(spec.dlq, StateDLQSink) else spec.dlq
        return attrs.evolve(spec, checkpoint_store=moved(spec.checkpoint_store), dlq=dlq)


@attrs.define(eq=False)
class Watched(trio.abc.Instrument):
    """One run, which counts the steps of its tasks, and what reaches the disk or a part; and may be struck at one."""

    place: Place
    blow: Blow | None = None
    at: int = 0
    steps: int = 0
    calls: int = 0
    summary: RunSummary | None = None
    error: BaseException | None = None
    left: list[str] = attrs.field(factory=list)
    """What was left when it was over."""
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _stopper: Stopper = attrs.field(factory=Stopper)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        self.steps += 1
        if self.steps != self.at:
            return
        if self.blow == "cancel":
            self._scope.cancel()
        elif self.blow == "stop":
            self._stopper.stop()

    async def run(self) -> None:
        """What ends it is kept, but for a cancellation from outside."""
        spec = self.place.spec()
        crashes = self.blow == "crash"
        fault = Fault.CRASH_AFTER if self.place.case.after else Fault.CRASH_BEFORE
        points = Failpoints(at=self.at if crashes else None, fault=fault)
        with uncollected():
            before = Left.now()
            with points, self._scope:
                trio.lowlevel.add_instrument(self)
                try:
                    bound = BoundPipeline[Any](_observed(spec, points, self.place.case))
                    self.summary = await bound.run(task_status=self._stopper)
                except Exception as error:  # noqa: BLE001  - it is what came of the run
                    self.error = error
                finally:
                    trio.lowlevel.remove_instrument(self)
            left = Left.now().more_than(before)
        self.calls = len(points.seen)
        if points.crashed:
            self.place.crashed()
            return
        self.left = [] if left is None else [left]
        state = getattr(spec.checkpoint_store, "state", None)
        if getattr(state, "is_open", False):
            self.left.append("the state")


def _observed(spec: PipelineSpec, points: Failpoints, case: PipelineCase) -> PipelineSpec:
    """The pipeline with all that is outside of it seen: a crash can come at each call."""

    def sink(each: SinkSpec) -> SinkSpec:
        return attrs.evolve(each, sink=ObservedPart(each.sink, points, each.name, SINK_CALLS))

    def held(holder: Any) -> Any:
        state = getattr(holder, "state", None)
        if type(state) is not MemoryBackend:
            return holder
        return attrs.evolve(holder, state=ObservedPart(state, points, "state", _STATE_CALLS))

    source = ObservedPart(spec.source, points, "source", SOURCE_CALLS, SOURCE_STREAMS)
    if case.pauses:
        source = ObservedPart(source, _Pausing(case.pauses), "source", frozenset(), SOURCE_STREAMS)
    dlq = held(spec.dlq) if isinstance(spec.dlq, StateDLQSink) else spec.dlq
    return attrs.evolve(
        spec,
        source=source,
        sinks=tuple(sink(each) for each in spec.sinks),
        checkpoint_store=held(spec.checkpoint_store),
        dlq=dlq,
    )


def _ordinal(letter: DLQRecord) -> Any:
    place = letter.checkpoint
    return place.get("ordinal") if isinstance(place, dict) else None
