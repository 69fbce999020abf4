"""Replay: dead letters through the very engine that made them, each from its own entry.

A replay is a run of a derived pipeline: the letters are its source, every step and sink is wrapped so that a
letter passes only what it hasn't passed yet. The alternative, an engine that can start a record in the
middle, would burden every batch of every run with what only a replay needs.
"""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import attrs

from agora import seam
from agora.deadletter import DLQRecord, Entry, letter_id
from agora.errors import ConfigError
from agora.middlewares.chain import MiddlewareChain
from agora.middlewares.step import Step, StepKind
from agora.records import Json, Malformed, Record
from agora.runtime.batch import Batch, Failure
from agora.runtime.failing import maybe_await
from agora.runtime.letters import qualified_name, said
from agora.runtime.spec import PipelineSpec, SinkSpec
from agora.state.base import Change

__all__ = ["LetterFilter", "Replay", "replayed"]


@attrs.frozen(kw_only=True)
class LetterFilter:
    """Which letters are replayed."""

    arguments: Mapping[str, Any]
    """What the queue's `read` takes."""
    limit: int | None = None
    """How many at most. Not left to the queue, which would count those that can't be replayed."""


@attrs.frozen
class Envelope:
    """A letter on its way through the chain."""

    letter: DLQRecord
    value: Record
    start: int
    """Number of the first step that it passes."""
    sink: str | None
    """The only sink that it goes to; `None`: where the pipeline's routing says."""
    unrouted: bool = False
    """Whether the `where` of `sink` is asked first; what it doesn't want is for those with `otherwise` behind it."""
    claims: list[str] = attrs.field(factory=list, init=False, eq=False)
    """Sinks whose `where` wanted it, or failed."""

    def holding(self, value: Record) -> "Envelope":
        return attrs.evolve(self, value=value)


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
            chain=MiddlewareChain(
                _wrapped(step, number) for number, step in enumerate(self.spec.chain.steps)
            ),
            sinks=[_wrapped_sink(sink, self.spec.sinks) for sink in self.spec.sinks],
        )

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
            if reached is None or self._number(reached) >= envelope.start:
                entry = attrs.evolve(failure.entry, record=_opened(failure.entry.record))
        return attrs.evolve(
            letter,
            id=self._id(letter, failure.stage),
            stage=failure.stage,
            error_type=qualified_name(type(failure.error)),
            error_message=said(failure.error),
            processed=_opened(failure.processed),
            entry=entry,
            attempts=letter.attempts + 1,
            failed_at=seam.current().now(),
        )

    # Inside.

    def _number(self, name: str) -> int:
        names = [step.name for step in self.spec.chain.steps]
        return names.index(name) if name in names else len(names)

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
        left = self.filter.limit
        if left is not None and left <= 0:
            return
        async with aclosing(self.spec.dlq.read(self.spec.name, **self.filter.arguments)) as letters:
            async for letter in letters:
                if not letter.replayable or letter.id in self._made:
                    continue
                self._given.append(letter.id)
                yield self._addressed(letter)
                if left is not None:
                    left -= 1
                    if left == 0:
                        return

    def _addressed(self, letter: DLQRecord) -> Envelope | Malformed:
        if letter.stage.startswith("sink:"):
            return self._to_sink(letter, letter.stage.removeprefix("sink:"))
        if isinstance(letter.entry, Entry):
            return self._to_step(letter, letter.entry)
        convert = getattr(self.spec.source, "convert", None)
        if letter.stage != "source" or not callable(convert):
            return Envelope(letter, letter.original, 0, None)
        try:
            record = convert(letter.original)
        except Exception as error:  # noqa: BLE001  - the conversion failed again: so does the letter
            record = Malformed(letter.original, error)
        again = Envelope(letter, letter.original, 0, None)
        return (
            attrs.evolve(record, original=again) if isinstance(record, Malformed) else again.holding(record)
        )

    def _to_sink(self, letter: DLQRecord, name: str) -> Envelope | Malformed:
        if name not in {sink.name for sink in self.spec.sinks}:
            return self._unplaced(letter, f"the pipeline has no sink {name!r} anymore")
        end = len(self.spec.chain)
        if isinstance(letter.entry, Entry) and letter.entry.unrouted:
            return Envelope(letter, letter.entry.record, end, name, unrouted=True)
        return Envelope(letter, letter.processed, end, name)

    def _to_step(self, letter: DLQRecord, entry: Entry) -> Envelope | Malformed:
        end = len(self.spec.chain)
        start = end if entry.step is None else self._number(entry.step)
        if entry.step is not None and start == end:
            return self._unplaced(
                letter, f"the pipeline has no step {entry.step!r} anymore, where this letter enters"
            )
        return Envelope(letter, entry.record, start, None)

    def _unplaced(self, letter: DLQRecord, why: str) -> Malformed:
        return Malformed(Envelope(letter, None, 0, None), ConfigError(why))


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


@attrs.frozen(eq=False)
class ReplayedPart:
    """A part in a replay: everything of it, but records come in envelopes, and `finish` is not for
    letters."""

    inner: Any

    def __getattr__(self, name: str) -> Any:
        if name == "finish":
            raise AttributeError(name)
        return getattr(self.inner, name)

    async def on_error(self, record: Envelope, error: Exception) -> None:
        hook = getattr(self.inner, "on_error", None)
        if callable(hook):
            await maybe_await(hook(record.value, error))


def replayed(part: Any) -> Any:
    """The part itself, which a replay wraps."""
    return part.inner if isinstance(part, ReplayedPart | _ReplayedSink) else part


@attrs.frozen(eq=False)
class _ReplayedSink:
    """A sink in a replay: it gets what is in the envelopes."""

    inner: Any

    def __getattr__(self, name: str) -> Any:
        if name == "write_record":
            method = self.inner.write_record
            if method is None:
                return None

            async def write_record(envelope: Envelope) -> None:
                await method(envelope.value)

            return write_record
        return getattr(self.inner, name)

    async def write(self, records: Sequence[Envelope]) -> None:
        await self.inner.write([envelope.value for envelope in records])


def _opened(record: Record) -> Record:
    return record.value if isinstance(record, Envelope) else record


def _wrapped(step: Step, number: int) -> Step:
    wraps: dict[StepKind, Callable[[Step, int], Callable[[Any], Any]]] = {
        StepKind.MAP: _map,
        StepKind.FILTER: _filter,
        StepKind.EXPAND: _expand,
        StepKind.BATCH: _batch,
    }
    part = None if step.part is None else ReplayedPart(step.part)
    return attrs.evolve(step, call=wraps[step.kind](step, number), is_async=True, part=part)


def _map(step: Step, number: int) -> Callable[[Envelope], Any]:
    async def call(envelope: Envelope) -> Envelope | None:
        if envelope.start > number:
            return envelope
        value = await maybe_await(step.call(envelope.value))
        return None if value is None else envelope.holding(value)

    return call


def _filter(step: Step, number: int) -> Callable[[Envelope], Any]:
    async def call(envelope: Envelope) -> object:
        return envelope.start > number or await maybe_await(step.call(envelope.value))

    return call


def _expand(step: Step, number: int) -> Callable[[Envelope], Any]:
    async def call(envelope: Envelope) -> Iterable[Envelope] | AsyncIterable[Envelope]:
        if envelope.start > number:
            return [envelope]
        children: Any = await maybe_await(step.call(envelope.value))
        if isinstance(children, AsyncIterable):
            return (envelope.holding(child) async for child in children if child is not None)
        return (envelope.holding(child) for child in children if child is not None)

    return call


def _batch(step: Step, number: int) -> Callable[[Sequence[Envelope]], Any]:
    async def call(envelopes: Sequence[Envelope]) -> list[Envelope | None | Exception]:
        entering = [envelope for envelope in envelopes if envelope.start <= number]
        answer: Any = (
            await maybe_await(step.call([envelope.value for envelope in entering])) if entering else []
        )
        results = list(answer)
        if len(results) != len(entering):
            raise TypeError(
                f"step {step.name!r}: process_batch gave {len(results)} results for {len(entering)} records"
            )
        after = iter(results)
        return [
            envelope if envelope.start > number else _held(envelope, next(after)) for envelope in envelopes
        ]

    return call


def _held(envelope: Envelope, result: Record | None | Exception) -> Envelope | None | Exception:
    return result if result is None or isinstance(result, Exception) else envelope.holding(result)


def _wrapped_sink(sink: SinkSpec, sinks: Sequence[SinkSpec]) -> SinkSpec:
    """The sink with a `where` that knows which letters are its own. The sinks are asked in order, each about an
    envelope once."""
    before = {other.name for other in sinks[: sinks.index(sink)]}

    def wants(envelope: Envelope) -> object:
        own = envelope.sink is None or envelope.sink == sink.name
        if envelope.sink is not None and not envelope.unrouted:
            return own
        if sink.otherwise:
            return (own or envelope.sink in before) and not envelope.claims
        if sink.where is None:
            return own
        try:
            wanted = sink.where(envelope.value)
        except Exception:
            envelope.claims.append(sink.name)
            if own:
                raise
            return False  # it has a letter of its own for that
        if wanted:
            envelope.claims.append(sink.name)
        return own and wanted

    return attrs.evolve(sink, sink=_ReplayedSink(sink.sink), where=wants, otherwise=False)
