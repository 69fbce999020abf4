"""Envelopes: how a dead letter passes the pipeline's own steps and sinks.

Every step and sink of a replay is wrapped: an envelope passes a step that its letter has passed already, and
reaches only the sinks that its letter is meant for. The alternative, an engine that can start a record in the
middle, would burden every batch of every run with what only a replay needs.
"""

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import Any

import attrs

from agora.deadletter import DLQRecord
from agora.middlewares.step import Step, StepKind
from agora.records import Record
from agora.runtime.failing import maybe_await
from agora.runtime.spec import SinkSpec

__all__ = ["Envelope", "ReplayedPart", "opened", "replayed", "wrapped", "wrapped_sink"]


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


def opened(record: Record) -> Record:
    return record.value if isinstance(record, Envelope) else record


def wrapped(step: Step, number: int) -> Step:
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


def wrapped_sink(sink: SinkSpec, sinks: Sequence[SinkSpec]) -> SinkSpec:
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
