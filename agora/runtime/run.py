"""One run: one nursery in which source, segments, buffered stages and writer are sibling tasks.

Tasks don't raise into the nursery: the first error is noted and the others are cancelled, so that `run()`
raises the original exception itself and not a group. What fails because of a record never comes this way; it
travels with its batch to the writer, which raises it in source order.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import attrs
import trio

from agora import seam
from agora.checkpoint import Checkpoint
from agora.errors import AgoraError
from agora.middlewares.remote import in_worker
from agora.runtime.absent import DLQ_NAME
from agora.runtime.barrier import LastCheckpoint
from agora.runtime.closing import Closing
from agora.runtime.counting import StageCount
from agora.runtime.delivery import SinkPort
from agora.runtime.failing import leaf, maybe_await
from agora.runtime.handle import RunHandle, RunOutcome
from agora.runtime.letters import LetterBox, Letters
from agora.runtime.opening import Opening, Start, check_paths
from agora.runtime.pace import Pace
from agora.runtime.parts import OpenParts, reserved
from agora.runtime.report import RunSummary, StageSummary
from agora.runtime.spans import Spans
from agora.runtime.spec import PipelineSpec, is_live
from agora.runtime.states import StepStates
from agora.runtime.stream import Stream, Task

if TYPE_CHECKING:
    from agora.runtime.interlude import Replays
    from agora.runtime.replay import Replay

__all__ = ["Run", "RunOptions"]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunOptions:
    """What `run()` was told."""

    run_id: str
    restart: bool = False
    allow_source_change: bool = False
    max_records: int | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class Run:
    """Carries out one run of a pipeline. Used once."""

    spec: PipelineSpec
    options: RunOptions
    replay: "Replay | None" = None
    """The replay that this run carries out; `spec` is then its derived pipeline."""
    counts: dict[str, StageCount] = attrs.field(factory=lambda: {"source": StageCount()})
    outcome: RunOutcome = attrs.field(factory=RunOutcome)
    closing: Closing = attrs.field(factory=Closing)
    pace: Pace = attrs.field(factory=Pace)
    states: StepStates = attrs.field(init=False)
    spans: Spans = attrs.field(init=False)
    ports: list[SinkPort] = attrs.field(init=False)
    letters: Letters | None = attrs.field(init=False)
    _dlq_port: SinkPort | None = attrs.field(init=False)
    _opening: Opening | None = None
    _start: Start | None = None
    _stream: Stream | None = None
    _replays: "Replays | None" = None
    """Made by the first letters that are to be replayed in the middle of this run."""
    _error: BaseException | None = None
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around opening and streaming; cancelled by the first error."""

    def __attrs_post_init__(self) -> None:
        spec = self.spec
        self.spans = Spans(spec.tracer)
        self.states = StepStates.of(spec)
        self.counts.update({step.stage: StageCount() for step in spec.chain.steps})
        self.ports = self._ports(spec)
        self.counts.update({port.stage: port.count for port in self.ports})
        self.letters = self._dlq_port = None
        if spec.dlq is not None:
            self.letters = self.replay or LetterBox(
                pipeline=spec.name,
                run_id=self.options.run_id,
                resumes=spec.checkpointing,
                dlq=spec.dlq,
                in_transaction=spec.letters_in_transaction,
            )
            self._dlq_port = SinkPort(name=DLQ_NAME, sink=spec.dlq, policy="stop", pace=self.pace)

    async def execute(self, task_status: trio.TaskStatus[RunHandle] = trio.TASK_STATUS_IGNORED) -> RunSummary:
        """Run to the end. Raises what ended it, itself, with notes; `Cancelled` passes through after
        closing."""
        if in_worker():
            raise AgoraError(
                "this is a worker process that imports the program's main module, and that has begun a run: put the "
                'run behind `if __name__ == "__main__":`'
            )
        began = seam.current().monotonic()
        try:
            check_paths(self.spec)
            with reserved(self.spec.name, self._parts()), ExitStack() as stack:
                stack.enter_context(self.pace.watching())
                run_span = self.spans.of("agora.run", pipeline=self.spec.name, run_id=self.options.run_id)
                self.spans.run = stack.enter_context(run_span)
                try:
                    await self._within_nursery(task_status)
                except trio.Cancelled:  # noqa: ASYNC103  - the run's own error isn't lost to a late cancellation
                    if self._error is None:
                        raise
                if self._error is not None:
                    raise self._error
            assert self._stream is not None
            self.outcome.summary = self._summary(self._stream, seam.current().monotonic() - began)
        except BaseException as error:
            self.outcome.error = error
            raise
        finally:
            self.outcome.ended.set()
            if self._replays is not None:
                self._replays.end()
        return self.outcome.summary

    def _ports(self, spec: PipelineSpec) -> list[SinkPort]:
        return [
            SinkPort(
                name=sink.name,
                sink=sink.sink,
                policy=sink.on_error or spec.default_policy,
                where=sink.where,
                otherwise=sink.otherwise,
                pace=self.pace,
            )
            for sink in spec.sinks
        ]

    def _parts(self) -> list[object]:
        parts: list[object] = [self.spec.source]
        parts += [step.part for step in self.spec.chain.steps if step.part is not None]
        parts += [sink.sink for sink in self.spec.sinks]
        if self.letters is not None and not hasattr(self.spec.dlq, "changes"):
            parts.append(self.spec.dlq)
        return parts if self.replay is None else self.replay.unwrapped(parts)

    async def _within_nursery(self, task_status: trio.TaskStatus[RunHandle]) -> None:
        """The run's nursery: hosts of lifespans, the lease's keeper, and, in its body, opening, stream and
        closing."""
        try:
            async with trio.open_nursery() as nursery:
                parts = OpenParts(nursery=nursery, closing=self.closing, on_lost=self._lost)
                await nursery.start(self.closing.watch)
                try:
                    with self._scope:
                        await self._open(parts, nursery)
                        await self._flow(task_status)
                        await self._settle_sinks()
                except Exception as error:  # noqa: BLE001  - raised by `execute` once everything is closed
                    self._note(error)
                finally:
                    await self._leave(parts)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise leaf(group) from None
        finally:
            self.closing.end()

    async def _open(self, parts: OpenParts, nursery: trio.Nursery) -> None:
        opening = self._opening = Opening(
            spec=self.spec,
            run_id=self.options.run_id,
            parts=parts,
            ports=self.ports if self._dlq_port is None else [*self.ports, self._dlq_port],
            counts=self.counts,
            states=self.states,
            keep=lambda lease: nursery.start_soon(self._guarded, lease.keep),
            restart=self.options.restart,
            allow_source_change=self.options.allow_source_change,
            replay=self.replay is not None,
        )
        self._start = await opening.run()
        if isinstance(self.letters, LetterBox):
            self.letters.restarted_by = self._start.restarted_by

    async def _flow(self, task_status: trio.TaskStatus[RunHandle]) -> None:
        assert self._start is not None
        last = LastCheckpoint(self._start.resumed_from)
        stream = self._stream = self._new_stream(
            self.spec, self._start, last, self.ports, self.letters, self.counts
        )

        def stop() -> None:
            stream.stop()
            if self._replays is not None:
                self._replays.stop()

        handle = RunHandle(
            pipeline=self.spec.name,
            run_id=self.options.run_id,
            outcome=self.outcome,
            stop=stop,
            checkpoint=stream.checkpoint,
            stats=stream.stats,
            replay=self._replay_letters,
        )
        task_status.started(handle)
        await self._carry(stream, partial(self._source_closed, stream))

    def _new_stream(
        self,
        spec: PipelineSpec,
        start: Start,
        last: LastCheckpoint,
        ports: Sequence[SinkPort],
        letters: Letters | None,
        counts: Mapping[str, StageCount],
    ) -> Stream:
        return Stream(
            spec=spec,
            run_id=self.options.run_id,
            start=start,
            last=last,
            goes_on=spec is not self.spec,
            max_records=self.options.max_records if spec is self.spec else None,
            ports=ports,
            barrier_ports=[*self.ports, *self._barrier_dlq()],
            letters=letters,
            counts=counts,
            states=self.states,
            closing=self.closing,
            pace=self.pace,
            spans=self.spans,
        )

    async def _replay_letters(self, *arguments: Any, **options: Any) -> RunSummary:
        """See `RunHandle.replay`, whose arguments these are."""
        from agora.runtime.interlude import Replays  # noqa: PLC0415  - most runs replay nothing

        assert self._stream is not None
        if self._replays is None:
            self._replays = Replays(
                spec=self.spec,
                run_id=self.options.run_id,
                main=self._stream,
                outcome=self.outcome,
                stream_of=self._replay_stream,
                flow=self._replayed,
                summary_of=self._summary,
            )
        return await self._replays.ask(*arguments, **options)

    def _replay_stream(self, replay: "Replay", kept: Checkpoint) -> Stream:
        """A stream in the middle of this run's own, over the same parts and states; see `Replays`."""
        assert self._stream is not None
        assert self._start is not None
        spec = replay.derived()
        ports = self._ports(spec)
        counts = {"source": StageCount()}
        counts.update({step.stage: StageCount() for step in spec.chain.steps})
        counts.update({port.stage: port.count for port in ports})
        start = attrs.evolve(
            self._start, resumed_from=kept, kept=kept, identity=None, position=None, ordinal=0, skip=0
        )
        return self._new_stream(spec, start, self._stream.last, ports, replay, counts)

    async def _replayed(self, stream: Stream) -> None:
        """Carry out a replay's stream in the writer's task; raises what ends it, and the run."""
        await self._carry(stream, stream.source_closed)
        if self._error is not None:
            raise self._error

    async def _carry(self, stream: Stream, source_closed: Task) -> None:
        async with trio.open_nursery() as tasks:
            for task in stream.tasks():
                tasks.start_soon(self._guarded, task)
            await self._guarded(stream.write)
            if self._error is None:
                await source_closed()
            tasks.cancel_scope.cancel()
        if stream.late_error is not None:
            self._note(stream.late_error)
        if self._error is None and not stream.ended_in_order:
            raise AgoraError(
                "the stream broke off: a part let a Cancelled escape that belongs to no scope around it"
            )

    async def _source_closed(self, stream: Stream) -> None:
        """The source's generator closes within the time of closing."""
        self.closing.begin()
        with self.closing.limit() as limit:
            await stream.source_closed()
        if limit.cancelled_caught:
            raise TimeoutError(f"the source's generator hasn't closed within {self.closing.seconds:.0f} s")

    def _barrier_dlq(self) -> list[SinkPort]:
        """The DLQ where the barrier has to prepare or flush it, as any other sink."""
        port = self._dlq_port
        if port is None or self.spec.letters_in_transaction:
            return []
        return [port] if hasattr(port.sink, "prepare") or hasattr(port.sink, "flush") else []

    async def _guarded(self, task: Any) -> None:
        """Run a task of this run; note its error, and end the others by it."""
        try:
            await task()
        except Exception as error:  # noqa: BLE001  - raised by `execute` once everything is closed
            self._lost(error)
        except trio.Cancelled:  # noqa: ASYNC103  - what belongs to no scope becomes the run's error
            if trio.current_effective_deadline() != float("-inf"):
                self._lost(
                    AgoraError("a part let a Cancelled escape that belongs to no scope around this run")
                )
            else:
                raise

    def _lost(self, error: Exception) -> None:
        self._note(error)
        self._scope.cancel()

    def _note(self, error: Exception) -> None:
        """The first error is the run's; later ones become notes on it."""
        error = leaf(error)
        if self._error is None:
            self._error = error
            self.closing.begin()
            error.add_note(self._place())
        elif error is not self._error:
            notes = "; ".join(getattr(error, "__notes__", ()))
            self._error.add_note(f"then {type(error).__name__}: {error}" + (f" ({notes})" if notes else ""))

    def _place(self) -> str:
        """Where it happened and how to go on, for people."""
        replay = None if self._replays is None else self._replays.current
        stream = self._stream if replay is None else replay
        failed = None if stream is None else stream.failure_place()
        where = f", {failed}" if failed else ""
        place = f"in pipeline {self.spec.name!r}, run {self.options.run_id}{where}"
        return f"{place}; {self._way_on()}"

    def _way_on(self) -> str:
        if not self.spec.checkpointing:
            return "nothing was checkpointed: the next run starts from the beginning"
        if self._stream is not None:
            saved = self._stream.last_checkpoint
        elif self._opening is not None and self._opening.looked:
            saved = self._opening.left_to_the_next
        else:
            return "what was checkpointed is as it was, and the next run goes on from there"
        if saved is None:
            return "no checkpoint was saved yet: the next run starts from the beginning"
        return f"the next run goes on behind record {saved.ordinal}, where the last checkpoint is"

    async def _settle_sinks(self) -> None:
        """The end of a run that didn't fail: without checkpoints, targets appear whole now."""
        assert self._stream is not None
        if self._error is not None:
            return
        if not self.spec.checkpointing:
            for port in self.ports:
                await _publish(port.sink, exhausted=self._stream.exhausted)
        if self.letters is not None:
            await self.letters.settle()

    async def _leave(self, parts: OpenParts) -> None:
        """Close everything; letters of a run without checkpoints are kept whatever happened."""
        if self._dlq_port is not None and not self.spec.checkpointing and self._stream is not None:
            parts.push("the dead-letter queue", self._publish_letters)
        for error in await parts.close():
            self._note(error)

    async def _publish_letters(self) -> None:
        await _publish(self.spec.dlq, exhausted=True)

    def _summary(self, stream: Stream, duration: float) -> RunSummary:
        assert self._start is not None
        tally = stream.tally
        status: Literal["completed", "stopped"] = "completed" if stream.exhausted else "stopped"
        source = stream.counts["source"]
        source.left = source.entered = stream.intake.read
        replaying = self.replay is not None or stream is not self._stream
        return RunSummary(
            pipeline=self.spec.name,
            run_id=self.options.run_id,
            status=status,
            stop_reason=stream.intake.stop_reason,
            read=tally.read,
            written=tally.written,
            dropped=tally.dropped,
            dead_lettered=tally.dead_lettered,
            skipped=tally.skipped,
            checkpoints=stream.checkpoints,
            resumed_from=None if replaying else self._start.resumed_from,
            duration=duration,
            stages={name: StageSummary.of(count) for name, count in stream.counts.items()},
            peak_in_flight=stream.peak,
        )


async def _publish(sink: Any, *, exhausted: bool) -> None:
    if is_live(sink):
        return
    names = ("finish", "flush", "publish") if exhausted else ("flush", "publish")
    for name in names:
        method = getattr(sink, name, None)
        if callable(method):
            await maybe_await(method())
