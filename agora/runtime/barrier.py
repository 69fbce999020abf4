"""The barrier: what the writer does at a cut, so that sinks, letters, states and position are saved as one.

Steps as in the design: 1 prepare every sink, 2 save (the only decision point), 3 commit every sink, 4 tell
the source. An error in 1 leaves what the last checkpoint says; 2 and 3 are shielded once begun; whatever
happens later, `recover` completes or undoes by what was saved.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from agora import seam
from agora.checkpoint import Checkpoint
from agora.errors import AgoraError
from agora.records import Json
from agora.runtime.batch import Cut
from agora.runtime.closing import Closing
from agora.runtime.delivery import SinkPort
from agora.runtime.failing import maybe_await
from agora.runtime.letters import Letters
from agora.runtime.spans import Spans
from agora.runtime.states import StepStates
from agora.state.base import Change
from agora.threaded import blocking_form

__all__ = ["Barrier", "prepare"]


async def prepare(ports: Sequence[SinkPort]) -> dict[str, Json]:
    """Step 1: the token of each sink by name; `None` for one without `prepare`, which is flushed instead."""
    tokens: dict[str, Json] = {}
    for port in ports:
        method = getattr(port.sink, "prepare", None)
        if method is not None:
            port.prepared = True
            token: Any = await maybe_await(method())
            tokens[port.name] = token
            continue
        tokens[port.name] = None
        flush = getattr(port.sink, "flush", None)
        if flush is not None:
            await maybe_await(flush())
    return tokens


def blocking_prepares(ports: Sequence[SinkPort]) -> dict[str, Callable[[], Json]]:
    """Step 1 of the sinks whose `prepare` is a blocking call, by name."""
    forms = ((port.name, blocking_form(getattr(port.sink, "prepare", None))) for port in ports)
    return {name: form for name, form in forms if form is not None}


async def commit(ports: Sequence[SinkPort], tokens: Mapping[str, Json]) -> None:
    """Step 3: every transactional sink holds what its token says."""
    for port in ports:
        method = getattr(port.sink, "commit", None)
        if method is not None:
            await maybe_await(method(tokens[port.name]))
        port.prepared = False


async def finish(ports: Sequence[SinkPort]) -> None:
    """Before the last step 1: what waits in a sink for more records waits no longer."""
    for port in ports:
        method = getattr(port.sink, "finish", None)
        if method is not None:
            await maybe_await(method())


@attrs.define(eq=False, repr=False)
class LastCheckpoint:
    """What was saved last; one object a run, shared with the replays in it."""

    saved: Checkpoint | None
    """By this run or an earlier one."""
    reopened: bool = False
    """Whether it was completed, and it was saved that it isn't the end anymore."""

    @property
    def completed(self) -> bool:
        return self.saved is not None and self.saved.completed


@attrs.define(kw_only=True, eq=False, repr=False)
class Barrier:
    """Saves checkpoints of one run."""

    store: Any
    """The pipeline's `CheckpointStore`."""
    pipeline: str
    run_id: str
    fence: int
    identity: Json
    ports: Sequence[SinkPort]
    letters: Letters | None
    states: StepStates
    closing: Closing
    spans: Spans
    committed: Callable[[Json], Any] | None
    """The source's `committed`, if it has one."""
    last: LastCheckpoint
    kept: Checkpoint | None = None
    """The checkpoint whose place in the source a replay keeps; `None` in every other run."""
    goes_on: bool = False
    """Whether a run goes on behind this replay, so that its end is nothing to finish for, or to save."""
    saves: int = 0

    async def at(self, cut: Cut, *, anything_new: bool) -> None:
        """Carry out the barrier at this cut. Whatever fails in it ends the run."""
        with self.spans.of("agora.checkpoint", ordinal=cut.ordinal):
            if cut.completed and not self.goes_on:
                await finish(self.ports)
            completing = cut.completed and not anything_new
            save = None if completing else blocking_form(self.store.save)
            here = {} if save is None else blocking_prepares(self.ports)
            tokens = await prepare([port for port in self.ports if port.name not in here])
            if here:  # nothing of theirs is begun in a run that is over
                await trio.lowlevel.checkpoint_if_cancelled()
            with self.closing.shield() as shield:
                if save is None:
                    checkpoint = self._checkpoint(cut, tokens)
                    await self._save(checkpoint, completing=completing)
                else:
                    checkpoint = await self._prepare_and_save(cut, tokens, here, save)
                self._saved(checkpoint, completing=completing)
                await commit(self.ports, checkpoint.sinks)
            if shield.cancelled_caught:
                raise AgoraError(
                    f"the checkpoint at record {cut.ordinal} didn't end within the closing deadline of "
                    f"{self.closing.seconds:.0f} s; whether it was saved is unknown, the next run finds out"
                )
            if self.committed is not None:
                await maybe_await(self.committed(cut.position))
        if cut.saved is not None:
            cut.saved.set()

    async def before_writing(self) -> None:
        """Before the first record is written behind a completed checkpoint: save that it isn't the end anymore.

        After a crash from here on, what is found behind it in a target is this run's, not somebody else's.
        """
        last = self.last.saved
        if last is not None and last.completed and not self.last.reopened:
            self.last.reopened = True
            # With tokens of today: a target that was moved away begins anew, and that is known from here on.
            again = attrs.evolve(last, completed=False, fence=self.fence, sinks=await prepare(self.ports))
            with self.closing.shield() as shield:
                await self._amend(again, [])
                for port in self.ports:
                    port.prepared = False  # nothing is written yet, so nothing waits for a commit
            if shield.cancelled_caught:
                raise AgoraError(
                    "the completed checkpoint couldn't be opened again within the closing deadline"
                )

    def needed(self, cut: Cut, *, anything_new: bool) -> bool:
        """Whether there is something to save: records, somebody who asked, a place that a replay is to keep, or that
        the source is exhausted."""
        known_complete = self.last.completed and self.kept is None
        ends = cut.completed and not known_complete
        if self.goes_on and self.kept is not None:
            ends = cut.completed and self.kept.completed and not self.last.completed
        placeless = cut.interlude is not None and self.last.saved is None
        return anything_new or cut.saved is not None or placeless or ends

    async def _amend(self, checkpoint: Checkpoint, changes: Sequence[Change]) -> None:
        """Save what is said anew of the same place; by `save` where a store of the user's knows nothing else."""
        amend = getattr(self.store, "amend", self.store.save)
        if changes:
            await amend(self.pipeline, checkpoint, also=changes)
        else:
            await amend(self.pipeline, checkpoint)

    async def _prepare_and_save(
        self,
        cut: Cut,
        prepared: Mapping[str, Json],
        prepares: Mapping[str, Callable[[], Json]],
        save: Callable[..., None],
    ) -> Checkpoint:
        """What is left of step 1, and step 2, in one thread call: the way there and back costs more than either."""
        changes = self._changes()
        for port in self.ports:
            port.prepared = port.prepared or port.name in prepares

        def work() -> Checkpoint:
            tokens = {**prepared, **{name: prepare() for name, prepare in prepares.items()}}
            checkpoint = self._checkpoint(cut, tokens)
            save(self.pipeline, checkpoint, also=changes)
            return checkpoint

        return await seam.current().in_thread(work)

    def _changes(self) -> list[Change]:
        return [*self.states.unsaved, *([] if self.letters is None else self.letters.changes())]

    async def _save(self, checkpoint: Checkpoint, *, completing: bool) -> None:
        changes = self._changes()
        if completing:
            await self._amend(checkpoint, changes)
        elif changes:
            await self.store.save(self.pipeline, checkpoint, also=changes)
        else:
            await self.store.save(self.pipeline, checkpoint)

    def _saved(self, checkpoint: Checkpoint, *, completing: bool) -> None:
        """Step 2 is through."""
        self.last.saved, self.last.reopened = checkpoint, False
        self.saves += not completing
        self.states.unsaved.clear()
        if self.letters is not None:
            self.letters.saved()

    def _checkpoint(self, cut: Cut, tokens: Mapping[str, Json]) -> Checkpoint:
        if self.kept is not None:
            return attrs.evolve(
                self.kept,
                completed=self.kept.completed and cut.final,  # what is written behind any other cut is ours
                sinks=tokens,
                states=cut.states,
                fence=self.fence,
                run_id=self.run_id,
                saved_at=seam.current().now(),
            )
        return Checkpoint(
            position=cut.position,
            skip=cut.skip,
            ordinal=cut.ordinal,
            source=self.identity,
            sinks=tokens,
            states=cut.states,
            fence=self.fence,
            run_id=self.run_id,
            saved_at=seam.current().now(),
            completed=cut.completed,
        )
