"""How each law of middlewares is tried with one case."""

import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from agora.middlewares.step import Step
from agora.state import CheckpointStore, MemoryBackend
from agora.testing.laws.base import Breach, Law
from agora.testing.laws.leftovers import left_by
from agora.testing.laws.middlewarecase import MiddlewareCase
from agora.testing.laws.middlewareengine import Engine, columns_of
from agora.testing.laws.middlewarelaws import (
    AGREEMENT,
    BORDERS,
    CANCELLATION,
    CANCELLED,
    CHECKPOINTS,
    COMPANY,
    CONCURRENCY,
    FAILURES,
    FRESH,
    INPUT,
    ORDER,
    PAIRING,
    PREFIX,
    RESTORE,
)
from agora.testing.laws.middlewarereference import Reference
from agora.testing.laws.outcomes import Outcome, Settled, Subject, text_of
from agora.testing.laws.stepping import Stepper
from agora.testing.laws.virtual import run_virtual

__all__ = ["Trials"]

_BLOCKED = 0.005
"""Real seconds for which the loop is held up at most."""
_AGAIN = 4


@attrs.frozen
class Trials:
    """One method a law (or a few that the same runs tell of). Each raises `Breach`; `tried` runs it."""

    subject: Subject
    stateful: bool = False
    columns: bool = False
    """Whether it takes columns."""
    _became: dict[str | None, str] = attrs.field(factory=dict)
    """By failure, `None` for none, the last record that the reference chain made it of."""

    def tried(
        self, law: Law, trial: Callable[[MiddlewareCase], Awaitable[None]]
    ) -> Callable[[MiddlewareCase], None]:
        """The trial in a trio run of its own. What hangs in it breaks the law."""

        def run(case: MiddlewareCase) -> None:
            try:
                run_virtual(trial, case)
            except trio.TooSlowError as error:
                raise Breach(law, "It waits for what never comes") from error

        return run

    async def fresh(self, case: MiddlewareCase) -> None:
        first, second = await self._expected(case), await self._expected(case)
        _compare(FRESH, "A first part gave", first, "a second one", second)

    async def company(self, case: MiddlewareCase) -> None:
        settled, _ = await self._reference(case)
        for position, among in enumerate(settled):
            alone = attrs.evolve(case, records=[case.records[position]])
            [by_itself], _ = await self._reference(alone)
            if among != by_itself:
                said = f"Record {position}, {text_of(case.records[position])}, became\n  {among}\n"
                said += f"by itself it becomes\n  {by_itself}"
                raise Breach(COMPANY, said + "\nIf that is what it is for, say stateful=True.")

    async def prefix(self, case: MiddlewareCase) -> None:
        whole = await self._engine(case).run()

        async def alone(split: int) -> None:
            part = await self._engine(case).run(most=split)
            begun = attrs.evolve(
                whole,
                delivered=whole.delivered[: len(part.delivered)],
                failures=whole.failures[: len(part.failures)],
            )
            _compare(PREFIX, f"The first {split} records alone gave", part, "in front of the rest", begun)

        await self._at_each_split(case, alone)

    async def borders(self, case: MiddlewareCase) -> None:
        expected = await self._expected(case)
        found = await self._engine(case).run()
        _compare(BORDERS, "Record by record", expected, "in batches", found)
        pieces = self._pieces(case)
        if pieces is not None:
            alone = [piece.slice(at, 1) for piece in pieces for at in range(piece.num_rows)]
            one_by_one = await self._engine(case, pieces=alone).run()
            together = await self._engine(case, pieces=pieces).run()
            _compare(BORDERS, "In columns, one row at a time", one_by_one, "several at a time", together)

    async def agreement(self, case: MiddlewareCase) -> None:
        expected = await self._expected(case)
        between = await self._between(case)
        _compare(AGREEMENT, "chain.process gave", expected, "chain.process_range", between)
        rows = await self._engine(attrs.evolve(case, batch_size=1)).run()
        _compare(AGREEMENT, "chain.process gave", expected, "the engine, in rows", rows)
        pieces = self._pieces(case)
        if pieces is not None:
            columns = await self._engine(case, pieces=pieces).run()
            _compare(AGREEMENT, "chain.process gave", expected, "the engine, in columns", columns)

    async def concurrency(self, case: MiddlewareCase) -> None:
        expected = await self._expected(case)
        found = await self._engine(case).run()
        _compare(CONCURRENCY, "One at a time", expected, f"{case.concurrency} at once", found)

    async def failures(self, case: MiddlewareCase) -> None:
        settled, finished = await self._reference(case)
        found = await self._engine(case).run()
        _compare(FAILURES, "Record by record", Outcome.expected(settled, finished), "in the engine", found)
        if self.stateful:
            return
        sound, _ = await self._reference(attrs.evolve(case, spoiled={}))
        for position, (beside, without) in enumerate(zip(settled, sound, strict=True)):
            if position not in case.spoiled and beside != without:
                raise Breach(
                    FAILURES,
                    f"Record {position} became\n  {beside}\nbeside one that fails; without it\n  {without}",
                )

    async def untouched(self, case: MiddlewareCase) -> None:
        engine = self._engine(case)
        await engine.run()
        for before, after in zip(case.fresh(), engine.given, strict=False):
            if text_of(before) != text_of(after):
                raise Breach(INPUT, f"It was given\n  {text_of(before)}\nwhich then was\n  {text_of(after)}")

    async def cancellation(self, case: MiddlewareCase) -> None:
        stepper = Stepper(case.waits, case.cancel_at)
        engine = self._engine(case, stepper=stepper)
        left = await left_by(engine.run)
        for law, found in ((CANCELLED, stepper.swallowed), (CHECKPOINTS, stepper.late)):
            if found:
                raise Breach(law, found[0])
        if not stepper.scope.cancel_called:
            return
        if left is not None:
            raise Breach(CANCELLATION, f"The cancelled run left {left}")
        await self._same_again(CANCELLATION, engine, "After a run that was cancelled")

    async def checkpoints(self, case: MiddlewareCase) -> None:
        blocked = _BLOCKED
        for _ in range(_AGAIN):
            stepper = Stepper()
            await self._engine(case, stepper=stepper).run()
            blocked = min(blocked, stepper.blocked)
            if blocked < _BLOCKED:
                return
        raise Breach(CHECKPOINTS, f"A call held the loop up for more than {_BLOCKED * 1000:g} ms each time")

    async def pairing(self, case: MiddlewareCase) -> None:
        engine = self._engine(case)
        left = await left_by(engine.run)
        hooks = engine.hooks
        if callable(getattr(hooks.part, "on_end", None)) and hooks.started != hooks.ended:
            raise Breach(
                PAIRING, f"on_start succeeded {hooks.started} times, on_end was called {hooks.ended} times"
            )
        if hooks.end_errors:
            raise Breach(PAIRING, f"on_end raised {hooks.end_errors[0]}")
        if left is not None:
            raise Breach(PAIRING, f"The run left {left}")
        await self._same_again(PAIRING, engine, "After a run that ended early")

    async def restore(self, case: MiddlewareCase) -> None:
        settled, finished = await self._reference(case)

        async def resumed(split: int) -> None:
            rest = Outcome.expected(settled[split:], finished)
            new = self._engine(case, store=_store())
            await self._resumed(case, new, split, rest, "In a new part")
            used = self._engine(case, step=new.step, store=_store())
            await self._resumed(case, used, split, rest, "In a part that was used")

        await self._at_each_split(case, resumed)

    # What the trials share.

    async def _at_each_split(self, case: MiddlewareCase, run: Callable[[int], Awaitable[None]]) -> None:
        for split in range(case.size + 1) if case.split is None else [case.split]:
            try:
                await run(split)
            except Breach as breach:
                found = attrs.evolve(case, split=split)
                raise Breach(breach.law, breach.seen, found) from breach.__cause__

    async def _resumed(
        self, case: MiddlewareCase, engine: Engine, split: int, rest: Outcome, where: str
    ) -> None:
        """Stop another part before record `split`, and go on with the engine's."""
        await self._engine(case, store=engine.store).run(most=split)
        found = await engine.run()
        name = f"Without a stop before record {split}, the rest gave"
        hint = (
            ""
            if self._keeps_state(engine.step)
            else "\nIt has no snapshot() and restore(), and no on_start(context)."
        )
        _compare(RESTORE, name, rest, f"{where}, resumed there,", found, hint)

    async def _same_again(self, law: Law, engine: Engine, when: str) -> None:
        """Another run of the same part gives what a first one gives."""
        if self.stateful and not self._keeps_state(engine.step):
            return  # what it remembers is its own affair
        plain = attrs.evolve(engine.case, cancel_at=None, ending=None, waits=())
        expected = await self._expected(plain)
        found = await self._engine(plain, step=engine.step).run()
        _compare(law, "A first run gives", expected, f"{when}, the same part", found)

    def _keeps_state(self, step: Step) -> bool:
        return step.stateful or callable(getattr(step.part, "on_start", None))

    def _engine(self, case: MiddlewareCase, *, step: Step | None = None, **more: Any) -> Engine:
        if step is None:
            step = self.subject.step(case.concurrency)
        more.setdefault("stepper", Stepper(case.waits))
        return Engine(step=step, case=case, **more)

    def _pieces(self, case: MiddlewareCase) -> list[Any] | None:
        return columns_of(case) if self.columns else None

    async def _reference(self, case: MiddlewareCase) -> tuple[list[Settled], list[str]]:
        settled, finished = await Reference(self.subject.step()).run(case.fresh())
        for record, each in zip(case.records, settled, strict=False):
            self._became[each.failure] = text_of(record)
        return settled, finished

    def warn_of_failures_only(self) -> None:
        """Where all records failed: laws that only failures keep show little."""
        if self._became and None not in self._became:
            failure, record = next(iter(self._became.items()))
            warnings.warn(
                f"every record that was drawn failed, {record} with {failure}: give records= that the part can work on",
                stacklevel=3,
            )

    async def _expected(self, case: MiddlewareCase) -> Outcome:
        return Outcome.expected(*await self._reference(case))

    async def _between(self, case: MiddlewareCase) -> Outcome:
        """By `process_range`, in the middle of a chain."""
        return Outcome.expected(*await Reference(self.subject.step(), between=True).run(case.fresh()))


def _store() -> CheckpointStore:
    return CheckpointStore(MemoryBackend())


def _compare(law: Law, first: str, expected: Outcome, second: str, found: Outcome, hint: str = "") -> None:
    if expected == found:
        return
    if expected.in_any_order() == found.in_any_order():
        law = ORDER if law in (BORDERS, AGREEMENT) else law
    raise Breach(law, f"{first}\n{expected}\n{second}\n{found}{hint}")
