"""The stream of a run: its stages wired together by channels of batches, and what can be asked of it
meanwhile."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import attrs
import trio

from agora.backpressure import AdaptiveLimit
from agora.checkpoint import Checkpoint
from agora.errors import AgoraError
from agora.middlewares.step import Step, StepKind
from agora.runtime.barrier import Barrier, LastCheckpoint
from agora.runtime.batch import Batch, Interlude
from agora.runtime.buffered import BufferedStage
from agora.runtime.closing import Closing
from agora.runtime.counting import StageCount
from agora.runtime.credits import Credits
from agora.runtime.delivery import SinkPort
from agora.runtime.failing import StepRules
from agora.runtime.intake import Intake, IntakeOptions
from agora.runtime.letters import Letters
from agora.runtime.opening import Start
from agora.runtime.pace import Pace
from agora.runtime.plan import grouped
from agora.runtime.reading import Reader
from agora.runtime.recordbatches import gives_batches
from agora.runtime.report import RunStats
from agora.runtime.segment import BatchSegment, RowSegment, Segment, run_segment
from agora.runtime.spans import Spans
from agora.runtime.spec import PipelineSpec, is_live
from agora.runtime.states import StepStates
from agora.runtime.tally import Tally
from agora.runtime.writer import DeadLetterLimit, Writer

__all__ = ["Stream", "Task"]

_BETWEEN_STAGES = 2
"""Batches that may wait between two stages. What is in flight is bounded by the credits; this bounds what a
step that multiplies may send ahead."""

Task = Callable[[], Awaitable[None]]


@attrs.define(kw_only=True, eq=False, repr=False)
class Stream:
    """One run's stages. `tasks()` and `write` are to be run as siblings."""

    spec: PipelineSpec
    run_id: str
    start: Start
    max_records: int | None
    ports: Sequence[SinkPort]
    barrier_ports: Sequence[SinkPort]
    letters: Letters | None
    counts: Mapping[str, StageCount]
    states: StepStates
    closing: Closing
    pace: Pace
    spans: Spans
    last: LastCheckpoint
    goes_on: bool
    """Whether a run goes on behind this stream: it is a replay in its middle."""
    peak: int = 0
    intake: Intake = attrs.field(init=False)
    tally: Tally = attrs.field(init=False)
    _credits: Credits = attrs.field(init=False)
    _reader: Reader = attrs.field(init=False)
    _writer: Writer = attrs.field(init=False)
    _barrier: Barrier | None = attrs.field(init=False)
    _send: trio.MemorySendChannel[Batch] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Batch] = attrs.field(init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event)
    _began: float = attrs.field(factory=trio.current_time)

    def __attrs_post_init__(self) -> None:
        spec = self.spec
        self._send, self._receive = trio.open_memory_channel[Batch](math.inf)
        limits = spec.limits
        adaptive = AdaptiveLimit(limits) if limits.kind == "adaptive" else None
        self._credits = Credits(limits.min_in_flight)
        self.tally = Tally(multiplies=any(map(_multiplies, spec.chain.steps)))
        self.intake = self._new_intake()
        self._reader = Reader(
            intake=self.intake,
            pace=self.pace,
            linger=spec.linger,
            checkpoint_interval=spec.cut_interval,
            source=spec.source,
            columns=spec.columns,
        )
        self._barrier = self._new_barrier() if spec.checkpointing else None
        self._writer = Writer(
            ports=self.ports,
            letters=self.letters,
            barrier=self._barrier,
            live=[] if spec.checkpointing else [port for port in self.barrier_ports if is_live(port.sink)],
            credits=self._credits,
            adaptive=adaptive,
            tally=self.tally,
            dead_letter_limit=DeadLetterLimit(spec.max_dead_letters),
            pace=self.pace,
            spans=self.spans,
        )

    # What the run starts.

    def tasks(self) -> list[Task]:
        """Source and stages, wired in order."""
        tasks: list[Task] = [self._read]
        receive = self._receive
        rules = StepRules(
            steps=self.spec.chain.steps,
            default=self.spec.default_policy,
            letters=self.letters is not None,
            counts=self.counts,
            states=self.states,
        )
        for group in grouped(self.spec.chain.steps):
            send, following = trio.open_memory_channel[Batch](_BETWEEN_STAGES)
            tasks.append(self._stage(group, rules, receive, send))
            receive = following
        self._receive = receive
        return tasks

    async def write(self) -> None:
        """The writer's task; the run is over when it returns. `tasks()` must have been called."""
        try:
            await self._writer.run(self._receive)
        finally:
            self._ended.set()

    async def source_closed(self) -> None:
        """Wait until the source's generator is closed: its own cleanup may take a while behind its last record."""
        await self._reader.closed.wait()

    # What can be asked of it.

    def stop(self) -> None:
        """Read no more; deliver what is in flight. Synchronous, any number of times."""
        self._reader.stop("stop")

    async def checkpoint(self) -> Checkpoint | None:
        """A checkpoint behind what was read so far; see `RunHandle.checkpoint`."""
        await trio.lowlevel.checkpoint()
        if self._barrier is None:
            return None
        wanted = self.intake.ordinal
        if self.intake.ended is not None:
            await self._ended.wait()
        else:
            saved = trio.Event()
            self.intake.cut(saved)
            async with trio.open_nursery() as nursery:  # the run may end before the cut is reached
                nursery.start_soon(_first, saved, nursery.cancel_scope)
                nursery.start_soon(_first, self._ended, nursery.cancel_scope)
        last = self.last.saved
        if wanted > (0 if last is None else last.ordinal):
            raise AgoraError(f"run {self.run_id} ended before the checkpoint at record {wanted} was saved")
        return last

    def hold(self, interlude: Interlude) -> None:
        """Cut here, and have the writer carry this out behind the barrier at the cut, with the source held. Only where
        `ending` is `None`."""

        async def carry_out() -> None:
            await interlude()
            self.intake.release()

        self.intake.cut(interlude=carry_out)

    @property
    def ending(self) -> str | None:
        """Why no cut comes anymore but the last; `None` while the stream goes on."""
        if self.intake.ended == "exhausted":
            return "its source is exhausted"
        if self.intake.ended is not None or self._reader.stopping is not None:
            return "it is stopping"
        return None

    def stats(self) -> RunStats:
        """See `RunHandle.stats`."""
        elapsed = trio.current_time() - self._began
        return RunStats(
            read=self.intake.read,
            written=self.tally.written,
            dropped=self.tally.dropped,
            dead_lettered=self.tally.dead_lettered,
            skipped=self.tally.skipped,
            in_flight=self._in_flight,
            in_flight_limit=self._credits.limit,
            checkpoint=self.last_checkpoint,
            rate=self.intake.read / elapsed if elapsed > 0 else 0.0,
        )

    @property
    def late_error(self) -> Exception | None:
        """What the source raised when it was closed; comes behind what was read."""
        return self._reader.late

    @property
    def ended_in_order(self) -> bool:
        """Whether the last batch was handled, and not merely the channel closed."""
        return self._writer.ended

    @property
    def exhausted(self) -> bool:
        """Whether the source was read to its end and all of it is handled."""
        return self._writer.completed

    @property
    def checkpoints(self) -> int:
        """Checkpoints saved by this run."""
        return 0 if self._barrier is None else self._barrier.saves

    @property
    def last_checkpoint(self) -> Checkpoint | None:
        """The last one that was saved, by this run or an earlier one."""
        return self.last.saved

    def failure_place(self) -> str | None:
        """Stage and ordinal of the failure that ended the run, if one of a record did."""
        failure = self._writer.failed
        if failure is None:
            return None
        what = "record" if self.start.kept is None else "replayed letter"
        return f"stage {failure.stage}, {what} {self._writer.failed_ordinal}"

    # Inside.

    @property
    def _in_flight(self) -> int:
        return self.intake.read - self.tally.read

    def _new_intake(self) -> Intake:
        spec, source = self.spec, self.spec.source
        by_record = getattr(source, "blocks", None) is None and not gives_batches(source, wanted=spec.columns)
        return Intake(
            options=IntakeOptions(
                batch_size=spec.rows_at_once,
                checkpoint_every=spec.cut_every,
                cuts=spec.cuts,
                max_records=self.max_records,
                copies=self.letters is not None and bool(spec.chain.steps),
                malformed_policy=spec.source_policy or spec.default_policy,
            ),
            credits=self._credits,
            send=self._enter,
            ask_position=source.checkpoint if by_record and spec.checkpointing else None,
            ordinal=self.start.ordinal,
            position=self.start.position,
            skip=self.start.skip,
        )

    def _new_barrier(self) -> Barrier:
        return Barrier(
            store=self.spec.checkpoint_store,
            pipeline=self.spec.name,
            run_id=self.run_id,
            fence=self.start.fence,
            identity=self.start.identity,
            ports=self.barrier_ports,
            letters=self.letters if self.letters is not None and self.letters.in_transaction else None,
            kept=self.start.kept,
            goes_on=self.goes_on,
            states=self.states,
            closing=self.closing,
            spans=self.spans,
            committed=getattr(self.spec.source, "committed", None),
            last=self.last,
        )

    def _enter(self, batch: Batch) -> None:
        """A batch enters the stream. The channel has room for any number: the credits are the bound."""
        self.peak = max(self.peak, self.intake.read - self.tally.read)
        if self.spans.enabled and batch.count:
            self.spans.read(batch, trio.current_time() - self._reader.reading_since)
        self._send.send_nowait(batch)

    async def _read(self) -> None:
        try:
            with self._send:
                await self._reader.run()
        finally:
            self.intake.close()

    def _stage(
        self,
        group: tuple[Step, ...],
        rules: StepRules,
        receive: trio.MemoryReceiveChannel[Batch],
        send: trio.MemorySendChannel[Batch],
    ) -> Task:
        first = group[0]
        if first.buffered:
            stage = BufferedStage(step=first, rules=rules, pace=self.pace, batch_size=self.spec.batch_size)
            return partial(stage.run, self.spans, receive, send)
        segment: Segment
        if first.kind is StepKind.BATCH:
            singles = [
                BatchSegment(step=step, rules=rules, pace=self.pace, batch_size=self.spec.batch_size)
                for step in group
            ]
            segment = singles[0] if len(singles) == 1 else _columns_together(singles)
        else:
            segment = RowSegment(steps=group, rules=rules, pace=self.pace, batch_size=self.spec.batch_size)
        return partial(run_segment, segment, self.spans, receive, send)


def _columns_together(singles: Sequence[BatchSegment]) -> Segment:
    from agora.runtime.columnsegment import ColumnSegment  # noqa: PLC0415 - a run of rows loads no pyarrow

    return ColumnSegment(singles)


def _multiplies(step: Step) -> bool:
    return step.multiplies or callable(getattr(step.part, "finish", None))


async def _first(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
