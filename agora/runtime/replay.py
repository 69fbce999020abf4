"""Replay: dead letters through the very engine that made them, each from its own entry.

A replay is a run of a derived pipeline whose source is the letters, under the name, lease and barrier of the
pipeline itself; so a letter is removed by the very transaction that saves its delivery. `addressing` tells where
a letter enters, `envelopes` how it passes steps and sinks.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

import attrs

from agora import seam
from agora.deadletter import DLQRecord, Entry, letter_id
from agora.middlewares.chain import MiddlewareChain
from agora.records import Json, Malformed
from agora.runtime.addressing import Addressing, LetterFilter
from agora.runtime.batch import Batch, Failure
from agora.runtime.envelopes import Envelope, opened, replayed, wrapped, wrapped_sink
from agora.runtime.letters import qualified_name, said
from agora.runtime.spec import PipelineSpec
from agora.state.base import Change

__all__ = ["Replay"]


@attrs.define(kw_only=True, eq=False)
class Replay:
    """One replay: the letters' source, their derived pipeline, and what becomes of each letter."""

    spec: PipelineSpec
    """The pipeline whose letters these are."""
    filter: LetterFilter
    _given: list[str] = attrs.field(factory=list)
    """Ids of the letters that were read and not yet removed, in order; the first `_handled` are handled."""
    _handled: int = 0
    _again: list[DLQRecord] = attrs.field(factory=list)
    """Letters that failed again, not yet saved."""
    _failures: Counter[str] = attrs.field(factory=Counter)
    """How often each letter of the batch at hand has failed so far."""
    _made: set[str] = attrs.field(factory=set)
    """Ids of the letters that this replay made beside those it read; it doesn't read them."""

    def derived(self) -> PipelineSpec:
        """The pipeline that carries out the replay."""
        return attrs.evolve(
            self.spec,
            source=_LetterSource(self),
            source_policy="dead_letter",
            max_dead_letters=None,
            chain=MiddlewareChain(wrapped(step, number) for number, step in enumerate(self.spec.chain.steps)),
            sinks=[wrapped_sink(sink, self.spec.sinks) for sink in self.spec.sinks],
        )

    def unwrapped(self, parts: Iterable[object]) -> list[object]:
        """The pipeline's own parts, of those of the derived one."""
        return [replayed(part) for part in parts]

    # Letters of the run: see `agora.runtime.letters.Letters`.

    @property
    def in_transaction(self) -> bool:
        """Whether the barrier removes what was delivered."""
        return self.spec.letters_in_transaction

    async def put(self, letters: Sequence[DLQRecord]) -> None:
        """Keep letters that failed again, until what was delivered is removed too."""
        self._again += letters

    def passed(self, count: int) -> None:
        """`count` more letters are handled."""
        self._handled += count
        self._failures.clear()

    def changes(self) -> list[Change]:
        """Delivered letters go, those that failed again are replaced."""
        return [*self.spec.dlq.removals(self._given[: self._handled]), *self.spec.dlq.changes(self._again)]

    def saved(self) -> None:
        """The transaction is through."""
        del self._given[: self._handled]
        self._handled = 0
        self._again.clear()

    async def settle(self) -> None:
        """Where no barrier does it: write what failed again, then delete what was delivered."""
        if self.in_transaction:
            return
        if self._again:
            await self.spec.dlq.write(self._again)
        failed = {letter.id for letter in self._again}
        delivered = [each for each in self._given[: self._handled] if each not in failed]
        if delivered:
            await self.spec.dlq.delete(delivered)
        self.saved()

    def letter(self, batch: Batch, failure: Failure) -> DLQRecord:
        """The letter again, with what went wrong now."""
        envelope: Envelope = (
            failure.original if failure.stage == "source" else batch.origin.original(failure.offset)
        )
        letter = envelope.letter
        entry = letter.entry
        if isinstance(failure.entry, Entry):
            reached = failure.entry.step
            if reached is None or Addressing(self.spec).number(reached) >= envelope.start:
                entry = attrs.evolve(failure.entry, record=opened(failure.entry.record))
        return attrs.evolve(
            letter,
            id=self._id(letter, failure.stage),
            stage=failure.stage,
            error_type=qualified_name(type(failure.error)),
            error_message=said(failure.error),
            processed=opened(failure.processed),
            entry=entry,
            attempts=letter.attempts + 1,
            failed_at=seam.current().now(),
        )

    # Inside.

    def _id(self, letter: DLQRecord, stage: str) -> str:
        """The letter's own id for its first failure; one for each further failure (of other children, or at other
        sinks) that is equal when this replay is repeated, and new in every later one."""
        nth = self._failures[letter.id]
        self._failures[letter.id] += 1
        if nth == 0:
            return letter.id
        place = letter.checkpoint if isinstance(letter.checkpoint, dict) else {}
        ordinal = place.get("ordinal")
        made = letter_id(
            pipeline=letter.pipeline,
            run_id=f"{letter.id} {letter.attempts}",
            ordinal=ordinal if isinstance(ordinal, int) and ordinal >= 0 else 0,
            stage=stage,
            nth=nth,
        )
        self._made.add(made)
        return made

    async def envelopes(self) -> AsyncGenerator[Envelope | Malformed]:
        """The letters that can be replayed, in order."""
        left, addressing = self.filter.limit, Addressing(self.spec)
        if left is not None and left <= 0:
            return
        async with aclosing(self.spec.dlq.read(self.spec.name, **self.filter.arguments)) as letters:
            async for letter in letters:
                if not letter.replayable or letter.id in self._made:
                    continue
                self._given.append(letter.id)
                yield addressing.of(letter)
                if left is not None:
                    left -= 1
                    if left == 0:
                        return


@attrs.frozen(eq=False)
class _LetterSource:
    """The letters as the source of a run; the run keeps its pipeline's own place."""

    replay: Replay

    @property
    def supports_checkpoint(self) -> bool:
        return bool(getattr(self.replay.spec.source, "supports_checkpoint", False))

    def checkpoint(self) -> Json:
        return None

    def stream(self) -> AsyncGenerator[Envelope | Malformed]:
        return self.replay.envelopes()
