"""A source in runs that fail or crash at each of their calls, and what comes when it goes on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from agora.pipeline import Pipeline
from agora.records import Json, Record
from agora.testing.faults import Failpoints, Fault, ObservedPart
from agora.testing.faults.calls import SINK_CALLS, SOURCE_CALLS, SOURCE_STREAMS, Call
from agora.testing.laws.base import Breach, Law
from agora.testing.laws.outcomes import text_of
from agora.testing.laws.places import at, new_place
from agora.testing.laws.recordedstore import RecordedStore
from agora.testing.laws.sourcecase import SourceCase
from agora.testing.laws.sourcelaws import POSITIONS
from agora.testing.laws.virtual import run_virtual

__all__ = ["CrashedRuns"]


@attrs.define(eq=False)
class _ExactSink:
    """Holds exactly what is committed, through every crash."""

    records: list[str] = attrs.field(factory=list)

    async def write(self, records: Sequence[Record]) -> None:
        await trio.lowlevel.checkpoint()
        self.records += [text_of(record) for record in records]

    async def prepare(self) -> Json:
        await trio.lowlevel.checkpoint()
        return len(self.records)

    async def commit(self, token: Json) -> None:
        await trio.lowlevel.checkpoint()

    async def recover(self, token: Any) -> None:
        await trio.lowlevel.checkpoint()
        del self.records[token:]


@attrs.frozen
class CrashedRuns:
    """Runs of sources of one factory."""

    factory: Callable[..., Any]
    case: SourceCase
    records: Sequence[str]
    """What must have come at the end."""
    most: int | None
    """Where the source is left; `None`: at its end."""

    def everywhere(self, law: Law) -> None:
        """Fail and crash each call; then go on until all has come. Raises `Breach`."""
        with new_place(self.factory) as place:
            points = self._attempt(law, place, Failpoints())
        for number in range(1, len(points.seen) + 1):
            for fault in _faults(points.seen[number - 1]):
                with new_place(self.factory) as place:
                    self._attempt(law, place, Failpoints(at=number, fault=fault))

    def _attempt(self, law: Law, place: Path, points: Failpoints) -> Failpoints:
        sink, store = _ExactSink(), RecordedStore(_strange)
        try:
            run_virtual(self._run, place, sink, store, points)
        except Breach:
            raise
        except Exception as error:
            if points.at is None:
                raise Breach(law, f"A run without faults raised {error!r}") from error
        struck = (
            f"With {points.fault.value} at {points.struck}"
            if points.at is not None
            else "In a run without faults"
        )
        if points.at is not None:
            try:
                run_virtual(self._run, place, sink, store, Failpoints())
            except trio.TooSlowError as error:
                raise Breach(law, f"{struck}, the next run waits for what never comes") from error
            except Exception as error:
                if isinstance(error, Breach):
                    raise
                raise Breach(law, f"{struck}, the next run raised {error!r}") from error
        if sink.records != list(self.records):
            raise Breach(
                law,
                f"{struck}, there came in all\n{_listed(sink.records)}\nin place of\n{_listed(self.records)}",
            )
        return points

    async def _run(self, place: Path, sink: _ExactSink, store: RecordedStore, points: Failpoints) -> None:
        with points:
            source = ObservedPart(at(self.factory, place), points, "source", SOURCE_CALLS, SOURCE_STREAMS)
            bound = (
                Pipeline(source, name="laws", on_error="skip")
                .to(ObservedPart(sink, points, "sink", SINK_CALLS), name="sink")
                .build(
                    checkpoint_store=store.observed(points),
                    checkpoint_every=self.case.every,
                    batch_size=self.case.batch_size,
                )
            )
            done = 0 if store.last is None else store.last.ordinal
            await bound.run(max_records=None if self.most is None else self.most - done)


def _faults(operation: object) -> Sequence[Fault]:
    """Those that make a difference: a crash at a record is one at whatever comes next."""
    if not isinstance(operation, Call):
        return ()
    if operation.method in SOURCE_STREAMS:
        return (Fault.EIO,)
    if operation.part == "sink":
        return (Fault.CRASH_BEFORE,)
    return (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.EIO)


def _strange(what: str, value: object) -> None:
    raise Breach(POSITIONS, f"{what} {value!r} isn't what it was when it has been JSON")


def _listed(records: Sequence[str]) -> str:
    return "\n".join(f"  {record}" for record in records) or "  (no records)"
