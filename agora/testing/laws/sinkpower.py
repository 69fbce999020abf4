"""A sink's run, recorded, and what is left of each moment of it where the power fails then."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from agora.testing.faults import Call, DiskRecorder, Loss, Tree
from agora.testing.laws.recordedstore import RecordedStore
from agora.testing.laws.sinkcase import SinkCase
from agora.testing.laws.sinklaws import DURABLE
from agora.testing.laws.sinkruns import SinkRuns, sound

__all__ = ["Moment", "Powered"]


@attrs.frozen
class Moment:
    """A moment of the run: so many operations on the disk are done, and this is what was saved."""

    number: int
    """From 1."""
    operations: int
    store: RecordedStore
    saves: int
    """How many changes of the store were made up to now."""


@attrs.frozen
class Powered:
    """A run that was recorded."""

    recorder: DiskRecorder
    moments: Sequence[Moment]
    revocable: bool
    """Whether the sink can tell what was accepted from what was committed."""

    @classmethod
    async def recorded(cls, runs: SinkRuns, *, revocable: bool) -> Self | None:
        """`None` where it can't be said what would be left of the place, since what is there didn't go through
        `agora.seam`, or nothing is. Raises `Breach` where the run fails."""
        runs.subject.sink(runs.place)  # what the factory makes of a new place is no part of the run
        with DiskRecorder(runs.place) as recorder:
            saves = _Saves(recorder, runs.store)
            await sound(DURABLE, runs.run(plan=saves))
        if not recorder.log or not _saw_all(recorder):
            return None
        return cls(recorder, saves.moments(), revocable)

    def losses(self, case: SinkCase) -> Iterator[tuple[Moment, Loss]]:
        """What the case names; else each moment, with nothing left of what wasn't synced, and with a part of it (not
        where there is nobody who could undo that). None that leaves what was left before."""
        if case.at is not None:
            yield self.moments[(case.at - 1) % len(self.moments)], case.loss or Loss.total()
            return
        seen = set()
        for moment in self.moments:
            for loss in [Loss.total(), Loss.random(moment.number)][: 2 if self.revocable else 1]:
                left = moment.saves, self.is_over(moment), frozenset(self.left(moment, loss).items())
                if left not in seen:
                    seen.add(left)
                    yield moment, loss

    def is_over(self, moment: Moment) -> bool:
        """Whether the run had returned."""
        return moment.number == len(self.moments)

    def left(self, moment: Moment, loss: Loss) -> Tree:
        return self.recorder.after(moment.operations, loss)

    def told(self, moment: Moment) -> str:
        if not moment.operations:
            return "Without power before the first operation"
        return f"Without power behind {self.recorder.log[moment.operations - 1]}"


@attrs.define(eq=False)
class _Saves:
    """Sees what is saved, and when."""

    recorder: DiskRecorder
    store: RecordedStore
    _seen: list[tuple[int, RecordedStore]] = attrs.field(init=False)
    """Behind how many operations on the disk, and what there was then."""

    def __attrs_post_init__(self) -> None:
        self._seen = [(0, self.store.copy())]

    async def perform_call(self, call: Call, act: Callable[[], Awaitable[Any]]) -> Any:
        result = await act()
        if call.part == "checkpoint_store":
            self._seen.append((len(self.recorder.log), self.store.copy()))
        return result

    def moments(self) -> list[Moment]:
        """Behind each operation, and there behind each save."""
        found: list[Moment] = []
        for operations in range(len(self.recorder.log) + 1):
            known = [saves for saves, (at, _) in enumerate(self._seen) if at < operations][-1:]
            known += [saves for saves, (at, _) in enumerate(self._seen) if at == operations]
            for saves in known:
                found.append(Moment(len(found) + 1, operations, self._seen[saves][1], saves))
        return found


def _saw_all(recorder: DiskRecorder) -> bool:
    """Whether what is there is what was seen being done."""
    try:
        seen = recorder.disk().after(Loss.none())
    except LookupError:
        return False
    return seen == _tree(recorder.root)


def _tree(root: Path) -> Tree:
    return {path.relative_to(root): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")}
