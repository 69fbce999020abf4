"""What a chain makes of records one by one: the reference that a whole pipeline is compared with."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import attrs

from agora.middlewares.chain import MiddlewareChain
from agora.middlewares.step import Policy, Step, StepKind
from agora.records import Json, Record
from agora.runtime.failing import leaf, maybe_await
from agora.testing.laws.middlewarereference import started, undoing
from agora.testing.laws.outcomes import failure_of, text_of

__all__ = ["Fold", "fold"]


@attrs.define
class Fold:
    """What came of it, as text."""

    delivered: list[str] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)
    """Of letters."""
    stopped: bool = False
    """Whether a record failed whose policy ends the run."""


async def fold(chain: MiddlewareChain, records: Iterable[Record], default: Policy) -> Fold:
    """Pass the records through, one behind the other; `default` is the policy of steps that say none."""
    found = Fold()
    async with AsyncExitStack() as life:
        steps = []
        for step in chain.steps:
            state: dict[str, Json] = {}
            await life.enter_async_context(started(step, state))
            steps.append(undoing(step, state))
        for record in records:
            await _pass(steps, [record], found, default)
            if found.stopped:
                return found
        for number, step in enumerate(steps):
            hook = getattr(step.part, "finish", None)
            if callable(hook):
                held: Any = await maybe_await(hook())
                await _pass(
                    steps[number + 1 :], [each for each in held or () if each is not None], found, default
                )
    return found


async def _pass(steps: Sequence[Step], records: Sequence[Record], found: Fold, default: Policy) -> None:
    for step in steps:
        after: list[Record] = []
        for record in records:
            drawn: list[Record] = []
            try:
                result: Any = await MiddlewareChain((_noting(step, drawn),)).process(record)
            except Exception as error:  # noqa: BLE001  - it is what became of the record
                after += drawn
                policy = step.on_error or default
                found.stopped |= policy == "stop"
                if policy == "dead_letter":
                    found.failures.append(f"{step.name}: {failure_of(leaf(error))}")
            else:
                after += result if step.multiplies else [] if result is None else [result]
        records = after
    found.delivered += [text_of(record) for record in records]


def _noting(step: Step, drawn: list[Record]) -> Step:
    """The step; what was drawn of a record's children has gone on, should the next of them fail."""
    if step.kind is not StepKind.EXPAND or step.is_async:
        return step
    call = step.call

    def noted(record: Record) -> Any:
        children: Any = call(record)
        if isinstance(children, AsyncIterable):
            return _noted_async(children, drawn)
        return _noted(children, drawn) if isinstance(children, Iterator) else children

    return attrs.evolve(step, call=noted)


def _noted(children: Iterable[Record], drawn: list[Record]) -> Iterator[Record]:
    for child in children:
        if child is not None:
            drawn.append(child)
        yield child


async def _noted_async(children: AsyncIterable[Record], drawn: list[Record]) -> AsyncGenerator[Record]:
    async for child in children:
        if child is not None:
            drawn.append(child)
        yield child
