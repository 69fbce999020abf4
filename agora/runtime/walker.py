"""One record through a run of steps, one step after the other: what the generated loop can't do.

It serves steps that multiply, depth first, so that a record's children pass the rest of the chain before the
next record enters it; steps behind which an entry for replays is kept; records that go on in the middle of a
chain (`finish()`, the policy `"pass"`).
"""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import aclosing
from types import CoroutineType
from typing import Any

import attrs

from agora.copying import keep
from agora.middlewares.step import Step, StepKind
from agora.records import Record
from agora.runtime.batch import EntryPoint, Failure
from agora.runtime.counting import StageCount
from agora.runtime.failing import StepRules
from agora.runtime.pace import Pace

__all__ = ["Walk"]


@attrs.define(kw_only=True, eq=False, repr=False)
class Walk:
    """Walks of the records of one batch."""

    steps: tuple[Step, ...]
    rules: StepRules
    pace: Pace
    put: Callable[[Record, int, EntryPoint], Awaitable[None]]
    """Takes each record that comes out, with the offset of its source record and its entry."""
    failures: list[Failure]
    halt: Failure | None = None
    _counts: Sequence[StageCount] = attrs.field(init=False)
    _marks: Sequence[Callable[[], bool]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._counts = [self.rules.count(step) for step in self.steps]
        self._marks = [self.rules.marking(step) for step in self.steps]

    async def through(self, record: Record, offset: int, start: int, entry: EntryPoint) -> None:
        """Pass `record` through the steps from `start` on. After a failure that ends the run, `halt` is
        set."""
        for position in range(start, len(self.steps)):
            step = self.steps[position]
            count = self._counts[position]
            count.entered += 1
            before = keep(record) if step.on_error == "pass" else None
            try:
                result = step.call(record)
                if step.is_async or type(result) is CoroutineType:
                    result = await result
            except Exception as error:  # noqa: BLE001  - the step's policy decides
                if await self.failed(step, record, error, offset, entry):
                    return
                result = [before] if step.multiplies else before
            else:
                if step.kind is StepKind.FILTER:
                    result = record if result else None
            if step.multiplies:
                parent = record if before is None else before
                await self.children(step, parent, result, offset, position + 1, entry)
                return
            if result is None:
                count.dropped += 1
                return
            count.left += 1
            record = result
            if self._marks[position]():
                entry = self.rules.entry_after(step, record)
        await self.put(record, offset, entry)

    async def children(
        self, step: Step, parent: Record, children: Any, offset: int, start: int, entry: EntryPoint
    ) -> None:
        """Pass each child on as it is drawn; what was drawn before the step fails has been passed on.

        Where the policy is `"pass"`, all are drawn first: the record goes on in place of them. `parent` is the
        record as it entered the step.
        """
        count, marks = self._counts[start - 1], self._marks[start - 1]()
        before = count.left

        async def pass_on(child: Record) -> None:
            if child is not None:
                count.left += 1
                child_entry = self.rules.entry_after(step, child) if marks else entry
                await self.through(child, offset, start, child_entry)
            if self.pace.flag:
                await self.pace.give_way()

        try:
            if step.on_error == "pass":
                children = await self._all(children)
            async with aclosing(_draw(children)) as drawn:
                async for child in drawn:
                    await pass_on(child)
                    if self.halt is not None:
                        return
        except _DrawingError as failed:
            if not await self.failed(step, parent, failed.error, offset, entry):
                await pass_on(parent)
        else:
            count.dropped += count.left == before

    async def _all(self, children: Any) -> list[Record]:
        found = []
        async with aclosing(_draw(children)) as drawn:
            async for child in drawn:
                found.append(child)
                if self.pace.flag:
                    await self.pace.give_way()
        return found

    async def failed(
        self, step: Step, record: Record, error: Exception, offset: int, entry: EntryPoint
    ) -> bool:
        """Note the failure; false if the record goes on as it entered the step."""
        failure = await self.rules.judge(step, record, error, offset=offset, entry=entry)
        if failure is None:
            return False
        if failure.policy == "stop":
            self.halt = failure
        else:
            self.failures.append(failure)
        return True


class _DrawingError(Exception):
    """An iterable of children raised `error`; told apart from what later steps raise."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


async def _draw(children: Any) -> AsyncGenerator[Record]:
    """The children one by one, whatever kind of iterable they come as."""
    try:
        if not isinstance(children, AsyncIterable):
            for child in children:
                yield child
        elif isinstance(children, AsyncGenerator):
            async with aclosing(children) as stream:
                async for child in stream:
                    yield child
        else:
            async for child in children:
                yield child
    except Exception as error:
        raise _DrawingError(error) from error
