"""Outcomes of source records: each is written, dropped, dead-lettered or skipped, whatever became of its
children.

Pure. The slices of a batch that multiplied are counted together; a dead letter beats a skip, which beats the
rest.
"""

from collections.abc import Collection
from typing import Literal, TypeAlias, get_args

import attrs

from agora.runtime.batch import Batch

__all__ = ["Tally"]

Outcome: TypeAlias = Literal["dead", "skipped", "written", "dropped"]

_RANKS: tuple[Outcome, ...] = get_args(Outcome)
"""The former beats the latter."""


@attrs.define(eq=False, repr=False)
class Tally:
    """Counts of a run. `multiplies`: whether several rows may come of one source record (of the last one by `finish()`,
    too)."""

    multiplies: bool
    read: int = 0
    """Source records handled."""
    written: int = 0
    dropped: int = 0
    dead_lettered: int = 0
    skipped: int = 0
    _alive: set[int] = attrs.field(factory=set)
    _dead: set[int] = attrs.field(factory=set)
    _passed_over: set[int] = attrs.field(factory=set)
    _last: Outcome | None = None
    """Of the last source record so far: what `finish()` gives in a later batch still counts as coming of it."""

    def add(
        self,
        batch: Batch,
        *,
        dead: Collection[int],
        skipped: Collection[int],
        unwanted: Collection[int],
        written: int,
    ) -> None:
        """Count a batch, or one slice of it, that the writer is through with.

        `dead` and `skipped` are offsets of source records, `unwanted` positions of rows that no sink wanted.
        """
        self.written += written
        if not self.multiplies:  # a row is a source record, and what isn't written has another outcome
            self.read += batch.count
            self.dropped += batch.count - written
            if dead or skipped:
                settled = len({*dead, *skipped})
                self.dead_lettered += len({*dead})
                self.skipped += settled - len({*dead})
                self.dropped -= settled
            return
        last = batch.count - 1  # records of finish() stand behind it, and belong to it
        self._dead.update(min(offset, last) for offset in dead)
        self._passed_over.update(min(offset, last) for offset in skipped)
        self._alive.update(min(offset, last) for row, offset in enumerate(batch.index) if row not in unwanted)
        if batch.last:
            self._close(batch.count)

    def _close(self, count: int) -> None:
        if count:
            self._last = self._outcome(count - 1)
        else:
            self._reopen_last()
        settled = self._dead | self._passed_over
        self.read += count
        self.dead_lettered += len(self._dead)
        self.skipped += len(self._passed_over - self._dead)
        self.dropped += count - len(settled | self._alive)
        self._alive.clear()
        self._dead.clear()
        self._passed_over.clear()

    def _outcome(self, offset: int) -> Outcome:
        if offset in self._dead:
            return "dead"
        if offset in self._passed_over:
            return "skipped"
        return "written" if offset in self._alive else "dropped"

    def _reopen_last(self) -> None:
        """Count the last source record anew: a batch without any holds only what `finish()` gave."""
        before, now = self._last, self._outcome(-1)
        if before is not None:
            now = min(before, now, key=_RANKS.index)
        self._last = now
        for offsets in (self._dead, self._passed_over, self._alive):
            offsets.clear()
        if now == before:
            return
        self.dead_lettered += now == "dead"
        self.skipped += (now == "skipped") - (before == "skipped")
        self.dropped -= before == "dropped"
