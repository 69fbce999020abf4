"""A middleware outside of any run: the reference semantics, record by record, that the engine is compared with."""

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import attrs

from agora.context import RunContext
from agora.middlewares.chain import MiddlewareChain
from agora.middlewares.step import Step
from agora.records import Json, Record
from agora.runtime.failing import leaf, maybe_await
from agora.testing.laws.outcomes import Settled, failure_of, text_of
from agora.tracing.noop import NoopTracer

__all__ = ["Reference", "settle"]


@attrs.define(eq=False)
class Reference:
    """A part outside of any run: started, given records one by one, ended."""

    step: Step
    process: Callable[[Record], Any] | None = None
    """How a record passes it; `None`: `MiddlewareChain.process`."""
    state: dict[str, Json] = attrs.field(factory=dict)

    async def run(self, records: Iterable[Record], *, finish: bool = True) -> tuple[list[Settled], list[str]]:
        """What becomes of each record, and what the part gives when no more come."""
        part = self.step.part
        async with AsyncExitStack() as life:
            context = _context(self.state)
            if callable(getattr(part, "lifespan", None)):
                await life.enter_async_context(part.lifespan(context))  # type: ignore[attr-defined]
            for opening, closing in (("open", "close"), ("on_start", "on_end")):
                if callable(hook := getattr(part, opening, None)):
                    await maybe_await(hook(context))
                if callable(hook := getattr(part, closing, None)):
                    life.push_async_callback(_ended, hook)
            settled = [await settle(self.step, record, self.process) for record in records]
            return settled, await self._finished() if finish else []

    async def _finished(self) -> list[str]:
        hook = getattr(self.step.part, "finish", None)
        if not callable(hook):
            return []
        held: Any = await maybe_await(hook())
        return [text_of(record) for record in held or () if record is not None]


async def settle(step: Step, record: Record, process: Callable[[Record], Any] | None = None) -> Settled:
    """Pass one record through the reference chain."""
    drawn: list[str] = []
    if process is None:
        process = MiddlewareChain((_noting(step, drawn),)).process
    try:
        result: Any = await process(record)
    except Exception as error:  # noqa: BLE001  - it is what became of the record
        return Settled(tuple(drawn), failure_of(leaf(error)))
    children = result if step.multiplies else [] if result is None else [result]
    return Settled(tuple(text_of(child) for child in children))


def _noting(step: Step, drawn: list[str]) -> Step:
    """The step; where it multiplies, `drawn` gets what was drawn of its children: that has been passed on, should the
    next one fail."""
    if not step.multiplies or step.is_async:
        return step
    call = step.call
    return attrs.evolve(step, call=lambda record: _noted(call(record), drawn))


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
