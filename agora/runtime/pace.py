"""Giving way: no synchronous stretch of the engine keeps the loop from its turn for longer than 50 ms.

A look at the clock for each record would cost a fifth of a fast chain's time, and looking less often misses
a step that suddenly turns slow. So the loop counts its turns, a thread watches whether the count moves, and it
raises a flag that the loops look at, which costs 4 ns a record. Nobody has to say that work begins, so nothing can
forget to, and the thread never wakes the loop.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from agora import seam

__all__ = ["Pace"]

_TICK = 0.015
"""Seconds between two looks at the count. The same count twice is a stretch of one to two ticks; the record at hand
and the thread's own wait for the interpreter come on top."""


@attrs.define(eq=False, repr=False)
class Pace(trio.abc.Instrument):
    """`flag` is non-empty once the loop is overdue: break off, `await pace.give_way()`, go on."""

    flag: list[None] = attrs.field(factory=lambda: seam.current().overdue_flag())
    turns: int = 0
    """Turns of the loop so far; stands still under a virtual clock."""
    _idle: bool = False
    """Whether the loop waits for something to do."""
    _work: threading.Event = attrs.field(factory=threading.Event)
    """Unset while the thread rests."""
    _stop: threading.Event = attrs.field(factory=threading.Event)

    def overdue(self) -> bool:
        return bool(self.flag)

    async def give_way(self) -> None:
        """Let the loop have its turn, which takes the flag down. A trio checkpoint."""
        await trio.lowlevel.checkpoint()

    def before_io_wait(self, timeout: float) -> None:
        """Called by trio once a turn, before it looks for what has become ready."""
        self._idle = True

    def after_io_wait(self, timeout: float) -> None:
        """Called by trio once a turn, behind that."""
        self.turns += 1
        self.flag.clear()
        self._idle = False
        if not self._work.is_set():
            self._work.set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for the length of the block. Under a virtual clock nothing is watched: no real time passes
        there."""
        if seam.is_virtual():
            yield
            return
        self._work.set()
        trio.lowlevel.add_instrument(self)
        thread = threading.Thread(target=self._watch, name="agora-pace", daemon=True)
        thread.start()
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)
            self._stop.set()
            self._work.set()
            thread.join()
            self.flag.clear()

    def _watch(self) -> None:
        seen = self.turns
        while not self._stop.wait(_TICK):
            turns = self.turns
            if turns != seen:
                seen = turns
            elif self._idle:
                self._rest()
            elif not self.flag:
                self.flag.append(None)
                if self.turns != seen:  # the loop had its turn in between
                    self.flag.clear()

    def _rest(self) -> None:
        self._work.clear()
        if not self._idle or self._stop.is_set():  # woken, or told to stop, in between
            self._work.set()
        self._work.wait()
