"""Replays between two barriers of a running pipeline.

At a cut behind which the source is held nothing is in flight and every step's state is the cut's own, so the writer
itself carries out the replay there: a stream of the derived pipeline over the run's open parts, whose barriers save
the same place anew. Two other ways were weighed. Letters fed into the run's own stream would put envelopes into every
batch, and give a record's ordinal to what has none. Ending the run, replaying and running again would close sources
that can't be opened twice, and leave the lease free in between.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs
import trio

from agora import seam
from agora.checkpoint import Checkpoint
from agora.errors import AgoraError, ConfigError
from agora.runtime.addressing import LetterFilter
from agora.runtime.handle import RunOutcome
from agora.runtime.replay import Replay
from agora.runtime.report import RunSummary
from agora.runtime.spec import PipelineSpec
from agora.runtime.stream import Stream

__all__ = ["Replays"]


@attrs.define(eq=False)
class _Request:
    """One replay that was asked for."""

    replay: Replay
    over: trio.Event = attrs.field(factory=trio.Event)
    summary: RunSummary | None = None
    withdrawn: bool = False
    """Whether nobody waits for it anymore."""


@attrs.define(kw_only=True, eq=False)
class Replays:
    """What is replayed in one run, one after the other; carried out by the run's writer."""

    spec: PipelineSpec
    run_id: str
    main: Stream
    """The run's own stream."""
    outcome: RunOutcome
    stream_of: Callable[[Replay, Checkpoint], Stream]
    """A stream over the run's open parts that keeps the checkpoint's place."""
    flow: Callable[[Stream], Awaitable[None]]
    """Run its tasks; raises what ends the run."""
    summary_of: Callable[[Stream, float], RunSummary]
    """Its summary, given the seconds that it took."""
    current: Stream | None = None
    """The replay that is being carried out."""
    _carried_out: _Request | None = None
    _asked: list[_Request] = attrs.field(factory=list)

    async def ask(self, *arguments: Any, **options: Any) -> RunSummary:
        """See `RunHandle.replay`, whose arguments these are."""
        await trio.lowlevel.checkpoint()
        if self.main.start.kept is not None:
            raise ConfigError(f"run {self.run_id} of pipeline {self.spec.name!r} is itself a replay")
        if not self.spec.checkpointing:
            raise ConfigError(
                f"pipeline {self.spec.name!r} saves no checkpoints, so that in the middle of its run nothing is "
                "durable that a replay could start from: give it a checkpoint_store and a source that supports "
                "checkpoints, or replay when the run is over (BoundPipeline.replay)"
            )
        request = _Request(Replay(spec=self.spec, filter=LetterFilter.of(self.spec, *arguments, **options)))
        ending = "it is over" if self.outcome.ended.is_set() else self.main.ending
        if ending is not None:
            raise self._refusal(ending)
        self._asked.append(request)
        self.main.hold(partial(self._carry_out, request))
        try:
            await request.over.wait()
        except trio.Cancelled:
            request.withdrawn = True
            if self.current is not None and self._carried_out is request:
                self.current.stop()
            raise
        finally:
            self._asked.remove(request)
        if request.summary is None:
            if self.outcome.error is None:
                raise self._refusal("it was stopped before")
            raise AgoraError(
                f"run {self.run_id} of pipeline {self.spec.name!r} failed, and the replay with it"
            ) from self.outcome.error
        return request.summary

    def stop(self) -> None:
        """The run is to stop: the replay ends in order behind the letter at hand. Any number of times."""
        if self.current is not None:
            self.current.stop()

    def end(self) -> None:
        """The run is over: who still waits is told."""
        for request in self._asked:
            request.over.set()

    async def _carry_out(self, request: _Request) -> None:
        """In the writer's task, with the source held."""
        if not request.withdrawn and self.main.ending is None:
            began = seam.current().monotonic()
            kept = self.main.last_checkpoint
            assert kept is not None  # by the barrier at this cut
            self._carried_out, self.current = request, self.stream_of(request.replay, kept)
            await self.flow(self.current)
            await request.replay.settle()
            request.summary = self.summary_of(self.current, seam.current().monotonic() - began)
            self._carried_out = self.current = None
        request.over.set()

    def _refusal(self, why: str) -> AgoraError:
        return AgoraError(
            f"run {self.run_id} of pipeline {self.spec.name!r} can't replay letters anymore, {why}; nothing was "
            "replayed, and the letters stay: replay them when the run is over (BoundPipeline.replay)"
        )
