"""State of steps: `RunContext.state` and snapshots, taken where a cut passes, saved by the barrier, given back
when a run opens."""

import inspect
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import aclosing
from typing import Any

import attrs
import trio

from agora.copying import keep
from agora.middlewares.step import Step
from agora.records import Json
from agora.runtime.batch import Cut
from agora.runtime.spec import PipelineSpec
from agora.runtime.stepstate import StepState, UnusableState
from agora.state.base import Change
from agora.state.steplog import Place, StepLog, read_rows, removals

__all__ = ["StepStates"]


@attrs.define(kw_only=True, eq=False, repr=False)
class StepStates:
    """The mappings of a run's steps, and what is saved of steps at a cut."""

    pipeline: str
    saves: bool
    """Whether the run saves checkpoints."""
    store: Any = None
    """The pipeline's `CheckpointStore`; of a user's own, what it can do is looked at."""
    unsaved: list[Change] = attrs.field(factory=list)
    """Changes of rows that belong to cuts which have reached the writer, and aren't saved yet: a cut at which
    nothing had to be saved leaves them to the next one."""
    _mappings: dict[str, StepState] = attrs.field(factory=dict)

    @classmethod
    def of(cls, spec: PipelineSpec) -> "StepStates":
        return cls(pipeline=spec.name, saves=spec.checkpointing, store=spec.checkpoint_store)

    def mapping(self, step: Step) -> MutableMapping[str, Json]:
        """The step's own mapping."""
        if step.buffered:
            many = "processes" if step.remote is not None else "concurrency"
            many += f"={step.concurrency}"
            return UnusableState(
                f"step {step.name!r} runs with {many}, so it can't use context.state: what is in it would depend "
                "on timing"
            )
        if self.saves and not _takes_changes(self.store):
            return UnusableState(
                f"step {step.name!r} can't use context.state: the checkpoint store "
                f"({type(self.store).__name__}) couldn't save it. That takes an attribute `state`, the "
                "StateBackend that it saves to, and a `save` with a parameter `also`, further changes of the same "
                "transaction, as agora.state.CheckpointStore has them; or use snapshot() and restore()"
            )
        if step.name not in self._mappings:
            log = StepLog(self.pipeline, step.name) if self.saves else None
            self._mappings[step.name] = StepState(step.name, log)
        return self._mappings[step.name]

    def stateful(self, step: Step) -> bool:
        """Whether the step has state: by `snapshot`, or because it has used its mapping."""
        mapping = self._mappings.get(step.name)
        return step.stateful or (mapping is not None and mapping.used)

    def using(self, step: Step) -> Callable[[], bool]:
        """Whether the step has used its mapping so far."""
        mapping = self._mappings.get(step.name)
        return (lambda: False) if mapping is None else (lambda: mapping.used)

    # Batches that can be undone.

    def begin(self, step: Step) -> Json:
        """Make it possible to `undo` what the step does to its state from now on."""
        if step.name in self._mappings:
            self._mappings[step.name].begin()
        return keep(step.snapshot()) if step.snapshot is not None else None

    def undo(self, step: Step, begun: Json) -> None:
        """Take the step's state back to where `begin` gave `begun`."""
        if step.name in self._mappings:
            self._mappings[step.name].undo()
        if step.restore is not None:
            step.restore(begun)

    # The barrier.

    def cut(self, step: Step, cut: Cut) -> None:
        """Take what is to be saved of this step; called where the cut passes it."""
        mapping = self._mappings.get(step.name)
        place, changes = (None, []) if mapping is None else mapping.cut()
        cut.changes += changes
        if step.snapshot is not None or place is not None:
            cut.states[step.name] = {
                "snapshot": None if step.snapshot is None else keep(step.snapshot()),
                "state": None if place is None else place.saved(),
            }

    def reached(self, cut: Cut) -> None:
        """The cut is at the writer. Its changes are saved with the next checkpoint, this one or a later."""
        self.unsaved += cut.changes
        cut.changes.clear()

    # Opening.

    async def load(self, step: Step, saved: Mapping[str, Json]) -> None:
        """Fill the step's mapping with what the checkpoint tells of, before the step is given it. A trio
        checkpoint a row. `StateError`: rows are missing or damaged."""
        mapping, place = self.mapping(step), Place.of(saved.get(step.name))
        if place is None or not isinstance(mapping, StepState) or mapping.log is None:
            return
        mapping.used = place.keys > 0
        mapping.log.first = place.first
        async with aclosing(read_rows(self.store.state, self.pipeline, step.name, place)) as rows:
            async for put, gone in rows:
                mapping.load(put, gone)
                await trio.lowlevel.checkpoint()

    def forget_others(self, saved: Mapping[str, Json]) -> None:
        """What was saved of steps that aren't in the pipeline anymore, or can't have a mapping anymore, goes with
        the next checkpoint, which won't tell of it."""
        if not self.saves or not _takes_changes(self.store):
            return
        for name, state in saved.items():
            place = Place.of(state)
            if place is not None and name not in self._mappings:
                self.unsaved += removals(self.pipeline, name, place)

    def restore(self, step: Step, saved: Mapping[str, Json], *, afresh: bool) -> None:
        """Give back the snapshot that a checkpoint holds of this step. Of a step of which nothing is saved,
        `afresh`: what it was before its first run, since a run before this one in the same process may have
        failed, or be undone."""
        first = step.snapshot is not None and not step.initial
        if step.snapshot is not None and first:
            step.initial.append(keep(step.snapshot()))
        state = saved.get(step.name)
        if not isinstance(state, dict):
            if afresh and step.restore is not None and not first:
                step.restore(keep(step.initial[0]))
            return
        if step.restore is not None:
            step.restore(state.get("snapshot"))


def _takes_changes(store: Any) -> bool:
    if getattr(store, "state", None) is None:
        return False
    parameters = inspect.signature(store.save).parameters
    return "also" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
