"""Shields with a deadline that starts when the run begins to close.

The save and the commits of a barrier must not be torn by a cancellation, and closing must happen in every
case; neither may hold a cancelled run for ever. A deadline set when the shield opens would cancel a slow disk
without need, so it is set for all open shields at the moment of the cancellation, or of the first error.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

__all__ = ["Closing"]


@attrs.define(eq=False)
class Closing:
    """One object a run. `seconds`: how long closing may take altogether."""

    seconds: float = 30.0
    grace: float = 2.0
    """Seconds that a part has in every case, though one before it used up the time: it has files to close."""
    deadline: float | None = None
    """On trio's clock; `None` until closing has begun."""
    _shields: set[trio.CancelScope] = attrs.field(factory=set)

    def begin(self) -> None:
        """Closing begins: every shield, open or to come, ends at the deadline."""
        if self.deadline is None:
            self.deadline = trio.current_time() + self.seconds
            for scope in self._shields:
                scope.deadline = self.deadline

    def for_one_more(self) -> float:
        """Until when the next part may take, on trio's clock, once closing has begun."""
        earliest = trio.current_time() + self.grace
        return earliest if self.deadline is None else max(self.deadline, earliest)

    @contextmanager
    def shield(self, *, until: float | None = None) -> Iterator[trio.CancelScope]:
        """A shielded scope, to the closing deadline or `until`; `cancelled_caught` tells whether that ended it."""
        scope = trio.CancelScope(shield=True)
        ends = until if until is not None else self.deadline
        if ends is not None:
            scope.deadline = ends
        self._shields.add(scope)
        try:
            with scope:
                yield scope
        finally:
            self._shields.discard(scope)

    async def watch(self, *, task_status: trio.TaskStatus[None]) -> None:
        """A task that begins the closing when it is cancelled."""
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            self.begin()
