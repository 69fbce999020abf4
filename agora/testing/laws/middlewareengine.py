"""Runs of a middleware through the real engine, watched."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import attrs
import trio

from agora.backpressure import Backpressure
from agora.bound import BoundPipeline
from agora.deadletter import DLQRecord
from agora.middlewares.chain import MiddlewareChain
from agora.middlewares.step import Step
from agora.pipeline import Pipeline
from agora.records import Json, Record
from agora.runtime.failing import leaf
from agora.testing.laws.middlewarecase import MiddlewareCase
from agora.testing.laws.outcomes import Outcome, failure_of, failure_text, text_of
from agora.testing.laws.stepping import Stepper

__all__ = ["Engine", "Hooks", "columns_of"]

_PAUSE = 1.0
_LINGER = 0.1
_HOOKS = ("on_start", "on_end", "finish", "on_error")


class InjectedError(Exception):
    """What a law's case lets a neighbour of the part fail with."""


@attrs.define(eq=False)
class Hooks:
    """A part as the engine sees it, its hooks watched."""

    part: Any
    stepper: Stepper
    started: int = 0
    ended: int = 0
    end_errors: list[str] = attrs.field(factory=list)
    """What `on_end` raised."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.part, name)
        if name not in _HOOKS or not callable(found):
            return found
        watched = self.stepper.wrap(found, name)
        if name == "on_start":
            return lambda context: self._start(watched, context)
        if name == "on_end":
            return lambda: self._end(watched)
        return watched

    async def _start(self, on_start: Callable[[Any], Any], context: Any) -> None:
        result = on_start(context)
        if result is not None:
            await result
        self.started += 1

    async def _end(self, on_end: Callable[[], Any]) -> None:
        self.ended += 1
        try:
            result = on_end()
            if result is not None:
                await result
        except Exception as error:
            self.end_errors.append(failure_of(error))
            raise


@attrs.define(eq=False)
class _Source:
    """The case's records, with a pause wherever a batch is to end."""

    case: MiddlewareCase
    pause: Callable[[], Any]
    given: list[Record]
    supports_checkpoint: bool = False
    _at: int = 0

    def identity(self) -> Json:
        return "laws"

    def checkpoint(self) -> Json:
        return self._at

    async def prepare_resume(self, position: Any) -> None:
        self._at = position or 0

    async def stream(self) -> AsyncGenerator[Record]:
        records = self.case.fresh()
        self.given[:] = records
        while self._at < len(records):
            if self._at in self.case.borders:
                await self.pause()
            self._at += 1
            yield records[self._at - 1]
        if self.case.ending == "source":
            raise InjectedError("the source fails")


async def _pause() -> None:
    await trio.sleep(_PAUSE)


@attrs.define(eq=False)
class _Columns:
    """The case's records as RecordBatches."""

    pieces: Sequence[Any]

    async def batches(self) -> AsyncGenerator[Any]:
        for piece in self.pieces:
            yield piece


@attrs.define(eq=False)
class _Sink:
    """Keeps what comes, as code."""

    fails: bool = False
    delivered: list[str] = attrs.field(factory=list)

    async def write(self, records: Sequence[Record]) -> None:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise InjectedError("the sink fails")
        self.delivered += [text_of(record) for record in records]


@attrs.define(eq=False)
class _Letters:
    """Keeps what failed, as text."""

    failures: list[str] = attrs.field(factory=list)

    async def write(self, records: Sequence[DLQRecord]) -> None:
        await trio.lowlevel.checkpoint()
        self.failures += [failure_text(letter.error_type, letter.error_message) for letter in records]


@attrs.define(eq=False)
class _Unstartable:
    """A step behind the part that doesn't start."""

    def on_start(self, context: object) -> None:
        raise InjectedError("the next step doesn't start")

    def process(self, record: Record) -> Record:
        return record


@attrs.frozen(kw_only=True, eq=False)
class Engine:
    """One part in the engine; each `run` is a run of that very part."""

    step: Step
    case: MiddlewareCase
    stepper: Stepper = attrs.field(factory=Stepper)
    store: Any = None
    pieces: Sequence[Any] | None = None
    """The records in columns, where it is those that are sent."""
    given: list[Record] = attrs.field(factory=list)
    """The records themselves, as they were sent."""
    hooks: Hooks = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "hooks", Hooks(self.step.part, self.stepper))

    async def run(self, *, most: int | None = None) -> Outcome:
        """Run; what ends it is part of the outcome, the case's cancellation too. `most` records at most."""
        sink, letters = _Sink(self.case.ending == "sink"), _Letters()
        ended = None
        async with trio.open_nursery() as watching:
            watching.start_soon(self.stepper.watch)
            with self.stepper.scope:
                try:
                    await self._bound(sink, letters).run(max_records=most)
                except Exception as error:  # noqa: BLE001  - it is what came of the run
                    ended = failure_of(leaf(error))
                    if ended in self.hooks.end_errors:
                        ended = None  # that has a law of its own
            watching.cancel_scope.cancel()
        return Outcome(tuple(sink.delivered), tuple(letters.failures), ended)

    def _bound(self, sink: _Sink, letters: _Letters) -> BoundPipeline[Any]:
        case = self.case
        source: Any = _Source(
            case,
            self.stepper.wrap(_pause, "the source"),
            self.given,
            supports_checkpoint=self.store is not None,
        )
        if self.pieces is not None:
            source = _Columns(self.pieces)
        pipeline = Pipeline(source, name="laws").to(sink, name="sink")
        stops = case.ending == "record"
        bound = pipeline.build(
            checkpoint_store=self.store,
            checkpoint_every=None if self.store is None else 2,
            dlq=None if stops else letters,
            backpressure=None if case.in_flight is None else Backpressure.fixed(case.in_flight),
            batch_size=case.batch_size,
            linger=_LINGER,
        )
        return BoundPipeline(attrs.evolve(bound.spec, chain=MiddlewareChain(self._steps())))

    def _steps(self) -> list[Step | object]:
        call = self.stepper.wrap(self.step.call, self.step.kind.value)
        part = None if self.step.part is None else self.hooks
        watched = attrs.evolve(self.step, call=call, part=part)
        return [watched, _Unstartable()] if self.case.ending == "next" else [watched]


def columns_of(case: MiddlewareCase) -> list[Any] | None:
    """The case's records as RecordBatches that end at its borders, or earlier where they aren't of one shape; `None`
    where a record can't be had in columns as it is."""
    import pyarrow as pa  # noqa: PLC0415  - only for parts that take columns

    records, pieces, start = case.fresh(), [], 0
    for stop in (*[border for border in case.borders if border < len(records)], len(records)):
        while start < stop:
            end = stop
            while (piece := _piece(pa, records[start:end])) is None:
                end -= 1
                if end == start:
                    return None
            pieces.append(piece)
            start = end
    return pieces


def _piece(pa: Any, records: Sequence[Record]) -> Any:
    if not records or not all(type(record) is dict for record in records):
        return None
    try:
        piece = pa.RecordBatch.from_pylist(records)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return (
        piece
        if [text_of(each) for each in piece.to_pylist()] == [text_of(each) for each in records]
        else None
    )
