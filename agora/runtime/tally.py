"""Outcomes of source records: each is written, dropped, dead-lettered or skipped, whatever became of its
children.
 Pure. The slices of a batch that multiplied are counted together; a dead letter beats a skip, which beats the
rest.
"""

from collections.abc import Collection

import attrs

from agora.runtime.batch import Batch

__all__ = ["Tally"]


@attrs.define
class Tally:
    """Counts of a run. `multiplies`: whether several rows may come of one source record."""

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
        if batch.last and not self.multiplies and not dead and not skipped:
            self.read += batch.count
            self.dropped += max(0, batch.count - len(batch.index) + len(unwanted))
            return
        self._dead.update(dead)
        self._passed_over.update(skipped)
        self._alive.update(
            offset for row, offset in enumerate(batch.index) if row not in unwanted and offset >= 0
        )
        if batch.last:
            self._close(batch.count)

    def _close(self, count: int) -> None:
        skipped = self._passed_over - self._dead
        settled = self._dead | self._passed_over
        self.read += count
        self.dead_lettered += len(self._dead)
        self.skipped += len(skipped)
        self.dropped += max(0, count - len(settled) - len(self._alive - settled))
        self._alive.clear()
        self._dead.clear()
        self._passed_over.clear()
