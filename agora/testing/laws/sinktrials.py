"""How each law of sinks is tried with one case."""

import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from agora.errors import RecordsRejected
from agora.sinks.base import DATA_ERRORS
from agora.testing.faults import Call, Failpoints, Failure, FailurePlan, Fault
from agora.testing.laws.base import Breach, Law
from agora.testing.laws.living import alive, awaited
from agora.testing.laws.middlewarecase import MiddlewareCase
from agora.testing.laws.middlewareengine import Left, columns_of
from agora.testing.laws.places import new_place, takes_place
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
    ONCE,
    PUBLISH,
    RECOVER,
    REFUSED,
    RESTART,
)
from agora.testing.laws.sinkruns import SinkRuns, SinkSubject, listed
from agora.testing.laws.virtual import run_virtual

__all__ = ["SinkTrials"]

_CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.EIO)


@attrs.frozen
class SinkTrials:
    """One method a law. Each raises `Breach`."""

    subject: SinkSubject

    def delivered(self, case: SinkCase) -> None:
        sink = self._sink
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

    def crashes(self, case: SinkCase) -> None:
        """At every call, or at the one that the case names."""
        points = self._in_runs(ONCE, case, self._counted)
        for number in self._numbers(points, case):
            faults = _CRASHES if case.at is None else (Fault[case.fault],)
            for fault in faults:
                here = attrs.evolve(case, at=number, fault=fault.name)
                if fault.suits(points.seen[number - 1]):
                    self._in_runs(ONCE, here, self._struck, Failpoints(at=number, fault=fault))
        if case.at is None:
            calls = [each for each in points.seen if isinstance(each, Call) and each.part == "sink"]
            for number in range(1, len(calls) + 1):
                self._in_runs(ONCE, case, self._cancelled, number)

    def disk(self, case: SinkCase) -> None:
        """At one operation on the disk."""
        points = self._in_runs(ONCE, case, self._counted)
        fault, number = Fault[case.fault], ((case.at or 1) - 1) % len(points.seen) + 1
        if not isinstance(points.seen[number - 1], Call) and fault.suits(points.seen[number - 1]):
            self._in_runs(ONCE, case, self._struck, Failpoints(at=number, fault=fault))

    def published(self, case: SinkCase) -> None:
        case = attrs.evolve(case, batch_size=1)
        points = self._in_runs(PUBLISH, case, self._counted, transactional=False)
        for number in self._numbers(points, attrs.evolve(case, at=None)):
            for fault in _CRASHES:
                struck = Failpoints(at=number, fault=fault)
                if fault.suits(points.seen[number - 1]):
                    self._in_runs(PUBLISH, case, self._published, struck, transactional=False)

    def closing(self, case: SinkCase) -> None:
        for method in ("write", "write_record", "prepare", "commit", "finish", "publish", "flush"):
            for transactional in (True, False):
                self._in_runs(CLOSING, case, self._closed, method, transactional=transactional)

    # Each in a loop of its own, at a place of its own.

    async def _delivered(self, runs: SinkRuns) -> None:
        base = await runs.target()
        await _sound(DELIVERED, runs.run())
        _compare(DELIVERED, "Accepted were", base + self.subject.texts(runs.accepted()), await runs.target())

    async def _refused(self, runs: SinkRuns) -> None:
        await _sound(REFUSED, runs.run())
        if runs.letters.ordinals != set(runs.case.refused):
            found = sorted(runs.letters.ordinals)
            raise Breach(REFUSED, f"Refused were the records {found}, in place of {list(runs.case.refused)}")

    async def _whole(
        self, runs: SinkRuns, columns: Sequence[Any] | None = None
    ) -> tuple[list[int], list[str]]:
        base = await runs.target()
        await _sound(COLUMNS if columns else BORDERS, runs.run(columns=columns))
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
        _compare(ATOMIC, "Accepted were", base + self.subject.texts(accepted), await runs.target())

    async def _nothing(self, runs: SinkRuns) -> None:
        base, before = await runs.target(), _tree(runs.place)
        sink = self.subject.sink(runs.place)
        async with alive(sink, "sink:sink"):
            token = await awaited(sink.prepare())
            self._same_tree(runs, before, "prepare")
            await awaited(sink.commit(token))
        self._same_tree(runs, before, "close")
        await _sound(NOTHING, runs.run(most=0))
        self._same_tree(runs, before, "a run without records")
        _compare(NOTHING, "Before there was", base, await runs.target())

    def _same_tree(self, runs: SinkRuns, before: set[str], when: str) -> None:
        new = _tree(runs.place) - before
        if new:
            raise Breach(NOTHING, f"After {when}, there is {', '.join(sorted(new))}")

    async def _committed_again(self, runs: SinkRuns) -> None:
        base = await runs.target()
        for most in (1, None):
            await _sound(COMMIT, runs.run(again=runs.case.again, most=most))
        said = f"Each commit made {runs.case.again} times; accepted were"
        _compare(COMMIT, said, base + self.subject.texts(runs.accepted()), await runs.target())

    async def _restarted(self, runs: SinkRuns, most: int) -> None:
        base = await runs.target()
        await _sound(RESTART, runs.run(most=most))
        await _sound(RESTART, runs.run(restart=True, most=0))
        _compare(RESTART, f"Before a run of {most} records there was", base, await runs.target())
        await _sound(RESTART, runs.run())
        whole = base + self.subject.texts(runs.accepted())
        _compare(RESTART, "Started over, accepted were", whole, await runs.target())

    async def _written_twice(self, runs: SinkRuns) -> None:
        await _sound(IDEMPOTENT, runs.run())
        once = await runs.target()
        again = SinkRuns(subject=runs.subject, case=runs.case, place=runs.place, transactional=True)
        await _sound(IDEMPOTENT, again.run())
        _compare(IDEMPOTENT, "Written once, there was", once, await runs.target())

    async def _counted(self, runs: SinkRuns) -> Failpoints:
        points = Failpoints()
        await _sound(ONCE, runs.run(points))
        return points

    async def _struck(self, runs: SinkRuns, points: Failpoints) -> None:
        base = await runs.target()
        try:
            await runs.run(points)
        except Exception as error:
            if isinstance(error, Breach):
                raise
        if points.struck is not None:
            await self._goes_on(runs, base, f"With {points.fault.value} at {points.struck}")

    async def _cancelled(self, runs: SinkRuns, number: int) -> None:
        base = await runs.target()
        try:
            await runs.run(cancel_at=number)
        except Exception as error:
            raise Breach(ONCE, f"Cancelled before call {number} the run raised {error!r}") from error
        await self._goes_on(runs, base, f"Cancelled before call {number} of the sink")

    async def _goes_on(self, runs: SinkRuns, base: list[str], struck: str) -> None:
        """What was interrupted is recovered, and completed."""
        if hasattr(self._sink, "recover"):
            await self._recovers(runs, base, struck)
        await _sound(ONCE, runs.run(), struck)
        due = base + self.subject.texts(runs.accepted())
        self._compare_exactly(ONCE, f"{struck}, accepted were in the end", due, await runs.target())

    async def _recovers(self, runs: SinkRuns, base: list[str], struck: str) -> None:
        await _sound(RECOVER, runs.run(most=0), struck)
        last = runs.store.last
        found = await runs.target()
        due = base + self.subject.texts(runs.accepted(0 if last is None else last.ordinal))
        if self.subject.late and not (last is not None and last.completed):
            due = due[: len(found)]
        self._compare_exactly(RECOVER, f"{struck}, the checkpoint covers", due, found)

    def _compare_exactly(self, law: Law, said: str, due: list[str], found: list[str]) -> None:
        """Exactly, where the sink is transactional; all of it, where it isn't."""
        if self._exact:
            _compare(law, said, due, found)
        elif not Counter(due) <= Counter(found):
            raise Breach(law, f"{said}\n{listed(due)}\nread back was less:\n{listed(found)}")

    async def _published(self, runs: SinkRuns, points: Failpoints) -> None:
        base = await runs.target()
        try:
            await runs.run(points)
        except Exception as error:
            if isinstance(error, Breach):
                raise
        found = await runs.target()
        await _sound(PUBLISH, runs.run())
        whole = self.subject.texts(runs.accepted())
        struck = f"With {points.fault.value} at {points.struck}"
        if found not in (base, whole, base + whole):
            raise Breach(PUBLISH, f"{struck}, there was, of\n{listed(whole)}\nonly\n{listed(found)}")
        if not found:
            _compare(PUBLISH, f"{struck}, the next run accepted", base + whole, await runs.target())

    async def _closed(self, runs: SinkRuns, method: str) -> None:
        before = Left.now()
        plan = FailurePlan((Failure(method, 1),))
        with suppress(OSError):
            await runs.run(plan=plan)
        for _ in range(2):
            await trio.lowlevel.checkpoint()
        left = Left.now().more_than(before)
        if left is not None:
            raise Breach(CLOSING, f"A run in which {method} may have failed left {left}")

    # What the trials share.

    @property
    def _sink(self) -> Any:
        """One to look at what it has."""
        with new_place(self.subject.factory) as place:
            return self.subject.sink(place)

    @property
    def _exact(self) -> bool:
        sink, claimed = self._sink, self.subject.idempotent
        return hasattr(sink, "prepare") or bool(
            getattr(sink, "idempotent", False) if claimed is None else claimed
        )

    def _numbers(self, points: Failpoints, case: SinkCase) -> Sequence[int]:
        if case.at is not None:
            return [(case.at - 1) % len(points.seen) + 1]
        return [number for number, each in enumerate(points.seen, 1) if isinstance(each, Call)]

    def _in_runs(
        self,
        law: Law,
        case: SinkCase,
        main: Callable[..., Awaitable[Any]],
        *args: Any,
        transactional: bool = True,
    ) -> Any:
        """`main(runs, *args)` at a new place."""
        with self._place() as place:
            runs = SinkRuns(subject=self.subject, case=case, place=place, transactional=transactional)
            try:
                return run_virtual(main, runs, *args)
            except trio.TooSlowError as error:
                raise Breach(law, "It waits for what never comes") from error

    @contextmanager
    def _place(self) -> Iterator[Path]:
        """Without a directory of its own, the sink's target is removed in front of each case."""
        factory = self.subject.factory
        with new_place(factory, self.subject.read_back) as place:
            if not takes_place(factory):
                paths = getattr(self.subject.sink(place), "paths", None)
                for path in [] if paths is None else paths():
                    _remove(path)
            yield place


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


async def _sound(law: Law, run: Awaitable[None], behind: str = "Without faults") -> None:
    """A run that has no reason to fail."""
    try:
        await run
    except Breach:
        raise
    except Exception as error:
        raise Breach(law, f"{behind}, a run raised {error!r}") from error


def _compare(law: Law, said: str, due: list[str], found: list[str]) -> None:
    if due != found:
        raise Breach(law, f"{said}\n{listed(due)}\nread back was\n{listed(found)}")


def _outcome(outcome: tuple[list[int], list[str]]) -> str:
    refused, target = outcome
    return listed(target) + (f"\n  refused: {refused}" if refused else "")


def _tree(place: Path) -> set[str]:
    if place == Path():
        return set()
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def _remove(path: Path) -> None:
    if path.parent.is_file():  # a table of a database
        path = path.parent
    if path.is_dir():
        shutil.rmtree(path)
    for stray in (path, *path.parent.glob(f".{path.name}.*"), *path.parent.glob(f"{path.name}-*")):
        stray.unlink(missing_ok=True)
