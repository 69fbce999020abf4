"""Giving way: no synchronous stretch of the engine keeps the loop from its turn for longer than 50 ms.

A look at the clock for each record would cost a fifth of a fast chain's time, and looking less often misses
a step that suddenly turns slow. So a thread watches whether the loop gets its turns (it asks the loop to
answer) and raises a flag that the loops look at, which costs 4 ns a record.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from agora import seam

__all__ = ["Pace"]

_TICK = 0.02
"""Seconds between two questions to the loop; two unanswered ones in a row are at most 40 ms of its time."""


@attrs.define(eq=False)
class Pace:
    """`flag` is non-empty once the loop is overdue: break off, `await pace.give_way()`, go on."""

    flag: list[None] = attrs.field(factory=list)
    _answered: bool = True
    _idle: bool = False
    _work: threading.Event = attrs.field(factory=threading.Event)
    _stop: threading.Event = attrs.field(factory=threading.Event)

    def overdue(self) -> bool:
        return bool(self.flag)

    def touch(self) -> None:
        """Say that synchronous work begins; wakes the watching thread if it had gone to rest."""
        self._idle = False
        if not self._work.is_set():
            self._work.set()

    async def give_way(self) -> None:
        """Let the loop have its turn. A trio checkpoint."""
        self.flag.clear()
        await trio.lowlevel.checkpoint()
        self.touch()  # the work goes on: it must be watched further

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for the length of the block. Under a virtual clock nothing is watched: no real time passes
        there."""
        if seam.is_virtual():
            yield
            return
        token = trio.lowlevel.current_trio_token()
        thread = threading.Thread(target=self._watch, args=(token,), name="agora-pace", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._work.set()
            thread.join()

    def _watch(self, token: trio.lowlevel.TrioToken) -> None:
        while True:
            self._work.wait()
            if self._stop.wait(_TICK):
                return
            if not self._answered:
                if not self.flag:
                    self.flag.append(None)
                continue
            if self._idle:
                self._rest()
                continue
            self._answered = False
            self._idle = True
            token.run_sync_soon(self._answer)

    def _rest(self) -> None:
        self._work.clear()
        if not self._idle or self._stop.is_set():  # touched, or told to stop, in between
            self._work.set()

    def _answer(self) -> None:
        self._answered = True
        self.flag.clear()
