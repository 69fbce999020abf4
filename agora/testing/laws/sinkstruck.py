"""How the laws of sinks are tried that tell of failures, crashes, cancellations and losses of power.

A case that names no place stands for all of them; the one that breaks a law names it, so that it is that one alone
which a counterexample runs again.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs

from agora.testing.faults import Call, Failpoints, Fault, write_tree
from agora.testing.laws.base import Breach, Law
from agora.testing.laws.sinkcase import CANCELLED, SinkCase
from agora.testing.laws.sinklaws import DURABLE, ONCE, PUBLISH, RECOVER
from agora.testing.laws.sinkpower import Powered
from agora.testing.laws.sinkruns import SinkRuns, SinkSubject, compare, in_runs, listed, sound

__all__ = ["StruckTrials"]

_CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.EIO)
_ON_DISK = (Fault.CRASH_BEFORE, Fault.CRASH_WITHIN, Fault.EIO, Fault.SHORT_WRITE)
"""A crash just after one is a crash before the next; a disk that is full is an error, or half a write."""
_MANY = 40
"""Operations on the disk."""


@attrs.frozen
class StruckTrials:
    """One method a law, or several that are tried alike. Each raises `Breach`."""

    subject: SinkSubject
    sample: Any
    """A sink, to look at what it has."""

    def crashes(self, case: SinkCase) -> None:
        """At every call and every operation on the disk, or where the case says."""
        if case.at is not None:
            self._interrupted(case)
            return
        points: Failpoints = in_runs(ONCE, self.subject, case, _counted)
        calls = [each for each in points.seen if isinstance(each, Call) and each.part == "sink"]
        for here in _at_calls(case, points):
            self._interrupted(here)
        for number in range(1, len(calls) + 1):
            self._interrupted(attrs.evolve(case, at=number, fault=CANCELLED))
        for here in _on_disk(case, points) if hasattr(self.sample, "prepare") else ():
            self._interrupted(here)

    def published(self, case: SinkCase) -> None:
        """At every call, or where the case says."""
        if case.at is not None:
            self._at(PUBLISH, case, self._half_published, _failpoints(case), transactional=False)
            return
        case = attrs.evolve(case, batch_size=1)
        points: Failpoints = in_runs(PUBLISH, self.subject, case, _counted, transactional=False)
        for here in _at_calls(case, points):
            self._at(PUBLISH, here, self._half_published, _failpoints(here), transactional=False)

    def durable(self, case: SinkCase) -> None:
        """Behind every operation, or where the case says, in a run with checkpoints and in one without."""
        in_runs(DURABLE, self.subject, case, self._without_power)
        if hasattr(self.sample, "publish") and not getattr(self.sample, "live", False):
            in_runs(DURABLE, self.subject, case, self._without_power, transactional=False)

    def _interrupted(self, here: SinkCase) -> None:
        if here.fault == CANCELLED:
            self._at(ONCE, here, self._cancelled, here.at)
        else:
            self._at(ONCE, here, self._struck, _failpoints(here))

    def _at(
        self,
        law: Law,
        here: SinkCase,
        main: Callable[..., Awaitable[Any]],
        *args: Any,
        transactional: bool = True,
    ) -> None:
        """`main` at this one place; what breaks the law is this case."""
        try:
            in_runs(law, self.subject, here, main, *args, transactional=transactional)
        except Breach as breach:
            raise Breach(breach.law, breach.seen, here) from breach.__cause__

    # Each in a loop of its own, at a place of its own.

    async def _struck(self, runs: SinkRuns, points: Failpoints) -> None:
        base = await runs.target()
        await _whatever_comes(runs.run(points))
        if points.struck is not None:
            await self._goes_on(runs, base, f"With {points.fault.value} at {points.struck}")

    async def _cancelled(self, runs: SinkRuns, number: int) -> None:
        base = await runs.target()
        try:
            await runs.run(cancel_at=number)
        except Exception as error:
            raise Breach(ONCE, f"Cancelled before call {number} the run raised {error!r}") from error
        await self._goes_on(runs, base, f"Cancelled before call {number} of the sink")

    async def _half_published(self, runs: SinkRuns, points: Failpoints) -> None:
        base = await runs.target()
        await _whatever_comes(runs.run(points))
        found = await runs.target()
        await sound(PUBLISH, runs.run())
        whole = self.subject.texts(runs.accepted())
        struck = f"With {points.fault.value} at {points.struck}"
        if found not in (base, whole, base + whole):
            raise Breach(PUBLISH, f"{struck}, there was, of\n{listed(whole)}\nonly\n{listed(found)}")
        if not found:
            compare(PUBLISH, f"{struck}, the next run accepted", base + whole, await runs.target())

    async def _without_power(self, runs: SinkRuns) -> None:
        base = await runs.target()
        powered = await Powered.recorded(runs, revocable=hasattr(self.sample, "prepare"))
        if powered is None:
            return
        whole = base + self.subject.texts(runs.accepted())
        case = runs.case
        for moment, loss in powered.losses(case):
            write_tree(powered.left(moment, loss), runs.place)
            runs.store = moment.store.copy()
            here = attrs.evolve(case, at=moment.number, loss=loss)
            try:
                await self._is_whole(runs, base, whole, powered.told(moment), over=powered.is_over(moment))
                if runs.transactional:
                    await self._goes_on(runs, base, powered.told(moment), DURABLE, DURABLE)
            except Breach as breach:
                raise Breach(breach.law, breach.seen, here) from breach.__cause__

    async def _is_whole(
        self, runs: SinkRuns, base: list[str], whole: list[str], struck: str, *, over: bool
    ) -> None:
        """As what a run that is over has returned for; what one publishes, or has not yet."""
        if not over and runs.transactional:
            return
        found = await runs.target()
        if over or found != base:
            self._compare_exactly(DURABLE, f"{struck}, there should be, whole,", whole, found)

    # What the trials share.

    async def _goes_on(
        self, runs: SinkRuns, base: list[str], struck: str, law: Law = ONCE, recovered: Law = RECOVER
    ) -> None:
        """What was interrupted is recovered, and completed."""
        if hasattr(self.sample, "recover"):
            await self._recovers(runs, base, struck, recovered)
        await sound(law, runs.run(), struck)
        due = base + self.subject.texts(runs.accepted())
        self._compare_exactly(law, f"{struck}, accepted were in the end", due, await runs.target())

    async def _recovers(self, runs: SinkRuns, base: list[str], struck: str, law: Law) -> None:
        await sound(law, runs.run(most=0), struck)
        last = runs.store.last
        found = await runs.target()
        due = base + self.subject.texts(runs.accepted(0 if last is None else last.ordinal))
        if self.subject.late and not (last is not None and last.completed):
            due = due[: len(found)]
        self._compare_exactly(law, f"{struck}, the checkpoint covers", due, found)

    def _compare_exactly(self, law: Law, said: str, due: list[str], found: list[str]) -> None:
        """Exactly, where the sink is transactional; all of it, where it isn't."""
        if self._exact:
            compare(law, said, due, found)
        elif not Counter(due) <= Counter(found):
            raise Breach(law, f"{said}\n{listed(due)}\nread back was less:\n{listed(found)}")

    @property
    def _exact(self) -> bool:
        claimed = self.subject.idempotent
        said = getattr(self.sample, "idempotent", False) if claimed is None else claimed
        return hasattr(self.sample, "prepare") or bool(said)


async def _counted(runs: SinkRuns) -> Failpoints:
    points = Failpoints()
    await sound(ONCE if runs.transactional else PUBLISH, runs.run(points))
    return points


def _at_calls(case: SinkCase, points: Failpoints) -> Iterator[SinkCase]:
    """What can befall a call, at each that was counted."""
    for number, each in enumerate(points.seen, 1):
        for fault in _CRASHES if isinstance(each, Call) else ():
            yield attrs.evolve(case, at=number, fault=fault.name)


def _on_disk(case: SinkCase, points: Failpoints) -> Iterator[SinkCase]:
    """What can befall an operation on the disk, at each that was counted; where they are many, one of it in turn."""
    numbers = [number for number, each in enumerate(points.seen, 1) if not isinstance(each, Call)]
    for number in numbers:
        faults = [fault for fault in _ON_DISK if fault.suits(points.seen[number - 1])]
        for fault in faults if len(numbers) <= _MANY else [faults[number % len(faults)]]:
            yield attrs.evolve(case, at=number, fault=fault.name)


def _failpoints(here: SinkCase) -> Failpoints:
    return Failpoints(at=here.at, fault=Fault[here.fault])


async def _whatever_comes(run: Awaitable[None]) -> None:
    """A run that may fail, though not by a breach."""
    try:
        await run
    except Exception as error:
        if isinstance(error, Breach):
            raise
