"""The reference semantics of a chain of steps, one record at a time.

The engine runs batches through generated loops and concurrent stages; what comes out must equal a fold of
`MiddlewareChain.process`. So this is written to be obviously right, not fast, and the tests hold the engine
to it.
"""

from collections.abc import AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from types import CoroutineType
from typing import Any, cast

import attrs

from agora.copying import keep
from agora.middlewares.step import Step, StepKind, step_from
from agora.records import Record

__all__ = ["MiddlewareChain"]


def _steps(parts: Iterable[object]) -> tuple[Step, ...]:
    return tuple(part if isinstance(part, Step) else step_from(part) for part in parts)


@attrs.frozen
class MiddlewareChain:
    """Steps in order. `MiddlewareChain([double, Deduplicate()])` takes functions and middlewares as well as
    steps."""

    steps: tuple[Step, ...] = attrs.field(converter=_steps, default=())

    def __len__(self) -> int:
        return len(self.steps)

    async def process(self, record: Record) -> Record | None | list[Record]:
        """Pass one record through the whole chain.

        Gives the record that comes out, `None` when a step dropped it, or a list when a step of the chain
        multiplies. Raises what a step raises, unless that step's policy is `"pass"`: then the record goes on
        as it entered it. Not itself a trio checkpoint; its async steps may be.
        """
        return await self.process_range(0, len(self.steps), record)

    async def process_range(self, start: int, stop: int, record: Record) -> Record | None | list[Record]:
        """Pass one record through the steps `start ≤ i < stop` only; results as for `process`."""
        steps = self.steps[start:stop]
        results = [record]
        for step in steps:
            results = [after for before in results for after in await _apply(step, before)]
        if any(step.multiplies for step in steps):
            return results
        return results[0] if results else None


async def _apply(step: Step, record: Record) -> Sequence[Record]:
    before = keep(record) if step.on_error == "pass" else None
    try:
        return await _results(step, record)
    except Exception:
        if step.on_error != "pass":
            raise
        return [before]


async def _results(step: Step, record: Record) -> Sequence[Record]:
    """What one step makes of one record: none, one, or many."""
    if step.kind is StepKind.BATCH:
        return await _batch_of_one(step, record)
    result = step.call(record)
    if step.is_async or isinstance(result, CoroutineType):  # as `lambda record: fetch(record)` gives one
        result = await result
    if step.kind is StepKind.FILTER:
        return [record] if result else []
    if step.kind is StepKind.EXPAND:
        return await _collect(result)
    return [] if result is None else [result]


async def _batch_of_one(step: Step, record: Record) -> Sequence[Record]:
    before = None if step.snapshot is None else keep(step.snapshot())
    try:
        result = step.call([record])
        if step.is_async or isinstance(result, CoroutineType):
            result = await result
    except Exception:  # the engine asks again, for smaller batches, from the state that was
        if step.restore is not None:
            step.restore(before)
        raise
    [result] = result
    if isinstance(result, Exception):
        raise result
    return [] if result is None else [result]


async def _collect(children: Any) -> Sequence[Record]:
    if isinstance(children, AsyncIterable):
        stream = cast("Any", children)
        if hasattr(stream, "aclose"):
            async with aclosing(stream):
                return [child async for child in stream if child is not None]
        return [child async for child in stream if child is not None]
    return [child for child in children if child is not None]
