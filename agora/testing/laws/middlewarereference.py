"""A middleware outside of any run: the reference semantics, record by record, that the engine is compared with."""

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import attrs

from agora.context import RunContext
from agora.copying import keep
from agora.middlewares.chain import MiddlewareChain
from agora.middlewares.step import Step, StepKind
from agora.records import Json, Record
from agora.runtime.failing import leaf, maybe_await
from agora.testing.laws.outcomes import Settled, failure_of, text_of
from agora.tracing.noop import NoopTracer

__all__ = ["Reference", "started", "undoing"]


@attrs.define(eq=False)
class Reference:
    """A part outside of any run: started, given records one by one, ended."""

    step: Step
    between: bool = False
    """Whether it stands in the middle of a chain and `process_range` is asked; else alone, and `process`."""
    state: dict[str, Json] = attrs.field(factory=dict)

    async def run(self, records: Iterable[Record], *, finish: bool = True) -> tuple[list[Settled], list[str]]:
        """What becomes of each record, and what the part gives when no more come."""
        async with started(self.step, self.state):
            settled = [await self._settle(record) for record in records]
            return settled, await self._finished() if finish else []

    async def _settle(self, record: Record) -> Settled:
        """Pass one record through the reference chain."""
        drawn: list[str] = []
        step = undoing(_noting(self.step, drawn), self.state)
        try:
            result: Any = await self._process(step, record)
        except Exception as error:  # noqa: BLE001  - it is what became of the record
            return Settled(tuple(drawn), failure_of(leaf(error)))
        children = result if step.multiplies else [] if result is None else [result]
        return Settled(tuple(text_of(child) for child in children))

    async def _process(self, step: Step, record: Record) -> Any:
        if self.between:
            return await MiddlewareChain((_same, step, _same)).process_range(1, 2, record)
        return await MiddlewareChain((step,)).process(record)

    async def _finished(self) -> list[str]:
        hook = getattr(self.step.part, "finish", None)
        if not callable(hook):
            return []
        held: Any = await maybe_await(hook())
        return [text_of(record) for record in held or () if record is not None]


@asynccontextmanager
async def started(step: Step, state: dict[str, Json]) -> AsyncGenerator[None]:
    """In the block the step's part is started, as in a run that keeps this state."""
    part = step.part
    async with AsyncExitStack() as life:
        context = _context(state)
        if callable(getattr(part, "lifespan", None)):
            await life.enter_async_context(part.lifespan(context))  # type: ignore[attr-defined]  # it was asked for
        for opening, closing in (("open", "close"), ("on_start", "on_end")):
            if callable(hook := getattr(part, opening, None)):
                await maybe_await(hook(context))
            if callable(hook := getattr(part, closing, None)):
                life.push_async_callback(_ended, hook)
        yield


def _noting(step: Step, drawn: list[str]) -> Step:
    """The step; where it multiplies, `drawn` gets what was drawn of its children: that has been passed on, should the
    next one fail."""
    if not step.multiplies or step.is_async:
        return step
    call = step.call
    return attrs.evolve(step, call=lambda record: _noted(call(record), drawn))


def undoing(step: Step, state: dict[str, Json]) -> Step:
    """The step; where it takes batches, `context.state` is what it was before a call that raised, as in a run."""
    if step.kind is not StepKind.BATCH:
        return step
    call = step.call

    async def call_undoing(records: list[Record]) -> Any:
        before = keep(state)
        try:
            return await maybe_await(call(records))
        except Exception:
            state.clear()
            state.update(before)
            raise

    return attrs.evolve(step, call=call_undoing, is_async=True)


def _noted(children: Any, drawn: list[str]) -> Any:
    if isinstance(children, AsyncIterable):
        return _noted_async(children, drawn)
    return _noted_plain(children, drawn)


def _noted_plain(children: Iterable[Record], drawn: list[str]) -> Iterator[Record]:
    for child in children:
        if child is not None:
            drawn.append(text_of(child))
        yield child


async def _noted_async(children: AsyncIterable[Record], drawn: list[str]) -> AsyncGenerator[Record]:
    async for child in children:
        if child is not None:
            drawn.append(text_of(child))
        yield child


def _same(record: Record) -> Record:
    return record


async def _ended(hook: Callable[[], object]) -> None:
    with suppress(Exception):  # it has a law of its own
        await maybe_await(hook())


def _context(state: dict[str, Json]) -> RunContext:
    return RunContext(
        pipeline="laws",
        run_id="laws",
        stage="middleware:part",
        resumed_from=None,
        fence=0,
        state=state,
        logger=logging.LoggerAdapter(logging.getLogger("agora.laws"), {}),
        span=lambda name, attributes: NoopTracer().span(name, attributes=attributes),
        count=lambda name, n: None,
    )
