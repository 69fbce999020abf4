"""How each law of sinks is tried with one case; those of failures: `agora.testing.laws.sinkstruck`."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from agora.errors import RecordsRejected
from agora.sinks.base import DATA_ERRORS
from agora.testing.faults import Failure, FailurePlan
from agora.testing.laws.base import Breach, Law
from agora.testing.laws.leftovers import left_by
from agora.testing.laws.living import alive, awaited
from agora.testing.laws.middlewarecase import MiddlewareCase
from agora.testing.laws.middlewareengine import columns_of
from agora.testing.laws.outcomes import text_of
from agora.testing.laws.sinkcase import SinkCase
from agora.testing.laws.sinklaws import (
    ATOMIC,
    BORDERS,
    CLOSING,
    COLUMNS,
    COMMIT,
    DELIVERED,
    IDEMPOTENT,
    NOTHING,
    REFUSED,
    RESTART,
)
from agora.testing.laws.sinkruns import SinkRuns, SinkSubject, compare, in_runs, listed, sound

__all__ = ["SinkTrials"]


@attrs.frozen
class SinkTrials:
    """One method a law. Each raises `Breach`."""

    subject: SinkSubject
    sample: Any
    """A sink, to look at what it has."""

    def delivered(self, case: SinkCase) -> None:
        sink = self.sample
        modes = (True, False) if hasattr(sink, "publish") or not hasattr(sink, "prepare") else (True,)
        for transactional in modes:
            self._in_runs(DELIVERED, case, self._delivered, transactional=transactional)

    def refused(self, case: SinkCase) -> None:
        self._in_runs(REFUSED, case, self._refused)

    def borders(self, case: SinkCase) -> None:
        case = attrs.evolve(case, every=len(case.records) + 1)
        single = self._in_runs(BORDERS, attrs.evolve(case, batch_size=1), self._whole)
        found = self._in_runs(BORDERS, case, self._whole)
        if single != found:
            said = f"in batches of {case.batch_size}"
            raise Breach(
                BORDERS, f"Record by record it came to\n{_outcome(single)}\n{said}\n{_outcome(found)}"
            )

    def columns(self, case: SinkCase) -> None:
        pieces = columns_of(MiddlewareCase(records=case.records))
        if pieces is None:
            return
        case = attrs.evolve(case, every=len(case.records) + 1)
        rows = self._in_runs(COLUMNS, case, self._whole)
        found = self._in_runs(COLUMNS, case, self._whole, pieces)
        if rows != found:
            raise Breach(COLUMNS, f"Rows came to\n{_outcome(rows)}\ncolumns to\n{_outcome(found)}")

    def atomic(self, case: SinkCase) -> None:
        self._in_runs(ATOMIC, case, self._atomic)

    def nothing(self, case: SinkCase) -> None:
        self._in_runs(NOTHING, case, self._nothing)

    def commit(self, case: SinkCase) -> None:
        self._in_runs(COMMIT, case, self._committed_again)

    def restart(self, case: SinkCase) -> None:
        for most in range(len(case.records) + 1):
            self._in_runs(RESTART, case, self._restarted, most)

    def idempotent(self, case: SinkCase) -> None:
        self._in_runs(IDEMPOTENT, case, self._written_twice)

    def closing(self, case: SinkCase) -> None:
        for method in ("write", "write_record", "prepare", "commit", "finish", "publish", "flush"):
            for transactional in (True, False):
                self._in_runs(CLOSING, case, self._closed, method, transactional=transactional)

    # Each in a loop of its own, at a place of its own.

    async def _delivered(self, runs: SinkRuns) -> None:
        base = await runs.target()
        await sound(DELIVERED, runs.run())
        for position in sorted(runs.letters.ordinals - {*runs.case.refused}):
            said = f"It refused {text_of(runs.case.records[position])}, which is one of records="
            raise Breach(DELIVERED, f"{said}: what it has to refuse is given as refused=")
        compare(DELIVERED, "Accepted were", base + self.subject.texts(runs.accepted()), await runs.target())

    async def _refused(self, runs: SinkRuns) -> None:
        await sound(REFUSED, runs.run())
        if runs.letters.ordinals != set(runs.case.refused):
            found = sorted(runs.letters.ordinals)
            raise Breach(REFUSED, f"Refused were the records {found}, in place of {list(runs.case.refused)}")

    async def _whole(
        self, runs: SinkRuns, columns: Sequence[Any] | None = None
    ) -> tuple[list[int], list[str]]:
        base = await runs.target()
        await sound(COLUMNS if columns else BORDERS, runs.run(columns=columns))
        return sorted(runs.letters.ordinals), (await runs.target())[len(base) :]

    async def _atomic(self, runs: SinkRuns) -> None:
        base, accepted = await runs.target(), []
        sink, records = self.subject.sink(runs.place), runs.case.fresh()
        async with alive(sink, "sink:sink", transactional=hasattr(sink, "prepare")):
            if hasattr(sink, "prepare"):
                await awaited(sink.prepare())
            for start in range(0, len(records), runs.case.batch_size):
                some = records[start : start + runs.case.batch_size]
                try:
                    await awaited(sink.write(list(some)))
                except RecordsRejected as rejected:
                    accepted += [each for index, each in enumerate(some) if index not in rejected.errors]
                except DATA_ERRORS:
                    continue
                else:
                    accepted += some
            await _settle(sink)
        compare(ATOMIC, "Accepted were", base + self.subject.texts(accepted), await runs.target())

    async def _nothing(self, runs: SinkRuns) -> None:
        base, before = await runs.target(), _tree(runs.place)
        sink = self.subject.sink(runs.place)
        async with alive(sink, "sink:sink"):
            token = await awaited(sink.prepare())
            self._same_tree(runs, before, "prepare")
            await awaited(sink.commit(token))
        self._same_tree(runs, before, "close")
        await sound(NOTHING, runs.run(most=0))
        self._same_tree(runs, before, "a run without records")
        compare(NOTHING, "Before there was", base, await runs.target())

    def _same_tree(self, runs: SinkRuns, before: set[str], when: str) -> None:
        new = _tree(runs.place) - before
        if new:
            raise Breach(NOTHING, f"After {when}, there is {', '.join(sorted(new))}")

    async def _committed_again(self, runs: SinkRuns) -> None:
        base = await runs.target()
        for most in (1, None):
            await sound(COMMIT, runs.run(again=runs.case.again, most=most))
        said = f"Each commit made {runs.case.again} times; accepted were"
        compare(COMMIT, said, base + self.subject.texts(runs.accepted()), await runs.target())

    async def _restarted(self, runs: SinkRuns, most: int) -> None:
        base = await runs.target()
        await sound(RESTART, runs.run(most=most))
        await sound(RESTART, runs.run(restart=True, most=0))
        compare(RESTART, f"Before a run of {most} records there was", base, await runs.target())
        await sound(RESTART, runs.run())
        whole = base + self.subject.texts(runs.accepted())
        compare(RESTART, "Started over, accepted were", whole, await runs.target())

    async def _written_twice(self, runs: SinkRuns) -> None:
        await sound(IDEMPOTENT, runs.run())
        once = await runs.target()
        again = SinkRuns(subject=runs.subject, case=runs.case, place=runs.place, transactional=True)
        await sound(IDEMPOTENT, again.run())
        compare(IDEMPOTENT, "Written once, there was", once, await runs.target())

    async def _closed(self, runs: SinkRuns, method: str) -> None:
        async def run() -> None:
            with suppress(OSError):
                await runs.run(plan=FailurePlan((Failure(method, 1),)))

        left = await left_by(run)
        if left is not None:
            raise Breach(CLOSING, f"A run in which {method} may have failed left {left}")

    def _in_runs(
        self,
        law: Law,
        case: SinkCase,
        main: Callable[..., Awaitable[Any]],
        *args: Any,
        transactional: bool = True,
    ) -> Any:
        return in_runs(law, self.subject, case, main, *args, transactional=transactional)


async def _settle(sink: Any) -> None:
    """Have all that was accepted delivered."""
    if hasattr(sink, "finish"):
        await awaited(sink.finish())
    if hasattr(sink, "prepare"):
        await awaited(sink.commit(await awaited(sink.prepare())))
    else:
        for name in ("flush", "publish"):
            if hasattr(sink, name):
                await awaited(getattr(sink, name)())


def _outcome(outcome: tuple[list[int], list[str]]) -> str:
    refused, target = outcome
    return listed(target) + (f"\n  refused: {refused}" if refused else "")


def _tree(place: Path) -> set[str]:
    if place == Path():
        return set()
    return {str(path.relative_to(place)) for path in place.rglob("*")}
