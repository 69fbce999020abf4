"""The in-flight limit: one account of credits, the only bound on what is on its way.

Credits are taken by the source in whole batches before it reads and given back by the writer when a batch is
handled. Several bounds (a limit a channel, a limit a stage) would have to be kept consistent, and deadlock
where they aren't.
"""

import attrs
import trio

__all__ = ["Credits"]


@attrs.define(eq=False, repr=False)
class Credits:
    """Credits in records. `limit` may be moved at any time."""

    limit: int
    taken: int = 0
    pressed: bool = False
    """Whether somebody had to wait since the limit was last changed: only then is it in use."""
    _waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def fits(self, n: int) -> bool:
        """Whether `n` more may enter; anything may when nothing is in flight."""
        return self.taken == 0 or self.taken + n <= self.limit

    async def acquire(self, n: int) -> None:
        """Take `n` credits at once, waiting until they fit. A trio checkpoint; cancelled, it has taken
        none."""
        await trio.lowlevel.checkpoint()
        while not self.fits(n):
            self.pressed = True
            await self._waiting.park()
        self.taken += n

    def release(self, n: int) -> None:
        """Give back `n` credits."""
        self.taken -= n
        if self._waiting:
            self._waiting.unpark_all()

    def move(self, limit: int) -> None:
        """Set the limit."""
        self.pressed = self.pressed and limit == self.limit
        self.limit = limit
        self._waiting.unpark_all()
