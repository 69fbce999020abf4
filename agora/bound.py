"""A built pipeline: it owns its runs."""

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Generic

import attrs
import trio
from typing_extensions import TypeVar

from agora import seam
from agora.errors import ConfigError
from agora.middlewares.chain import MiddlewareChain
from agora.runtime.handle import RunHandle
from agora.runtime.plan import Plan
from agora.runtime.report import RunSummary
from agora.runtime.run import Run, RunOptions
from agora.runtime.spec import PipelineSpec, SinkSpec
from agora.sinks.channel import ChannelSink

__all__ = ["BoundPipeline"]

R = TypeVar("R", default=Any)


@attrs.frozen(eq=False)
class BoundPipeline(Generic[R]):
    """What `Pipeline.build` answers. It may run again after it has ended; one run at a time."""

    spec: PipelineSpec

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def chain(self) -> MiddlewareChain:
        """The steps' reference semantics, record by record."""
        return self.spec.chain

    def explain(self) -> Plan:
        """Stages, modes, delivery guarantee and why. No I/O."""
        return Plan.of(self.spec)

    async def run(
        self,
        *,
        restart: bool = False,
        allow_source_change: bool = False,
        max_records: int | None = None,
        run_id: str | None = None,
        task_status: trio.TaskStatus[RunHandle] = trio.TASK_STATUS_IGNORED,
    ) -> RunSummary:
        """Run until the source is exhausted, `max_records` were read, or the run is stopped.

        `restart`: forget the checkpoint, undo what this pipeline wrote, start over; its dead letters go with the
        checkpoint where they are on the same state, since their records come again, and stay in any other queue.
        `allow_source_change`: go on at the saved position though the source isn't the one of the checkpoint. `await
        nursery.start(bound.run)` gives a `RunHandle` once everything is open, before the first record.

        A trio checkpoint. Cancelled, it cancels pending work, closes everything (shielded, within 30 s) and
        saves nothing more; the next run goes on at the last checkpoint. An error that no policy covers comes
        out itself, with notes. Raises `trio.BusyResourceError` while one of its parts is in another run,
        `PipelineBusy` while another runner holds the lease, `SourceChanged`, `SinkChanged` or `StateError`
        where it can't resume, `ConfigError` without a sink.
        """
        self._require_sink()
        options = _options(run_id, restart, allow_source_change, max_records)
        return await Run(spec=self.spec, options=options).execute(task_status)

    async def replay(
        self,
        ids: Collection[str] | None = None,
        *,
        stage: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        classes: Iterable[type] = (),
        run_id: str | None = None,
        task_status: trio.TaskStatus[RunHandle] = trio.TASK_STATUS_IGNORED,
    ) -> RunSummary:
        """Send this pipeline's dead letters through it again, each from where it failed; all, or those that
        match.

        `stage`, `error_type` (its full or last name), `since` ≤ time of failure < `until` (aware), `limit`
        choose letters; `classes` are the attrs classes that records in letters may be instances of, beside
        the source's schema. A letter of a sink goes to that sink alone; one of a step through the steps it
        hasn't passed. What is delivered is removed from the queue, with a checkpoint in the same transaction
        where the queue is on its state; what fails again stays, with `attempts + 1`. A run like any other:
        under the pipeline's name and lease, with `run`'s errors; the source isn't opened, and `await
        nursery.start(bound.replay)` gives a `RunHandle`. Raises `ConfigError` where the pipeline's DLQ can't be
        read and deleted from, for a time that isn't aware, and without a sink.

        A trio checkpoint. Cancelled, stopped by an error or by a crash, it leaves each letter that no saved
        checkpoint covers in the queue, and into transactional sinks a repetition delivers each exactly once.
        Between the barriers of a run that goes on: `RunHandle.replay`.
        """
        from agora.runtime.addressing import LetterFilter  # noqa: PLC0415  - most runs replay nothing
        from agora.runtime.replay import Replay  # noqa: PLC0415  - as above

        self._require_sink()
        chosen = LetterFilter.of(
            self.spec,
            ids,
            stage=stage,
            error_type=error_type,
            since=since,
            until=until,
            limit=limit,
            classes=classes,
        )
        replay = Replay(spec=self.spec, filter=chosen)
        options = _options(run_id, restart=False, allow_source_change=False, max_records=None)
        return await Run(spec=replay.derived(), options=options, replay=replay).execute(task_status)

    def _require_sink(self) -> None:
        if not self.spec.sinks:
            raise ConfigError(
                f"pipeline {self.name!r} has no sink: say .to(...), or take the results from records()"
            )

    @asynccontextmanager
    async def records(
        self,
        *,
        restart: bool = False,
        allow_source_change: bool = False,
        max_records: int | None = None,
        run_id: str | None = None,
    ) -> AsyncGenerator[trio.abc.ReceiveChannel[R]]:
        """The results inside an app: `async with bound.records() as records: async for record in records`.

        The run lives as long as the block. The sinks of the pipeline, if there are any, get each record
        before the block does. A record counts as written once the block has received it. Leaving the block
        early cancels the run, which saves nothing more; what `run()` would raise comes out of the iteration's
        end, so that a part of the results is never taken for all of them.
        """
        send, receive = trio.open_memory_channel[Any](0)
        sink = SinkSpec(name=_own_name(self.spec), sink=ChannelSink(send))
        spec = attrs.evolve(self.spec, sinks=(*self.spec.sinks, sink))
        run = Run(spec=spec, options=_options(run_id, restart, allow_source_change, max_records))
        failed: list[Exception] = []
        raised: list[Exception] = []

        async def execute() -> None:
            async with send:
                try:
                    await run.execute()
                except Exception as error:  # noqa: BLE001  - raised below, itself, not in the nursery's group
                    failed.append(error)

        async with trio.open_nursery() as nursery, receive:
            nursery.start_soon(execute)
            try:
                yield _Results(receive, failed)
            except Exception as error:  # noqa: BLE001  - likewise
                raised.append(error)
            finally:
                nursery.cancel_scope.cancel()
        for ending in (*raised, *failed):
            raise ending


@attrs.define(eq=False, repr=False)
class _Results(trio.abc.ReceiveChannel[R]):
    """The receiving end of `records()`."""

    channel: trio.MemoryReceiveChannel[R]
    failed: Sequence[Exception]
    """What the run raised, once it is over."""

    async def receive(self) -> R:
        try:
            return await self.channel.receive()
        except trio.EndOfChannel:
            if not self.failed:
                raise
        raise self.failed[0]

    async def aclose(self) -> None:
        await self.channel.aclose()


def _options(
    run_id: str | None, restart: bool, allow_source_change: bool, max_records: int | None
) -> RunOptions:
    if max_records is not None and (
        not isinstance(max_records, int) or isinstance(max_records, bool) or max_records < 0
    ):
        raise ConfigError(f"max_records={max_records!r}: expected a whole number from 0")
    return RunOptions(
        run_id=run_id or seam.current().random_id(),
        restart=restart,
        allow_source_change=allow_source_change,
        max_records=max_records,
    )


def _own_name(spec: PipelineSpec) -> str:
    taken = {sink.name for sink in spec.sinks}
    name = "records"
    while name in taken:
        name += "-"
    return name
