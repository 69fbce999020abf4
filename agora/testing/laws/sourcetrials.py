"""How each law of sources is tried with one case."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from agora.testing.faults.calls import SOURCE_CALLS, SOURCE_STREAMS, Call, ObservedPart
from agora.testing.laws.base import Breach, Law
from agora.testing.laws.leftovers import left_by
from agora.testing.laws.places import at, new_place
from agora.testing.laws.recordedstore import not_json
from agora.testing.laws.sourcecase import Form, SourceCase
from agora.testing.laws.sourcecrashes import CrashedRuns
from agora.testing.laws.sourcelaws import (
    AGREEMENT,
    ASKING,
    CANCELLED,
    CLOSING,
    COMMITTED,
    FRESH,
    IDENTITY,
    REPEATABLE,
    RESUME,
)
from agora.testing.laws.sourcereading import Place, Reading, forms, read
from agora.testing.laws.stepping import Stepper
from agora.testing.laws.virtual import run_virtual

__all__ = ["SourceTrials"]

_BEYOND = 3
"""Records that are looked at behind a place of a source without an end."""


@attrs.frozen
class SourceTrials:
    """One method a law. Each raises `Breach`."""

    factory: Callable[..., Any]
    most: int
    """Records that are read at most."""

    def repeatable(self, case: SourceCase) -> None:
        with new_place(self.factory) as place:
            first, second = (self._all(REPEATABLE, place, case, 0) for _ in range(2))
        _compare(REPEATABLE, "One source gave", first, "another", second)

    def agreement(self, case: SourceCase) -> None:
        with new_place(self.factory) as place:
            plain = self._all(AGREEMENT, place, SourceCase(), 0)
            other = self._all(AGREEMENT, place, case, case.form)
            first, form = self._form(place, 0), self._form(place, case.form)
        _compare(AGREEMENT, f"{first} gave", plain, f"{form}, {case.wanted(0)} at a time,", other)

    def positions(self, case: SourceCase) -> None:
        with new_place(self.factory) as place:
            self._all(AGREEMENT, place, case, case.form)

    def identity(self, case: SourceCase) -> None:
        with new_place(self.factory) as place:
            reading, other = (self._all(IDENTITY, place, case, case.form) for _ in range(2))
        first, second = reading.identity, other.identity
        if first != second:
            raise Breach(IDENTITY, f"One source's was {first!r}, another's {second!r}")
        if not_json(first):
            raise Breach(IDENTITY, f"{first!r} isn't what it was when it has been JSON")
        if reading.identity_behind != first:
            raise Breach(IDENTITY, f"It was {first!r} before reading, {reading.identity_behind!r} after it")

    def fresh(self, case: SourceCase) -> None:
        with new_place(self.factory) as place:
            whole = self._all(FRESH, place, SourceCase(), 0)
            for count in self._counts(whole, case):
                source = self._made(place)
                _virtual(FRESH, read, source, self._form(place, case.form), case, most=count)
                again = _virtual(FRESH, read, source, self._form(place, case.rest), case, most=self.most)
                said = f"Read up to record {count}, and then started afresh,"
                _compare(FRESH, "A new source gives", whole, said, again, at=(case, count))

    def asking(self, case: SourceCase) -> None:
        with new_place(self.factory) as place:
            form = self._form(place, case.form)
            source = self._made(place)
            quiet = _virtual(ASKING, read, source, form, case, most=self.most, places=False)
            asked = self._all(ASKING, place, case, case.form)
            _compare(ASKING, "Without asking it gave", quiet, "asked for positions", asked)
            usual = self._all(ASKING, place, attrs.evolve(case, asks=()), case.form)
        for count, known in asked.places.items():
            if usual.places.get(count, known) != known:
                raise Breach(
                    ASKING, f"Asked behind every record, the position behind record {count - 1} was "
                    f"{usual.places[count].position!r}, asked less often {known.position!r}"
                )  # fmt: skip

    def resume(self, case: SourceCase) -> None:
        with new_place(self.factory) as place:
            form, rest = self._form(place, case.form), self._form(place, case.rest)
            whole = self._all(RESUME, place, attrs.evolve(case, asks=()), case.form)
            for count in self._counts(whole, case):
                reached = self._reached(place, form, case, count, whole)
                if reached is None:
                    continue
                source, start = reached
                found = _virtual(RESUME, read, source, rest, case, start=start, most=self.most - count)
                left = attrs.evolve(whole, records=whole.records[count:])
                said = f"Behind record {count - 1}" if count else "Before the first record"
                name = f"resumed at {start.position!r}" + (f" and {start.skip} skipped" if start.skip else "")
                _compare(RESUME, f"{said} there is", left, f"{name} it gave", found, at=(case, count))

    def closing(self, case: SourceCase) -> None:
        with new_place(self.factory) as place:
            whole = self._all(CLOSING, place, SourceCase(), 0)
            form = self._form(place, case.form)
            for count in self._counts(whole, case):
                left = _virtual(
                    CLOSING, left_by, lambda count=count: read(self._made(place), form, case, most=count)
                )
                if left is not None:
                    here = attrs.evolve(case, at=count)
                    raise Breach(CLOSING, f"Closed behind {count} records it left {left}", here)

    def cancelled(self, case: SourceCase) -> None:
        with new_place(self.factory) as place:
            source, form = self._made(place), self._form(place, case.form)
            stepper = Stepper((), case.cancel_at)
            left = _virtual(
                CANCELLED, left_by, lambda: _read_cancelled(source, form, case, stepper, self.most)
            )
            if stepper.swallowed:
                raise Breach(CANCELLED, stepper.swallowed[0])
            if left is not None and stepper.scope.cancel_called:
                raise Breach(CANCELLED, f"Cancelled at suspension {case.cancel_at} it left {left}")

    def committed(self, case: SourceCase) -> None:
        with new_place(self.factory) as place:
            whole = self._all(COMMITTED, place, SourceCase(), 0)
        runs = CrashedRuns(self.factory, case, whole.sound, None if whole.exhausted else self.most)
        runs.everywhere(COMMITTED)

    # What the trials share.

    def _made(self, place: Path) -> Any:
        return at(self.factory, place)

    def _form(self, place: Path, number: int) -> Form:
        known = forms(self._made(place))
        return known[number % len(known)]

    def _all(self, law: Law, place: Path, case: SourceCase, form: int) -> Reading:
        found: Reading = _virtual(law, read, self._made(place), self._form(place, form), case, most=self.most)
        return found

    def _counts(self, whole: Reading, case: SourceCase) -> Sequence[int]:
        size = len(whole.records)
        known = range(size + 1 if whole.exhausted else size - _BEYOND)
        return known if case.at is None else [case.at % len(known)]

    def _reached(
        self, place: Path, form: Form, case: SourceCase, count: int, whole: Reading
    ) -> tuple[Any, Place] | None:
        """A source, and a place behind `count` records: of what a reading up to there says, or, in a new source, of
        what a reading of everything said."""
        if not case.used:
            known = whole.places.get(count)
            return None if known is None else (self._made(place), known)
        source = self._made(place)
        part = _virtual(RESUME, read, source, form, attrs.evolve(case, asks=()), most=count)
        return (source, part.places[count]) if count in part.places else None


@attrs.frozen
class _Stepped:
    """Drives calls by a stepper."""

    stepper: Stepper

    async def perform_call(self, call: Call, act: Callable[[], Awaitable[Any]]) -> Any:
        if call.method == "close":
            return await act()
        return await self.stepper.drive(act(), str(call))


async def _read_cancelled(source: Any, form: Form, case: SourceCase, stepper: Stepper, most: int) -> None:
    watched = ObservedPart(source, _Stepped(stepper), "source", SOURCE_CALLS, SOURCE_STREAMS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stepper.watch)
        with stepper.scope, suppress(Exception):  # judged by the stepper, where it came of the cancellation
            await read(watched, form, case, most=most)
        nursery.cancel_scope.cancel()


def _virtual(law: Law, main: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
    try:
        return run_virtual(main, *args, **kwargs)
    except trio.TooSlowError as error:
        raise Breach(law, "It waits for what never comes") from error


def _compare(
    law: Law,
    first: str,
    expected: Reading,
    second: str,
    found: Reading,
    at: tuple[SourceCase, int] | None = None,
) -> None:
    if expected.records == found.records:
        return
    case = None if at is None else attrs.evolve(at[0], at=at[1])
    raise Breach(law, f"{first}\n{_listed(expected)}\n{second}\n{_listed(found)}", case)


def _listed(reading: Reading) -> str:
    lines = [f"  {record}" for record in reading.records]
    if len(lines) > 20:
        lines = [*lines[:10], f"  … ({len(lines) - 20} more)", *lines[-10:]]
    return "\n".join(lines) or "  (no records)"
