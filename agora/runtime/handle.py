"""A handle on a run under way, for the app that started it."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import datetime

import attrs
import trio

from agora.checkpoint import Checkpoint
from agora.errors import AgoraError
from agora.runtime.report import RunStats, RunSummary

__all__ = ["RunHandle", "RunOutcome"]


@attrs.define(eq=False, repr=False)
class RunOutcome:
    """How a run ended; set once."""

    ended: trio.Event = attrs.field(factory=trio.Event)
    summary: RunSummary | None = None
    error: BaseException | None = None


@attrs.frozen(eq=False)
class RunHandle:
    """What `await nursery.start(bound.run)` answers, once everything is open and before the first record."""

    pipeline: str
    run_id: str
    _outcome: RunOutcome = attrs.field(alias="outcome")
    _stop: Callable[[], None] = attrs.field(alias="stop")
    _checkpoint: Callable[[], Awaitable[Checkpoint | None]] = attrs.field(alias="checkpoint")
    _stats: Callable[[], RunStats] = attrs.field(alias="stats")
    _replay: Callable[..., Awaitable[RunSummary]] = attrs.field(alias="replay")

    def stop(self) -> None:
        """End in order: read no more, deliver what is in flight, checkpoint, return. Any number of times;
        synchronous."""
        self._stop()

    async def wait(self) -> RunSummary:
        """Wait for the run's end. A trio checkpoint; cancelling it doesn't touch the run.

        Raises `AgoraError` if the run failed or was cancelled, with its exception as the cause.
        """
        await trio.lowlevel.checkpoint()
        await self._outcome.ended.wait()
        if self._outcome.summary is None:
            raise AgoraError(
                f"run {self.run_id} of pipeline {self.pipeline!r} failed"
            ) from self._outcome.error
        return self._outcome.summary

    async def checkpoint(self) -> Checkpoint | None:
        """Save a checkpoint behind what was read so far, once that is handled; the checkpoint.

        `None` where the pipeline saves none. A trio checkpoint; cancelled, the checkpoint is saved all the
        same.
        """
        return await self._checkpoint()

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
    ) -> RunSummary:
        """Send dead letters of this pipeline through it again, in the middle of the run; which, as in
        `BoundPipeline.replay`. The summary of the replay alone: the run's own doesn't count its letters.

        The source is held at a checkpoint behind what was read so far, also while it waits for its next record; then
        the letters pass, those among them that this run made before, and are saved as any replay's; then the source
        goes on. One replay at a time, further ones after it; `checkpoint()` and `stop()` as ever, a stop ends the
        replay in order behind the letter at hand. Not to be awaited in a step or a sink of the run, which it waits
        for.

        A trio checkpoint. Cancelled, the run goes on: the replay ends in order behind the letter at hand, or isn't
        begun. An error in it ends the run, and comes out here as `AgoraError` with its cause, as in `wait`. Raises
        `ConfigError` where the pipeline saves no checkpoints, since then nothing in the middle of a run is durable,
        and where its queue can't be replayed from; `AgoraError`, with nothing done, where the run is stopping,
        over, or its source exhausted.
        """
        return await self._replay(
            ids,
            stage=stage,
            error_type=error_type,
            since=since,
            until=until,
            limit=limit,
            classes=classes,
        )

    def stats(self) -> RunStats:
        """A look at the run: counts, what is in flight, the limit, the last checkpoint."""
        return self._stats()
