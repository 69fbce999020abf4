"""Shields with a deadline that starts when the run begins to close.

The save and the commits of a barrier must not be torn by a cancellation, and closing must happen in every case;
neither may hold a cancelled run for ever. A deadline set when the shield opens would cancel a slow disk without
need, so it is set for all open shields at the moment of the cancellation, or of the first error.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from agora import seam

__all__ = ["GRACE", "SECONDS", "Closing"]

SECONDS = 30.0
"""How long the closing of a run may take altogether, by the real clock."""
GRACE = 2.0
"""How long each part may take in every case, though one before it used up the time."""


@attrs.define(eq=False, repr=False)
class Closing:
    """One object a run."""

    seconds: float = attrs.field(factory=lambda: SECONDS)
    grace: float = attrs.field(factory=lambda: GRACE)
    """Seconds for each part, which has files to close."""
    _deadline: float | None = None
    """On trio's clock; `None` until closing has begun."""
    _shields: set[trio.CancelScope] = attrs.field(factory=set)
    _timer: threading.Timer | None = None

    def begin(self) -> None:
        """Closing begins: every shield, open or to come, ends at the deadline."""
        if self._deadline is not None:
            return
        if seam.is_virtual() and not seam.current().simulated:
            # A virtual clock would jump to the deadline while a part waits for something real.
            self._deadline = math.inf
            token = trio.lowlevel.current_trio_token()
            self._timer = threading.Timer(self.seconds, token.run_sync_soon, [self._expire])
            self._timer.daemon = True
            self._timer.start()
        else:
            self._deadline = trio.current_time() + self.seconds
        for scope in self._shields:
            scope.deadline = self._deadline

    def end(self) -> None:
        """Everything is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def for_one_more(self) -> float:
        """Until when the next part may take, on trio's clock, once closing has begun."""
        earliest = trio.current_time() + self.grace
        return earliest if self._deadline is None else max(self._deadline, earliest)

    def bound(self, scope: trio.CancelScope) -> None:
        """A scope that stood before ends with the time of one more part."""
        scope.deadline = self.for_one_more()
        self._shields.add(scope)

    @contextmanager
    def shield(self, *, until: float | None = None) -> Iterator[trio.CancelScope]:
        """A shielded scope, to the closing deadline or `until`; `cancelled_caught` tells whether that ended it."""
        with self.limit(until=until) as scope:
            scope.shield = True
            yield scope

    @contextmanager
    def limit(self, *, until: float | None = None) -> Iterator[trio.CancelScope]:
        """As `shield`, but a cancellation from outside passes."""
        scope = trio.CancelScope()
        ends = until if until is not None else self._deadline
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

    def _expire(self) -> None:
        self._deadline = trio.current_time()
        for scope in self._shields:
            scope.deadline = self._deadline
