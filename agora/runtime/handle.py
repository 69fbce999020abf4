"""A handle on a run under way, for the app that started it."""

from collections.abc import Awaitable, Callable

import attrs
import trio

from agora.checkpoint import Checkpoint
from agora.errors import AgoraError
from agora.runtime.report import RunStats, RunSummary

__all__ = ["RunHandle", "RunOutcome"]


@attrs.define(eq=False)
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

    def stats(self) -> RunStats:
        """A look at the run: counts, what is in flight, the limit, the last checkpoint."""
        return self._stats()
