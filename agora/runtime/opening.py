"""Opening a run, in the order that the design promises: lease, load, sinks and DLQ, source, middlewares.

So a commit that an earlier run didn't finish is completed before the source can be refused.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import attrs

from agora import seam
from agora.checkpoint import Checkpoint
from agora.context import RunContext
from agora.errors import AgoraError, ConfigError, SinkChanged, StateError
from agora.middlewares.step import Step
from agora.records import Json
from agora.runtime.absent import RESTARTED_BY, STARTING_OVER, gone, missing_sinks
from agora.runtime.counting import StageCount
from agora.runtime.delivery import SinkPort
from agora.runtime.failing import maybe_await
from agora.runtime.parts import OpenParts
from agora.runtime.spec import PipelineSpec
from agora.runtime.states import StepStates
from agora.runtime.stepstate import UnusableState
from agora.state.base import Change
from agora.tracing.base import Span

if TYPE_CHECKING:
    from agora.state.lease import Lease

__all__ = ["Opening", "Start", "check_paths"]

_log = logging.getLogger("agora")
_NO_STATE = UnusableState("only a middleware has context.state")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Start:
    """Where a run starts."""

    resumed_from: Checkpoint | None
    lease: "Lease | None"
    identity: Json
    position: Json
    ordinal: int
    skip: int
    kept: Checkpoint | None = None
    """The checkpoint whose place a replay keeps."""
    restarted_by: str = ""
    """Id of the run that last started the pipeline over; empty where none did."""

    @property
    def fence(self) -> int:
        return 0 if self.lease is None else self.lease.fence


@attrs.define(kw_only=True, eq=False, repr=False)
class Opening:
    """Opens the parts of one run. What it opened is left by `parts.close()`, however far it got."""

    spec: PipelineSpec
    run_id: str
    parts: OpenParts
    ports: Sequence[SinkPort]
    """The sinks, and the DLQ where it takes part as a sink of its own."""
    counts: Mapping[str, StageCount]
    states: StepStates
    keep: "Callable[[Lease], None]"
    """Has the lease renewed from now on: opening may take longer than it holds, where a large state is loaded."""
    restart: bool
    allow_source_change: bool
    replay: bool = False
    """A replay reads letters in place of the source: it keeps the source's place and never opens it."""
    _lease: "Lease | None" = None
    looked: bool = False
    """Whether it is known what was checkpointed."""
    _loaded: Checkpoint | None = None
    _restarted_by: str = ""
    _genesis: dict[str, Json] = attrs.field(factory=dict)
    """The base tokens that were saved."""
    _cut_off: bool = False
    """Whether this run completes a restart that another one began."""
    _forgotten: bool = False
    """Whether it is saved that the checkpoint counts no more: from there on the next run starts over, too."""
    _opened: bool = False
    _missing: frozenset[str] = frozenset()
    """Sinks that have a token and aren't in the pipeline: from here on nothing is known of them."""

    async def run(self) -> Start:
        """Open everything; any error leaves the rest unopened."""
        if self.spec.checkpointing:
            await self._take_lease()
        elif self.spec.checkpoint_store is not None:
            _log.warning(
                "pipeline %r: its source (%s) doesn't support checkpoints, so the checkpoint store is not "
                "used: a new run starts from the beginning",
                self.spec.name,
                type(self.spec.source).__name__,
            )
        await self._open_sinks()
        start = self._keep_place() if self.replay else await self._open_source()
        await self._start_steps()
        self._opened = True
        return start

    @property
    def _fence(self) -> int:
        return 0 if self._lease is None else self._lease.fence

    @property
    def resumes_from(self) -> Checkpoint | None:
        """The checkpoint behind which this run goes on."""
        return None if self.restart else self._loaded

    @property
    def left_to_the_next(self) -> Checkpoint | None:
        """The checkpoint behind which the next run goes on, should this one break off here."""
        return None if self._forgotten else self._loaded

    async def _take_lease(self) -> None:
        store = self.spec.checkpoint_store
        state = getattr(store, "state", None)
        if state is not None:
            from agora.state.lease import acquire  # noqa: PLC0415  - a run without state has none

            await state.open()
            self.parts.push("the state backend", state.close)
            self._lease = await acquire(state, self.spec.name, self.run_id, sinks=self._transactional)
            self.parts.push("the lease", self._release)
            self.keep(self._lease)
        try:
            self._loaded, self.looked = await store.load(self.spec.name), True
        except StateError as error:
            if not self.restart:
                raise
            # What is to be forgotten needn't be read; each sink goes back by its base token, or refuses.
            _log.warning("pipeline %r is started over without its checkpoint: %s", self.spec.name, error)

    async def _release(self) -> None:
        """Give the lease back when the sinks are closed; the next run may not have them any more, so it is told which
        of them may hold what isn't committed."""
        lease = self._lease
        assert lease is not None
        unsettled = lease.inherited
        if self._opened:
            open_ends = {port.name for port in self.ports if port.prepared or self.parts.errors}
            unsettled = (unsettled - self._transactional) | (open_ends & self._transactional)
        lease.settle(unsettled)
        await lease.release()

    # Sinks.

    @property
    def _transactional(self) -> frozenset[str]:
        return frozenset(port.name for port in self.ports if hasattr(port.sink, "prepare"))

    async def _open_sinks(self) -> None:
        known = await self._known_tokens() if self.spec.checkpointing else {}
        for port in self.ports:
            await self.parts.enter(port.sink, self._context(port.stage, port.count))
        if not self.spec.checkpointing:
            return
        if self.restart:
            await self._undo_all(known)
        else:
            for port in self.ports:
                if known.get(port.name) is not None and hasattr(port.sink, "recover"):
                    # Frozen until now, it would cut off what a later one has committed.
                    if self._lease is not None:
                        await self._lease.check()
                    await maybe_await(port.sink.recover(known[port.name]))
        await self._save_genesis(known)

    async def _undo_all(self, known: Mapping[str, Json]) -> None:
        """Take every sink back to before the first run. What is about to be undone is saved first: cut off in the
        middle, a target that is gone already must not be taken for one that was moved away."""
        begin, fence = getattr(self.spec.checkpoint_store, "begin", None), self._fence
        if begin is not None and not self._cut_off:
            intent: dict[str, Json] = {STARTING_OVER: dict(known)}
            await begin(self.spec.name, {**self._genesis, **intent}, fence, afresh=False)
        self._forgotten = begin is not None
        undone = self._cut_off
        try:
            for port in self.ports:
                if known.get(port.name) is not None:
                    await _undo(port, known[port.name])
                    undone = True
        except SinkChanged:
            if begin is not None and not undone:  # refused as a whole: everything is as it was
                await begin(self.spec.name, self._genesis, fence, afresh=False)
                self._forgotten = False
            raise

    async def _known_tokens(self) -> dict[str, Json]:
        """The last saved token of each sink, the base token where that is all. `SinkChanged`: one that may hold what
        isn't committed isn't here to be recovered."""
        store = self.spec.checkpoint_store
        self._genesis = dict(await store.genesis(self.spec.name)) if hasattr(store, "genesis") else {}
        known = self._tokens_of_restart()
        if known is None:
            known = {**self._genesis, **({} if self._loaded is None else self._loaded.sinks)}
        self._missing = missing_sinks(known, [port.name for port in self.ports])
        open_ends = [] if self._lease is None else sorted(self._missing & self._lease.inherited)
        if self.restart:
            for name in sorted(self._missing):
                _log.warning("pipeline %r: %s: what it wrote stays where it is", self.spec.name, gone([name]))
        elif open_ends:
            raise SinkChanged(
                f"pipeline {self.spec.name!r}: {gone(open_ends)}, and its last run didn't end in order, so "
                "what was written there may be neither whole nor committed. Run once with it as it was (max_records=0, "
                "--max-records 0, is enough), then without it; or start over with restart=True (--restart)"
            )
        return {name: token for name, token in known.items() if name not in self._missing}

    def _tokens_of_restart(self) -> dict[str, Json] | None:
        """What a restart that was cut off had to undo; this run then completes it."""
        tokens = self._genesis.pop(STARTING_OVER, None)
        if not isinstance(tokens, dict):
            return None
        if self.replay:
            raise AgoraError(
                f"pipeline {self.spec.name!r} was being started over when its last run was cut off, so a replay has no "
                "place to keep: run it first"
            )
        if not self.restart:
            _log.warning(
                "pipeline %r was being started over when its last run was cut off: this run completes that",
                self.spec.name,
            )
        self.restart = self._cut_off = True
        return tokens

    async def _save_genesis(self, known: Mapping[str, Json]) -> None:
        """Step 0 of the barrier: save the base token of each sink that has none, before anything is
        written."""
        fresh = [port for port in self.ports if self.restart or port.name not in known]
        tokens: dict[str, Any] = {
            port.name: await maybe_await(port.sink.prepare())
            for port in fresh
            if hasattr(port.sink, "prepare")
        }
        instead = None
        if self._loaded is not None and not self.restart:
            if self._missing:
                kept_sinks = {name: t for name, t in self._loaded.sinks.items() if name not in self._missing}
                instead = self._loaded = attrs.evolve(self._loaded, sinks=kept_sinks)
            for name in tokens:
                _log.info("pipeline %r: sink %r is new; it starts at the checkpoint", self.spec.name, name)
        begin = getattr(self.spec.checkpoint_store, "begin", None)
        if begin is not None and (tokens or self.restart or self._missing):
            kept = {RESTARTED_BY: self.run_id} if self.restart else known
            letters = await self._letters_undone()
            also: dict[str, Any] = {"also": letters} if letters else {}
            if instead is not None:
                also["instead"] = instead
            await begin(self.spec.name, {**kept, **tokens}, self._fence, afresh=self.restart, **also)
            known = kept
        self._restarted_by = str(known.get(RESTARTED_BY, ""))

    async def _letters_undone(self) -> Sequence[Change]:
        """Removals of the letters of what a restart undoes: their records come again."""
        removals_of = getattr(self.spec.dlq, "removals_of", None)
        if not self.restart or removals_of is None or not self.spec.letters_in_transaction:
            return []
        removals: Sequence[Change] = await removals_of(self.spec.name)
        return removals

    # Source.

    async def _open_source(self) -> Start:
        source, resumed = self.spec.source, self.resumes_from
        if hasattr(source, "allow_change"):
            source.allow_change = self.allow_source_change
        await self.parts.enter(source, self._context("source", self.counts["source"]))
        if not self.spec.checkpointing:
            if getattr(source, "supports_checkpoint", False) and hasattr(source, "prepare_resume"):
                await source.prepare_resume(None)
            return self._start(None, None)
        identity = source.identity() if hasattr(source, "identity") else None
        if resumed is not None and not self.allow_source_change:
            from agora.runtime.identity import check_identity  # noqa: PLC0415  - only a run that resumes compares

            check_identity(self.spec.name, resumed, identity)
        position = None if resumed is None else resumed.position
        if hasattr(source, "prepare_resume"):
            await source.prepare_resume(position)
        if resumed is not None and hasattr(source, "committed"):
            await maybe_await(source.committed(position))
        return self._start(identity, position)

    def _keep_place(self) -> Start:
        kept = self._loaded
        if self.spec.checkpointing and kept is None:
            raise AgoraError(
                f"pipeline {self.spec.name!r} has saved no checkpoint yet, so a replay has no place to keep: "
                "run it first"
            )
        return Start(
            resumed_from=kept, lease=self._lease, identity=None, position=None, ordinal=0, skip=0, kept=kept
        )

    def _start(self, identity: Json, position: Json) -> Start:
        resumed = self.resumes_from
        return Start(
            resumed_from=resumed,
            lease=self._lease,
            identity=identity,
            position=position,
            ordinal=0 if resumed is None else resumed.ordinal,
            skip=0 if resumed is None else resumed.skip,
            restarted_by=self._restarted_by,
        )

    # Steps.

    async def _start_steps(self) -> None:
        saved = {} if self.resumes_from is None else self.resumes_from.states
        for step in self.spec.chain.steps:
            if step.part is None:
                continue
            await self.states.load(step, saved)
            context = self._context(step.stage, self.counts[step.stage], step)
            await self.parts.enter(step.part, context)
            await self._start_step(step, context)
        self.states.forget_others(saved)
        for name in sorted(saved.keys() - {step.name for step in self.spec.chain.steps}):
            _log.warning(
                "pipeline %r: the checkpoint holds state of a step %r, which isn't in the pipeline any more: it goes "
                "with the next checkpoint. If the step was renamed, stop and give it its old name= back",
                self.spec.name,
                name,
            )
        for step in self.spec.chain.steps:  # a replay goes on with what the run that made the letters left
            self.states.restore(step, saved, afresh=not self.replay)

    async def _start_step(self, step: Step, context: RunContext) -> None:
        on_start, on_end = getattr(step.part, "on_start", None), getattr(step.part, "on_end", None)
        if callable(on_start):
            await maybe_await(on_start(context))
        if callable(on_end):
            self.parts.push(
                f"{step.stage} ({type(step.part).__name__}.on_end)", lambda: maybe_await(on_end())
            )

    def _context(self, stage: str, count: StageCount, step: Step | None = None) -> RunContext:
        logger = logging.LoggerAdapter(
            logging.getLogger(f"agora.{self.spec.name}"),
            {"pipeline": self.spec.name, "run_id": self.run_id, "stage": stage},
        )

        def span(name: str, attributes: dict[str, Json]) -> AbstractContextManager[Span]:
            return self.spec.tracer.span(name, attributes=attributes)

        def add(name: str, n: int) -> None:
            count.counts[name] += n

        return RunContext(
            pipeline=self.spec.name,
            run_id=self.run_id,
            stage=stage,
            resumed_from=self.resumes_from,
            fence=self._fence,
            transactional=self.spec.checkpointing,
            takeover=self._lease is not None and self._lease.takeover,
            replay=self.replay,
            state=_NO_STATE if step is None else self.states.mapping(step),
            logger=logger,
            span=span,
            count=add,
        )


async def _undo(port: SinkPort, token: Json) -> None:
    """Take one sink back to before the first run. `SinkChanged` where that can't be."""
    if not hasattr(port.sink, "recover"):
        return
    restart = getattr(port.sink, "restart", None)
    if restart is None:
        raise SinkChanged(
            f"sink {port.name!r} ({type(port.sink).__name__}) can't be started over: it can't tell its own "
            "records from others; empty its target by hand and reset the checkpoint (agora checkpoint reset)"
        )
    await maybe_await(restart(token))


def check_paths(spec: PipelineSpec) -> None:
    """Refuse two sinks on one real path, and a sink inside what the source reads."""
    owners: dict[Any, str] = {}
    covers = getattr(spec.source, "covers", None)
    for sink in spec.sinks:
        paths = getattr(sink.sink, "paths", None)
        for path in paths() if callable(paths) else ():
            real = seam.current().files.real(path)
            if real in owners:
                raise ConfigError(f"sinks {owners[real]!r} and {sink.name!r} both write {path}")
            owners[real] = sink.name
            if callable(covers) and covers(path):
                raise ConfigError(f"sink {sink.name!r} would write {path}, which the source reads")
