"""Sinks of one factory at one place, in runs of the real engine that go on from each other."""

import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import attrs
import trio

from agora.deadletter import DLQRecord
from agora.pipeline import Pipeline
from agora.records import Json, Record
from agora.sinks.adapt import as_sink
from agora.testing.faults import Call, CallObserver, Failpoints, ObservedPart
from agora.testing.faults.calls import SINK_CALLS
from agora.testing.laws.base import Breach, Law
from agora.testing.laws.living import awaited
from agora.testing.laws.outcomes import text_of
from agora.testing.laws.places import at, new_place, takes_place
from agora.testing.laws.recordedstore import RecordedStore
from agora.testing.laws.sinkcase import SinkCase
from agora.testing.laws.sinklaws import TOKENS
from agora.testing.laws.virtual import run_virtual

__all__ = ["SinkRuns", "SinkSubject", "compare", "in_runs", "listed", "sound"]


class _UnreadableError(Exception):
    """What the target holds can't be read."""


@attrs.frozen
class SinkSubject:
    """What is tried, and how what it wrote is read back."""

    factory: Callable[..., Any]
    read_back: Callable[..., Any]
    expected: Callable[[Sequence[Record]], Sequence[Record]] = list
    idempotent: bool | None = None
    late: bool = False
    """Committed records may be kept back until the source is exhausted."""

    def sink(self, place: Path) -> Any:
        return as_sink(at(self.factory, place))

    async def read(self, place: Path) -> list[str]:
        """What the target holds, as code."""
        return [_said(record) for record in await awaited(at(self.read_back, place))]

    def texts(self, records: Sequence[Record]) -> list[str]:
        """What the target has to hold of these."""
        return [_said(record) for record in self.expected(records)]


@attrs.define(eq=False)
class _Given:
    """The case's records."""

    records: list[Record]
    columns: Sequence[Any] | None = None
    supports_checkpoint: bool = True
    _at: int = 0

    @property
    def batches(self) -> Callable[[], AsyncGenerator[Any]] | None:
        return None if self.columns is None else self._batches

    def identity(self) -> Json:
        return "laws"

    def checkpoint(self) -> Json:
        return self._at

    async def prepare_resume(self, position: Any) -> None:
        self._at = position or 0

    async def stream(self) -> AsyncGenerator[Record]:
        while self._at < len(self.records):
            self._at += 1
            yield self.records[self._at - 1]

    async def _batches(self) -> AsyncGenerator[Any]:
        for piece in self.columns or ():
            self._at += piece.num_rows
            yield piece


@attrs.define(eq=False)
class _Letters:
    """Which records were refused, by ordinal."""

    ordinals: set[int] = attrs.field(factory=set)

    async def write(self, records: Sequence[DLQRecord]) -> None:
        await trio.lowlevel.checkpoint()
        for letter in records:
            place: Any = letter.checkpoint
            self.ordinals.add(place["ordinal"])


@attrs.define
class _Repeating:
    """Makes each commit several times."""

    times: int

    async def perform_call(self, call: Call, act: Callable[[], Awaitable[Any]]) -> Any:
        for _ in range(self.times - 1 if call.method in {"commit", "recover"} else 0):
            await act()
        return await act()


@attrs.define(eq=False)
class _Cancelling:
    """Cancels the run at one of the calls, in front of it."""

    scope: trio.CancelScope
    at: int
    seen: int = 0

    async def perform_call(self, call: Call, act: Callable[[], Awaitable[Any]]) -> Any:
        self.seen += 1
        if self.seen == self.at:
            self.scope.cancel()
        return await act()


@attrs.define(kw_only=True, eq=False)
class SinkRuns:
    """One target, and the runs that write it."""

    subject: SinkSubject
    case: SinkCase
    place: Path
    transactional: bool
    """With checkpoints."""
    store: RecordedStore = attrs.field(factory=lambda: RecordedStore(_strange))
    letters: _Letters = attrs.field(factory=_Letters)

    async def run(
        self,
        points: Failpoints | None = None,
        *,
        calls: bool = True,
        most: int | None = None,
        restart: bool = False,
        columns: Sequence[Any] | None = None,
        again: int = 1,
        cancel_at: int | None = None,
        plan: CallObserver | None = None,
    ) -> None:
        """One run, as of a process of its own. A crash ends it without a word, errors come out. `calls`: those of the
        sink and the store are operations, too. `plan` sees both."""
        with nullcontext() if points is None else points, trio.CancelScope() as scope:
            sink = self.subject.sink(self.place)
            store: Any = self.store
            if again > 1:
                sink = ObservedPart(sink, _Repeating(again), "sink", SINK_CALLS)
            if cancel_at is not None:
                sink = ObservedPart(sink, _Cancelling(scope, cancel_at), "sink", SINK_CALLS)
            if plan is not None:
                sink = ObservedPart(sink, plan, "sink", SINK_CALLS)
                store = store.observed(plan)
            if calls and points is not None:
                sink = ObservedPart(sink, points, "sink", SINK_CALLS)
                store = store.observed(points)
            source = _Given(self.case.fresh(), columns, supports_checkpoint=self.transactional)
            bound = (
                Pipeline(source, name="laws")
                .to(sink, name="sink")
                .build(
                    checkpoint_store=store if self.transactional else None,
                    checkpoint_every=self.case.every if self.transactional else None,
                    batch_size=self.case.batch_size,
                    dlq=self.letters,
                )
            )
            await bound.run(max_records=most, restart=restart)

    async def target(self) -> list[str]:
        try:
            return await self.subject.read(self.place)
        except Exception as error:
            raise _UnreadableError from error

    def accepted(self, count: int | None = None) -> list[Record]:
        """The records (the first `count`) that weren't refused."""
        records = self.case.fresh()[:count]
        return [record for position, record in enumerate(records) if position not in self.letters.ordinals]


def _said(record: Record) -> str:
    """As code; the order of a dict's fields is nothing that a target has to keep."""
    if type(record) is dict:
        record = {name: record[name] for name in sorted(record, key=repr)}
    return text_of(record)


def listed(records: Sequence[str]) -> str:
    return "\n".join(f"  {record}" for record in records) or "  (no records)"


def _strange(what: str, value: object) -> None:
    raise Breach(TOKENS, f"{what} {value!r} isn't what it was when it has been JSON")


def in_runs(
    law: Law,
    subject: SinkSubject,
    case: SinkCase,
    main: Callable[..., Awaitable[Any]],
    *args: Any,
    transactional: bool = True,
) -> Any:
    """`main(runs, *args)` in a loop of its own, at a new place. Its `Breach` comes out, without the place's name."""
    with _target(subject) as place:
        runs = SinkRuns(subject=subject, case=case, place=place, transactional=transactional)
        try:
            return run_virtual(main, runs, *args)
        except trio.TooSlowError as error:
            raise Breach(law, "It waits for what never comes") from error
        except _UnreadableError as unread:
            hint = "where there is no target yet, it has to give no records"
            seen = f"read_back raised {unread.__cause__!r} ({hint})".replace(str(place), "PLACE")
            raise Breach(law, seen) from unread.__cause__
        except Breach as breach:
            if not takes_place(subject.factory):
                raise
            seen = breach.seen.replace(str(place), "PLACE")
            raise Breach(breach.law, seen, breach.case) from breach.__cause__


@contextmanager
def _target(subject: SinkSubject) -> Iterator[Path]:
    """Without a directory of its own, the sink's target is removed in front of each case."""
    factory = subject.factory
    with new_place(factory, subject.read_back) as place:
        if not takes_place(factory):
            paths = getattr(subject.sink(place), "paths", None)
            for path in [] if paths is None else paths():
                _remove(path)
        yield place


def _remove(path: Path) -> None:
    if path.parent.is_file():  # a table of a database
        path = path.parent
    if path.is_dir():
        shutil.rmtree(path)
    for stray in (path, *path.parent.glob(f".{path.name}.*"), *path.parent.glob(f"{path.name}-*")):
        stray.unlink(missing_ok=True)


async def sound(law: Law, run: Awaitable[None], behind: str = "Without faults") -> None:
    """A run that has no reason to fail."""
    try:
        await run
    except Breach:
        raise
    except Exception as error:
        raise Breach(law, f"{behind}, a run raised {error!r}") from error


def compare(law: Law, said: str, due: list[str], found: list[str]) -> None:
    if due != found:
        raise Breach(law, f"{said}\n{listed(due)}\nread back was\n{listed(found)}")
